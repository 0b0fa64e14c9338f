/**
 * Stores credentials where docker and podman find them, as `docker login` does, and deletes them.
 *
 * Credentials are written to the given file, to the file that `REGISTRY_AUTH_FILE` names, or else to docker's
 * `config.json`; or to the credential helper that this file names for the host. The rest of the file keeps its bytes,
 * and the file keeps its mode, its owner and a symbolic link to it. It is replaced by renaming, under a lock that is
 * shared with other processes, so that no concurrent login is lost. A new file is readable only by its owner.
 *
 * Neither function contacts the registry. To verify the credentials first, use them for `Registry.ping`.
 *
 * @since 0.1.0
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

/**
 * A user name and a password. With the user name `<token>`, the password is an identity token.
 *
 * @category models
 * @since 0.1.0
 */
export type Login = Extract<Credential, { readonly _tag: "Basic" }>

/**
 * Result of a login or logout.
 *
 * @category models
 * @since 0.1.0
 */
export interface Kept {
  /** File or program that has, or had, the credentials. */
  readonly source: string
  /** True after a login, and if a logout has deleted credentials. */
  readonly changed: boolean
}

/**
 * Options of a login or logout.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Path of a file in the format of docker or podman. Default: the file that the environment names. */
  readonly file?: string | undefined
}

type Services = FileSystem.FileSystem | Path.Path | ChildProcessSpawner

// ---------------------------------------------------------------------------------------------------------------------
// the file
// ---------------------------------------------------------------------------------------------------------------------

/** A config that is about to be changed. */
interface Document {
  readonly text: string
  readonly source: DockerFiles.Source
}

/** Returns the path of the file. */
const locate = Effect.fnUntraced(function*({ file }: Options) {
  const found = yield* DockerFiles.loginFile(file)
  return found ?? (yield* DockerFiles.broken("the environment", "it names no home directory"))
})

/** Reads the file, if it exists. Unlike a lookup, it fails for parts that it cannot read, so that none is destroyed. */
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
  // a file without fields may also be empty, or null
  return { source, text: Object.keys(fields).length === 0 ? "{}" : text.trim() }
})

/** Returns the path of the file to write: the target of a symbolic link, even if that does not exist yet. */
const targetOf = Effect.fnUntraced(function*(file: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  if (yield* fs.exists(file)) return yield* fs.realPath(file)
  const link = yield* Effect.option(fs.readLink(file))
  return Option.match(link, { onNone: () => file, onSome: (link) => path.resolve(path.dirname(file), link) })
})

/** Replaces a file. Returns false, without replacing it, if the lock was lost. */
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
    // only an administrator may change the owner
    if (Option.isSome(uid) && Option.isSome(gid)) yield* Effect.ignore(fs.chown(draft, uid.value, gid.value))
    yield* fs.chmod(draft, mode & 0o777)
  }
  yield* opened.sync
  if (!(yield* isHeld)) return false
  yield* fs.rename(draft, target)
  return true
}, Effect.scoped)

/** Changes a file under its lock. */
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
    // renaming a file over /dev/null would destroy it for all programs
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

/** Returns the text with the entry for a place replaced, or removed. */
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

/**
 * Stores the credentials of a host, in place of those that are stored for it. The host may have a path: `ghcr.io/team`.
 *
 * **Example** (Logging in from a program)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect, Redacted } from "effect"
 * import * as DockerConfig from "effect-oci/DockerConfig"
 * import * as DockerLogin from "effect-oci/DockerLogin"
 *
 * const program = Effect.gen(function*() {
 *   const ada: DockerLogin.Login = { _tag: "Basic", username: "ada", password: Redacted.make("secret") }
 *   yield* DockerLogin.login("ghcr.io", ada, { file: "auth.json" })
 *   const credentials = yield* DockerConfig.make({ file: "auth.json" })
 *   return yield* credentials.lookup({ host: "ghcr.io", repository: "team/app" })
 * })
 *
 * const found = await Effect.runPromise(Effect.provide(program, NodeServices.layer))
 * found?._tag // => "Basic"
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const login = Effect.fn("DockerLogin.login")(
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
    // docker lists a host with a helper too, without a secret
    const entry = helper === "" ? entryOf(credential) : {}
    yield* update(file, ({ text }) => withEntry(text, place, { [key]: entry }))
    return { source: helper === "" ? file : CredentialHelper.programOf(helper), changed: true }
  }
)

/**
 * Deletes the stored credentials of a host.
 *
 * **Example** (Logging out)
 *
 * ```ts import.meta.vitest
 * import { NodeServices } from "@effect/platform-node"
 * import { Effect } from "effect"
 * import * as DockerLogin from "effect-oci/DockerLogin"
 *
 * const program = DockerLogin.logout("ghcr.io", { file: "auth.json" })
 *
 * const { source } = await Effect.runPromise(Effect.provide(program, NodeServices.layer))
 * source // => "auth.json"
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const logout = Effect.fn("DockerLogin.logout")(
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
