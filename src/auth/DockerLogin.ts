/**
 * Keeping credentials where docker and podman keep theirs, as `docker login` does, and forgetting them.
 *
 * They go to the file that `REGISTRY_AUTH_FILE` names, or else to docker's `config.json`; or to the helper that this file
 * names for the host. What else is in the file stays. It is replaced by renaming, and nobody else may read it unless
 * everybody could before.
 */
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as PlatformError from "effect/PlatformError"
import { isObject } from "effect/Predicate"
import { ChildProcessSpawner } from "effect/process/ChildProcessSpawner"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { CredentialsUnavailable } from "../RegistryError.ts"
import * as CredentialHelper from "./CredentialHelper.ts"
import type { Credential } from "./Credentials.ts"
import * as DockerFiles from "./DockerFiles.ts"
import * as Keys from "./Keys.ts"

/** A name and a password. */
export type Login = Extract<Credential, { readonly _tag: "Basic" }>

/** What was done. */
export interface Kept {
  /** The file or program that has, or had, the credentials. */
  readonly source: string
  /** Was there anything to forget? */
  readonly changed: boolean
}

type Services = FileSystem.FileSystem | Path.Path | ChildProcessSpawner

// ---------------------------------------------------------------------------------------------------------------------
// the file
// ---------------------------------------------------------------------------------------------------------------------

/** A config as it is, to be changed. */
interface Document {
  readonly file: string
  readonly json: Readonly<Record<string, unknown>>
  readonly source: DockerFiles.Source
}

const open = Effect.gen(function*(): Effect.fn.Return<Document, CredentialsUnavailable, Services> {
  const file = yield* DockerFiles.loginFile
  if (file === undefined) return yield* DockerFiles.broken("the environment", "it names no home directory")
  const text = (yield* DockerFiles.readText(yield* FileSystem.FileSystem, file)) ?? "{}"
  const json = yield* DockerFiles.parseJson(file, text.trim() === "" ? "{}" : text)
  if (!isObject(json) || Array.isArray(json)) return yield* DockerFiles.broken(file, "it is not a JSON object")
  return { file, json: { ...json }, source: yield* DockerFiles.read(file, json) }
})

// docker indents by tabs
const encodeJson = Schema.encodeEffect(Schema.fromJsonString(Schema.Unknown, { space: "\t" }))

const save = Effect.fnUntraced(function*(file: string, json: Readonly<Record<string, unknown>>) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const text = yield* Effect.orDie(encodeJson(json))
  yield* Effect.gen(function*() {
    yield* fs.makeDirectory(path.dirname(file), { recursive: true, mode: 0o700 })
    const isThere = yield* fs.exists(file)
    // a link to the file stays one
    const target = isThere ? yield* fs.realPath(file) : file
    const mode = isThere ? (yield* fs.stat(target)).mode & 0o777 : 0o600
    const directory = path.dirname(target)
    const folder = yield* fs.makeTempDirectoryScoped({ directory, prefix: `.${path.basename(target)}.` })
    const draft = path.join(folder, "draft")
    const opened = yield* fs.open(draft, { flag: "wx", mode: 0o600 })
    yield* opened.writeAll(new TextEncoder().encode(text))
    yield* fs.chmod(draft, mode)
    yield* opened.sync
    yield* fs.rename(draft, target)
  }).pipe(
    Effect.scoped,
    Effect.mapError(({ reason }: PlatformError.PlatformError) =>
      DockerFiles.broken(file, `it cannot be written (${reason._tag})`)
    )
  )
})

/** The entries for other places than this one. */
const without = ({ auths }: Document["json"], place: string): Readonly<Record<string, unknown>> =>
  isObject(auths) ? Object.fromEntries(Object.entries(auths).filter(([key]) => Keys.placeOf(key) !== place)) : {}

// ---------------------------------------------------------------------------------------------------------------------
// logging in and out
// ---------------------------------------------------------------------------------------------------------------------

const helperFor = Effect.fnUntraced(function*({ file, source }: Document, place: string) {
  const helper = source.credHelpers.get(place) ?? source.credsStore
  if (helper === "" || CredentialHelper.isName(helper)) return helper
  return yield* DockerFiles.broken(
    file,
    "it names a credential helper by other characters than letters, digits and ._+-"
  )
})

const entryOf = ({ password, username }: Login) =>
  username === CredentialHelper.identityUser
    ? { identitytoken: Redacted.value(password) }
    : { auth: Base64.encode(`${username}:${Redacted.value(password)}`) }

/** Keeps the credentials of a host, instead of those that were kept for it before. */
export const login = Effect.fnUntraced(
  function*(host: string, credential: Login): Effect.fn.Return<Kept, CredentialsUnavailable, Services> {
    const document = yield* open
    const place = Keys.placeOf(host)
    const key = Keys.address(place)
    const helper = yield* helperFor(document, place)
    if (helper !== "") {
      yield* CredentialHelper.store(yield* ChildProcessSpawner, helper, key, credential)
    }
    // what has a helper is listed too, without a secret
    const entry = helper === "" ? entryOf(credential) : {}
    yield* save(document.file, { ...document.json, auths: { ...without(document.json, place), [key]: entry } })
    return { source: helper === "" ? document.file : CredentialHelper.programOf(helper), changed: true }
  }
)

/** Forgets the credentials of a host. */
export const logout = Effect.fnUntraced(
  function*(host: string): Effect.fn.Return<Kept, CredentialsUnavailable, Services> {
    const document = yield* open
    const place = Keys.placeOf(host)
    const helper = yield* helperFor(document, place)
    const isErased = helper !== "" &&
      (yield* CredentialHelper.erase(yield* ChildProcessSpawner, helper, Keys.address(place)))
    const isListed = document.source.auths.has(place)
    if (isListed) yield* save(document.file, { ...document.json, auths: without(document.json, place) })
    return {
      source: helper === "" ? document.file : CredentialHelper.programOf(helper),
      changed: isErased || isListed
    }
  }
)
