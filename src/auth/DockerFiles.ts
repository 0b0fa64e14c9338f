/**
 * Files and variables in which docker and podman store credentials.
 */
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import type * as PlatformError from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { CredentialsUnavailable } from "../RegistryError.ts"
import * as CredentialKeys from "./CredentialKeys.ts"
import * as GoJson from "./GoJson.ts"

/** A config, with its name in errors. */
export interface Source {
  readonly name: string
  readonly auths: CredentialKeys.Table<unknown>
  readonly credHelpers: CredentialKeys.Table<string>
  readonly credsStore: string
  /** Descriptions of parts that were ignored, because docker and podman would not write them. */
  readonly problems: ReadonlyArray<string>
}

/** A place where a config may be. */
export interface Candidate {
  readonly name: string
  /** Reads the config. Returns `undefined` if there is none. */
  readonly source: Effect.Effect<Source | undefined, CredentialsUnavailable>
}

const decodeJson = Schema.decodeEffect(Schema.fromJsonString(Schema.Unknown))

export const broken = (source: string, problem: string): CredentialsUnavailable =>
  new CredentialsUnavailable({ source, problem })

/** Parses the text of a config. A blank text and `null` have no fields. */
export const parse = Effect.fnUntraced(
  function*(name: string, text: string): Effect.fn.Return<GoJson.Fields, CredentialsUnavailable> {
    const json = text.trim() === ""
      ? null
      : yield* Effect.mapError(decodeJson(text.trim()), () => broken(name, "it is not JSON"))
    if (json === null) return {}
    return GoJson.isFields(json) ? json : yield* broken(name, "it is not a JSON object")
  }
)

/** Reads a config. Entries of `auths` are not decoded, so that a broken one does not hide the others. */
export const read = (name: string, fields: GoJson.Fields): Source => {
  const problems: Array<string> = []
  const tableOf = (field: string): GoJson.Fields => {
    const value = GoJson.field(fields, field) ?? {}
    if (GoJson.isFields(value)) return value
    problems.push(`${field} is not an object`)
    return {}
  }
  const credHelpers: Record<string, string> = {}
  for (const [key, helper] of Object.entries(tableOf("credHelpers"))) {
    if (Predicate.isString(helper)) credHelpers[key] = helper
    else if (helper !== null) problems.push(`the entry for ${CredentialKeys.placeOf(key)} in credHelpers is not a name`)
  }
  const credsStore = GoJson.field(fields, "credsStore") ?? ""
  if (!Predicate.isString(credsStore)) problems.push("credsStore is not a name")
  return {
    name,
    auths: CredentialKeys.table(tableOf("auths")),
    credHelpers: CredentialKeys.table(credHelpers),
    credsStore: Predicate.isString(credsStore) ? credsStore : "",
    problems
  }
}

/** Returns the config of a path that is a folder, or that leads through a file. It has no entries. */
const noFile = (name: string): Source => ({
  ...read(name, {}),
  problems: ["it is not a file"]
})

/** Converts the failure to read a file. */
export const unreadable = (file: string) => ({ reason }: PlatformError.PlatformError): CredentialsUnavailable =>
  broken(file, `it cannot be read (${reason._tag})`)

const variable = (name: string) => Config.String(name).pipe(Config.withDefault(""))

const environment = Config.all({
  inline: Config.Redacted("DOCKER_AUTH_CONFIG").pipe(Config.withDefault(Redacted.make(""))),
  authFile: variable("REGISTRY_AUTH_FILE"),
  dockerConfig: variable("DOCKER_CONFIG"),
  runtime: variable("XDG_RUNTIME_DIR"),
  config: variable("XDG_CONFIG_HOME"),
  home: Config.String("HOME").pipe(Config.orElse(() => variable("USERPROFILE")))
})

/**
 * Returns podman's folder for credentials that last until the system restarts, or an empty text if there is none.
 * Without `XDG_RUNTIME_DIR`, it is named by the id of the user, which on Linux owns the folder of this process.
 */
const runtimeFolder = Effect.fnUntraced(function*(runtime: string) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  if (runtime !== "") return path.join(runtime, "containers")
  const own = yield* Effect.option(fs.stat("/proc/self"))
  return Option.match(Option.flatMap(own, ({ uid }) => uid), {
    onNone: () => "",
    onSome: (uid) => `/run/containers/${uid}`
  })
})

/** Reads from the environment a config itself, and the paths of files. Logins are written to the first of them. */
const locate = Effect.gen(function*() {
  const path = yield* Path.Path
  const provider = yield* ConfigProvider.ConfigProvider
  const { authFile, config, dockerConfig, home, inline, runtime } = yield* Effect.mapError(
    environment.parse(provider),
    () => broken("the environment", "it cannot be read")
  )
  const inHome = (name: string) => home === "" ? "" : path.join(home, name)
  const files = authFile === ""
    ? [
      [dockerConfig || inHome(".docker"), "config.json"] as const,
      [yield* runtimeFolder(runtime), "auth.json"] as const,
      [config || inHome(".config"), "containers/auth.json"] as const
    ].flatMap(([directory, name]) => directory === "" ? [] : [path.join(directory, name)])
    : [authFile]
  return { inline, files }
})

/** Lists all places where a config may be, in the order in which they are searched. */
export const candidates = Effect.fnUntraced(
  function*(file?: string): Effect.fn.Return<
    ReadonlyArray<Candidate>,
    CredentialsUnavailable,
    FileSystem.FileSystem | Path.Path
  > {
    const fs = yield* FileSystem.FileSystem
    const sourceOf = (name: string, text: string) => Effect.map(parse(name, text), (fields) => read(name, fields))
    const load = (file: string): Candidate => ({
      name: file,
      source: Effect.matchEffect(fs.readFileString(file), {
        onSuccess: (text) => sourceOf(file, text),
        onFailure: (error) =>
          error.reason._tag === "NotFound"
            ? Effect.undefined
            : error.reason._tag === "BadResource"
            ? Effect.succeed(noFile(file))
            : Effect.fail(unreadable(file)(error))
      })
    })
    if (file !== undefined) return [load(file)]
    const { files, inline } = yield* locate
    const text = Redacted.value(inline)
    return [
      ...text === "" ? [] : [{ name: "DOCKER_AUTH_CONFIG", source: sourceOf("DOCKER_AUTH_CONFIG", text) }],
      ...files.map(load)
    ]
  }
)

/** Returns the path of the file that logins are written to, or `undefined` if the environment names no place for it. */
export const loginFile = (
  file: string | undefined
): Effect.Effect<string | undefined, CredentialsUnavailable, FileSystem.FileSystem | Path.Path> =>
  file === undefined ? Effect.map(locate, ({ files }) => files[0]) : Effect.succeed(file)
