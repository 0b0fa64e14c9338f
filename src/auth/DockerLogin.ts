/**
 * Keeping credentials where docker and podman keep theirs, as `docker login` does, and forgetting them.
 *
 * They go to the file that is given, to the one that `REGISTRY_AUTH_FILE` names, or else to docker's `config.json`; or
 * to the helper that this file names for the host. The rest of the file stays as it is, to the byte, and so do its
 * mode, its owner and a symbolic link to it. It is replaced by renaming, under a lock that is shared with other
 * processes, so that of several logins at the same time all last. Only its owner may read a new file.
 */
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import type * as PlatformError from "effect/PlatformError"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import type { CredentialsUnavailable } from "../RegistryError.ts"
import * as CredentialHelper from "./CredentialHelper.ts"
import * as CredentialKeys from "./CredentialKeys.ts"
import type { Credential } from "./Credentials.ts"
import * as DockerFiles from "./DockerFiles.ts"
import * as FileLock from "./FileLock.ts"
import * as JsonText from "./JsonText.ts"

/** A name and a password. */
export type Login = Extract<Credential, { readonly _tag: "Basic" }>

/** What was done. */
export interface Kept {
  /** The file or program that has, or had, the credentials. */
  readonly source: string
  /** Was there anything to forget? */
  readonly changed: boolean
}

/** Where credentials are kept. */
export interface Options {
  /** This file, in docker's format or podman's, whatever the environment says. */
  readonly file?: string | undefined
}

type Services = FileSystem.FileSystem | Path.Path | ChildProcessSpawner

// ---------------------------------------------------------------------------------------------------------------------
// the file
// ---------------------------------------------------------------------------------------------------------------------

/** A config as it is, to be changed. */
interface Document {
  readonly text: string
  readonly source: DockerFiles.Source
}

/** Finds the file. */
const locate = Effect.fnUntraced(function*({ file }: Options) {
  const found = yield* DockerFiles.loginFile(file)
  return found ?? (yield* DockerFiles.broken("the environment", "it names no home directory"))
})

/** Reads the file, if it is there. Unlike a lookup it ignores nothing: what it ignored, it could destroy. */
const read = Effect.fnUntraced(function*(file: string): Effect.fn.Return<Document, CredentialsUnavailable, Services> {
  const fs = yield* FileSystem.FileSystem
  const text = yield* fs.readFileString(file).pipe(
    Effect.catchIf(({ reason }) => reason._tag === "NotFound", () => Effect.succeed("")),
    Effect.mapError(DockerFiles.unreadable(file))
  )
  const fields = yield* DockerFiles.parse(file, text)
  const source = DockerFiles.read(file, fields)
  const [problem] = source.problems
  if (problem !== undefined) return yield* DockerFiles.broken(file, problem)
  // without fields it may also be empty, or null
  return { source, text: Object.keys(fields).length === 0 ? "{}" : text.trim() }
})

/** Returns the file that is written: the one that a symbolic link leads to, even if it is not there yet. */
const targetOf = Effect.fnUntraced(function*(file: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  if (yield* fs.exists(file)) return yield* fs.realPath(file)
  const link = yield* Effect.option(fs.readLink(file))
  return Option.match(link, { onNone: () => file, onSome: (link) => path.resolve(path.dirname(file), link) })
})

/** Replaces a file, unless the lock was lost; returns whether it was replaced. */
const replace = Effect.fnUntraced(function*(target: string, text: string, { isHeld }: FileLock.Lock) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const before = yield* Effect.option(fs.stat(target))
  const directory = path.dirname(target)
  const folder = yield* fs.makeTempDirectoryScoped({ directory, prefix: `.${path.basename(target)}.` })
  const draft = path.join(folder, "draft")
  const opened = yield* fs.open(draft, { flag: "wx", mode: 0o600 })
  yield* opened.writeAll(new TextEncoder().encode(text))
  if (Option.isSome(before)) {
    const { gid, mode, uid } = before.value
    // only an administrator may give files away
    if (Option.isSome(uid) && Option.isSome(gid)) yield* Effect.ignore(fs.chown(draft, uid.value, gid.value))
    yield* fs.chmod(draft, mode & 0o777)
  }
  yield* opened.sync
  if (!(yield* isHeld)) return false
  yield* fs.rename(draft, target)
  return true
}, Effect.scoped)

