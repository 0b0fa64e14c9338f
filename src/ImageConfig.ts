/**
 * Configs of images of OCI and Docker (image-spec, `config.md`). `Image` exports this module.
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Digest from "./Digest.ts"
import * as OtherFields from "./OtherFields.ts"

/** Makes a field optional. A value of another type than the specification says is absent. */
const lenient = <S extends Schema.Constraint>(schema: S) =>
  Schema.optional(schema).pipe(Schema.catchDecoding(() => Effect.succeedNone))

const texts = lenient(Schema.Array(Schema.String))
const flags = lenient(Schema.Record(Schema.String, Schema.Unknown))

/**
 * How containers of an image run. Fields of other names survive decoding and encoding, such as `Healthcheck`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Execution {
  readonly User?: string | undefined
  /** Ports that containers listen on, such as `8080/tcp`, as keys. */
  readonly ExposedPorts?: Readonly<Record<string, unknown>> | undefined
  /** Environment variables in the form `NAME=VALUE`. */
  readonly Env?: ReadonlyArray<string> | undefined
  readonly Entrypoint?: ReadonlyArray<string> | undefined
  readonly Cmd?: ReadonlyArray<string> | undefined
  /** Folders for data of a container, as keys. */
  readonly Volumes?: Readonly<Record<string, unknown>> | undefined
  readonly WorkingDir?: string | undefined
  readonly Labels?: Readonly<Record<string, string>> | undefined
  readonly StopSignal?: string | undefined
}

const DeclaredExecution = Schema.Struct({
  User: lenient(Schema.String),
  ExposedPorts: flags,
  Env: texts,
  Entrypoint: texts,
  Cmd: texts,
  Volumes: flags,
  WorkingDir: lenient(Schema.String),
  Labels: lenient(Schema.Record(Schema.String, Schema.String)),
  StopSignal: lenient(Schema.String)
})

/**
 * How a layer was made, or a change of the config that made no layer.
 *
 * @category models
 * @since 0.1.0
 */
export interface History {
  /** Date and time, as in RFC 3339. */
  readonly created?: string | undefined
  readonly created_by?: string | undefined
  readonly author?: string | undefined
  readonly comment?: string | undefined
  /** True for a change that made no layer. */
  readonly empty_layer?: boolean | undefined
}

const DeclaredHistory = Schema.Struct({
  created: lenient(Schema.String),
  created_by: lenient(Schema.String),
  author: lenient(Schema.String),
  comment: lenient(Schema.String),
  empty_layer: lenient(Schema.Boolean)
})

/**
 * Schema of one entry of the history of an image.
 *
 * @category schemas
 * @since 0.1.0
 */
export const History: Schema.Codec<History, typeof DeclaredHistory.Encoded> = Schema.StructWithRest(
  DeclaredHistory,
  OtherFields.kept
)

/**
 * The config of an image. Fields of other names survive decoding and encoding.
 *
 * @category models
 * @since 0.1.0
 */
export interface Config {
  /** Date and time, as in RFC 3339. */
  readonly created?: string | undefined
  readonly author?: string | undefined
  readonly architecture?: string | undefined
  readonly os?: string | undefined
  readonly "os.version"?: string | undefined
  readonly "os.features"?: ReadonlyArray<string> | undefined
  readonly variant?: string | undefined
  readonly config?: Execution | undefined
  readonly rootfs?: {
    /** Digests of the layers without their compression, the lowest layer first. */
    readonly diff_ids?: ReadonlyArray<Digest.Digest> | undefined
  } | undefined
  /** Entries for the layers, the lowest layer first, and for changes that made no layer. */
  readonly history?: ReadonlyArray<History> | undefined
}

const DeclaredConfig = Schema.Struct({
  created: lenient(Schema.String),
  author: lenient(Schema.String),
  architecture: lenient(Schema.String),
  os: lenient(Schema.String),
  "os.version": lenient(Schema.String),
  "os.features": texts,
  variant: lenient(Schema.String),
  config: lenient(Schema.StructWithRest(DeclaredExecution, OtherFields.kept)),
  rootfs: Schema.optional(Schema.StructWithRest(
    Schema.Struct({ diff_ids: Schema.optional(Schema.Array(Digest.Digest)) }),
    OtherFields.kept
  )),
  history: lenient(Schema.Array(History))
})

/**
 * Schema of the config of an image. Everything is optional. A field with a value of another type than the specification
 * says is absent, except for `diff_ids`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Config: Schema.Codec<Config, typeof DeclaredConfig.Encoded> = Schema.StructWithRest(
  DeclaredConfig,
  OtherFields.kept
)

const decodeJson = Schema.decodeUnknownResult(Schema.fromJsonString(Schema.toCodecGoJson(Config)))

const mediaTypes: ReadonlySet<string> = new Set([
  "application/vnd.oci.image.config.v1+json",
  "application/vnd.docker.container.image.v1+json"
])

/**
 * Returns true for the media types of configs of images, which those of other artifacts, such as Helm charts, are not.
 */
export const isImageConfig = (mediaType: string): boolean => mediaTypes.has(mediaType)

/**
 * Maximum size of a config that is read, in bytes.
 */
export const limit = 4 * 1024 * 1024

/** Decodes a config, or returns what is wrong with it. */
export const decode = (bytes: Uint8Array): Result.Result<Config, string> =>
  Result.try(() => new TextDecoder("utf-8", { fatal: true }).decode(bytes)).pipe(
    Result.mapError(() => "it is not UTF-8"),
    Result.flatMap((text) =>
      Result.mapError(decodeJson(text), ({ message }) => message.slice(0, 300).replace(/\s*\n\s*/g, " "))
    )
  )

/** Returns the entries of the history that have a layer. */
export const layerHistory = ({ history = [] }: Config): ReadonlyArray<History> =>
  history.filter(({ empty_layer }) => empty_layer !== true)
