/**
 * Where docker and podman keep credentials, and what stands there.
 */
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type * as PlatformError from "effect/PlatformError"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { CredentialsUnavailable } from "../RegistryError.ts"
import * as CredentialKeys from "./CredentialKeys.ts"
import * as GoJson from "./GoJson.ts"

/** A config, and what it is called in errors. */
export interface Source {
  readonly name: string
  readonly auths: CredentialKeys.Table<unknown>
  readonly credHelpers: CredentialKeys.Table<string>
  readonly credsStore: string
  /** What was ignored, because it is not as docker and podman write it. */
  readonly problems: ReadonlyArray<string>
}

/** A place where a config may be. */
export interface Candidate {
  readonly name: string
  /** What is there, if anything is. */
  readonly source: Effect.Effect<Source | undefined, CredentialsUnavailable>
}

const decodeJson = Schema.decodeEffect(Schema.fromJsonString(Schema.Unknown))

export const broken = (source: string, problem: string): CredentialsUnavailable =>
  new CredentialsUnavailable({ source, problem })

/** Parses the text of a config. A text that is blank, and `null`, have no fields. */
export const parse = Effect.fnUntraced(
  function*(name: string, text: string): Effect.fn.Return<GoJson.Fields, CredentialsUnavailable> {
    const json = text.trim() === ""
      ? null
      : yield* Effect.mapError(decodeJson(text.trim()), () => broken(name, "it is not JSON"))
    if (json === null) return {}
    return GoJson.isFields(json) ? json : yield* broken(name, "it is not a JSON object")
  }
)

/** Reads a config. Entries of `auths` stay as they are, so that one that is broken does not hide the others. */
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

/** A config that is a folder, or in what is not a folder: it has no entries. */
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

/** What the environment says of where credentials are: a config itself, and files, the first of which logins go to. */
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
      [runtime, "containers/auth.json"] as const,
      [config || inHome(".config"), "containers/auth.json"] as const
    ].flatMap(([directory, name]) => directory === "" ? [] : [path.join(directory, name)])
    : [authFile]
  return { inline, files }
})

/** All places where a config may be, in the order in which they are asked. */
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

/** Returns the file that logins are written to, if there is a place for one. */
export const loginFile = (
  file: string | undefined
): Effect.Effect<string | undefined, CredentialsUnavailable, Path.Path> =>
  file === undefined ? Effect.map(locate, ({ files }) => files[0]) : Effect.succeed(file)