/** Changes the entries of a file as it is at that time. */
const update = Effect.fnUntraced(function*(
  file: string,
  change: (document: Document) => string
): Effect.fn.Return<void, CredentialsUnavailable, Services> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const unwritable = Effect.mapError(({ reason }: PlatformError.PlatformError) =>
    DockerFiles.broken(file, `it cannot be written (${reason._tag})`)
  )
  const attempt = Effect.scoped(Effect.gen(function*() {
    const target = yield* unwritable(targetOf(file))
    const before = yield* Effect.option(fs.stat(target))
    // to rename a file over /dev/null would destroy it for all programs
    if (Option.isSome(before) && before.value.type !== "File") {
      return yield* DockerFiles.broken(file, "it is not a regular file")
    }
    yield* unwritable(fs.makeDirectory(path.dirname(target), { recursive: true, mode: 0o700 }))
    const lock = yield* unwritable(FileLock.acquire(target))
    const text = change(yield* read(file))
    return yield* unwritable(replace(target, text, lock))
  }))
  while (!(yield* attempt));
})

/** Returns the text with another entry for a place, or with none. */
const withEntry = (text: string, place: string, entry: Readonly<Record<string, Readonly<Record<string, string>>>>) =>
  JsonText.replaceEntries(text, "auths", (key) => CredentialKeys.placeOf(key) === place, entry)

// ---------------------------------------------------------------------------------------------------------------------
// logging in and out
// ---------------------------------------------------------------------------------------------------------------------

const helperFor = Effect.fnUntraced(function*({ credHelpers, credsStore, name }: DockerFiles.Source, place: string) {
  const helper = credHelpers.get(place) ?? credsStore
  if (helper === "" || CredentialHelper.isName(helper)) return helper
  return yield* DockerFiles.broken(
    name,
    "it names a credential helper by other characters than letters, digits and ._+-"
  )
})

const entryOf = ({ password, username }: Login): Readonly<Record<string, string>> =>
  username === CredentialHelper.identityUser
    ? { identitytoken: Redacted.value(password) }
    : { auth: Base64.encode(`${username}:${Redacted.value(password)}`) }

/** Keeps the credentials of a host, instead of those that were kept for it before. */
export const login = Effect.fnUntraced(
  function*(
    host: string,
    credential: Login,
    options: Options = {}
  ): Effect.fn.Return<Kept, CredentialsUnavailable, Services> {
    const file = yield* locate(options)
    const place = CredentialKeys.placeOf(host)
    const key = CredentialKeys.address(place)
    const helper = yield* helperFor((yield* read(file)).source, place)
    if (helper !== "") {
      yield* CredentialHelper.store(yield* ChildProcessSpawner, helper, key, credential)
    }
    // what has a helper is listed too, without a secret
    const entry = helper === "" ? entryOf(credential) : {}
    yield* update(file, ({ text }) => withEntry(text, place, { [key]: entry }))
    return { source: helper === "" ? file : CredentialHelper.programOf(helper), changed: true }
  }
)

/** Forgets the credentials of a host. */
export const logout = Effect.fnUntraced(
  function*(host: string, options: Options = {}): Effect.fn.Return<Kept, CredentialsUnavailable, Services> {
    const file = yield* locate(options)
    const place = CredentialKeys.placeOf(host)
    const { source } = yield* read(file)
    const helper = yield* helperFor(source, place)
    const isErased = helper !== "" &&
      (yield* CredentialHelper.erase(yield* ChildProcessSpawner, helper, CredentialKeys.address(place)))
    const isListed = source.auths.has(place)
    if (isListed) yield* update(file, ({ text }) => withEntry(text, place, {}))
    return {
      source: helper === "" ? file : CredentialHelper.programOf(helper),
      changed: isErased || isListed
    }
  }
)
