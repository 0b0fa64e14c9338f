/**
 * Where docker and podman keep credentials, and what stands there.
 */
import * as Config from "effect/Config"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { CredentialsUnavailable } from "../RegistryError.ts"
import * as Keys from "./Keys.ts"

/** A config, and what it is called in errors. */
export interface Source {
  readonly name: string
  readonly auths: Keys.Table<unknown>
  readonly credHelpers: Keys.Table<string>
  readonly credsStore: string
}

/** A place where a config may be. */
export interface Candidate {
  readonly name: string
  /** What is there, if anything is. */
  readonly source: Effect.Effect<Source | undefined, CredentialsUnavailable>
}

/** Go writes null for what is empty. */
export const given = <S extends Schema.Constraint>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

// entries stay unread until they are needed, so that one that is broken does not hide the others
const File = Schema.Struct({
  auths: given(Schema.Record(Schema.String, Schema.Unknown)),
  credHelpers: given(Schema.Record(Schema.String, Schema.String)),
  credsStore: given(Schema.String)
})
const decodeJson = Schema.decodeEffect(Schema.fromJsonString(Schema.Unknown))
const decodeFile = Schema.decodeUnknownEffect(File)

export const broken = (source: string, problem: string): CredentialsUnavailable =>
  new CredentialsUnavailable({ source, problem })

/** The JSON of a config. */
export const parseJson = (name: string, text: string): Effect.Effect<unknown, CredentialsUnavailable> =>
  Effect.mapError(decodeJson(text), () => broken(name, "it is not JSON"))

/** What a config says. */
export const read = Effect.fnUntraced(
  function*(name: string, json: unknown): Effect.fn.Return<Source, CredentialsUnavailable> {
    const file = yield* Effect.mapError(
      decodeFile(json),
      () => broken(name, "auths, credHelpers or credsStore are not as docker and podman write them")
    )
    return {
      name,
      auths: Keys.table(file.auths ?? {}),
      credHelpers: Keys.table(file.credHelpers ?? {}),
      credsStore: file.credsStore ?? ""
    }
  }
)

/** The text of a file, if there is one. */
export const readText = Effect.fnUntraced(
  function*(fs: FileSystem.FileSystem, file: string): Effect.fn.Return<string | undefined, CredentialsUnavailable> {
    return yield* Effect.catchTag(fs.readFileString(file), "PlatformError", ({ reason }) =>
      reason._tag === "NotFound"
        ? Effect.undefined
        : Effect.fail(broken(file, `it cannot be read (${reason._tag})`)))
  }
)

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
    const parse = (name: string, text: string) => Effect.flatMap(parseJson(name, text), (json) => read(name, json))
    const load = (file: string): Candidate => ({
      name: file,
      source: Effect.flatMap(
        readText(fs, file),
        (text) => text === undefined ? Effect.undefined : parse(file, text)
      )
    })
    if (file !== undefined) return [load(file)]
    const { files, inline } = yield* locate
    const text = Redacted.value(inline)
    return [
      ...text === "" ? [] : [{ name: "DOCKER_AUTH_CONFIG", source: parse("DOCKER_AUTH_CONFIG", text) }],
      ...files.map(load)
    ]
  }
)

/** The file that logins are written to, if there is a place for one. */
export const loginFile: Effect.Effect<string | undefined, CredentialsUnavailable, Path.Path> = Effect.map(
  locate,
  ({ files }) => files[0]
)
