/**
 * `effect-oci manifest inspect IMAGE`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { isObject } from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as Annotations from "../Annotations.ts"
import { Descriptor } from "../Descriptor.ts"
import * as Manifest from "../Manifest.ts"
import * as Namespace from "../Namespace.ts"
import * as Platform from "../Platform.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Format from "./Format.ts"
import * as ImageConfig from "./ImageConfig.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"

// ---------------------------------------------------------------------------------------------------------------------
// text
// ---------------------------------------------------------------------------------------------------------------------

const item = (name: string, ...values: ReadonlyArray<string>): ReadonlyArray<string> => {
  const said = values.filter((value) => value !== "")
  return said.length === 0 ? [] : [`${name.padEnd(12)}  ${said.join("  ")}`]
}

const list = (name: string, values: ReadonlyArray<string>): ReadonlyArray<string> =>
  values.length === 0 ? [] : [name, ...values.map((value) => `  ${value}`)]

const pairs = (name: string, record: unknown): ReadonlyArray<string> =>
  list(
    name,
    isObject(record)
      ? Object.entries(record).flatMap(([key, value]) => key === "" && value === "" ? [] : [`${key}: ${String(value)}`])
      : []
  )

/** Returns a line of columns, without those that are blank. */
const columns = (...values: ReadonlyArray<string>): string => values.filter((value) => value !== "").join("  ")

const strings = (value: unknown): ReadonlyArray<string> => Array.isArray(value) ? value.map(String) : []

const described = (label: string, { digest, mediaType = "", size }: Manifest.Subject) =>
  item(label, digest, size === undefined ? "" : Format.size(size), mediaType)

const platformOf = (config: unknown): ReadonlyArray<string> => {
  const text = (name: string) => {
    const value = ImageConfig.field(config, name)
    return typeof value === "string" ? value : ""
  }
  const [os, architecture] = [text("os"), text("architecture")]
  if (os === "" || architecture === "") return [os, architecture].filter((part) => part !== "")
  return [Platform.format({
    os,
    architecture,
    variant: text("variant"),
    "os.version": text("os.version"),
    "os.features": strings(ImageConfig.field(config, "os.features"))
  })]
}

const aboutConfig = (config: unknown): ReadonlyArray<string> => {
  const run = (name: string) => ImageConfig.field(config, "config", name)
  const one = (value: unknown) => typeof value === "string" && value !== "" ? [value] : []
  const words = (value: unknown) => strings(value).map((word) => JSON.stringify(word))
  return [
    ...item("platform", ...platformOf(config)),
    ...item("created", ...one(ImageConfig.field(config, "created"))),
    ...item("user", ...one(run("User"))),
    ...item("entrypoint", ...words(run("Entrypoint"))),
    ...item("command", ...words(run("Cmd"))),
    ...item("directory", ...one(run("WorkingDir"))),
    ...list("environment", strings(run("Env"))),
    ...list("ports", isObject(run("ExposedPorts")) ? Object.keys(run("ExposedPorts") ?? {}) : []),
    ...pairs("labels", run("Labels"))
  ]
}

const layers = (layers: ReadonlyArray<Descriptor>): ReadonlyArray<string> => {
  const total = layers.reduce((sum, { size }) => sum + size, 0)
  return list(
    `layers, ${Format.size(total)} in all`,
    layers.map(({ annotations, digest, mediaType, size }) =>
      columns(digest, Format.size(size), mediaType, annotations?.[Annotations.title] ?? "")
    )
  )
}

const children = (manifests: ReadonlyArray<Descriptor>): ReadonlyArray<string> =>
  list(
    "manifests",
    manifests.map(({ annotations, digest, mediaType, platform, size }) => {
      const about = annotations?.["vnd.docker.reference.type"]
      const type = Format.isKnown(mediaType) ? "any platform" : mediaType
      return columns(digest, Format.size(size), about ?? (platform === undefined ? type : Platform.format(platform)))
    })
  )

/** A manifest with its descriptor. */
interface Inspected {
  readonly reference: string
  readonly descriptor: Descriptor
  /** Absent if its type is unknown. */
  readonly manifest?: Manifest.Manifest | undefined
  readonly config?: unknown
}

const lines = ({ config, descriptor, manifest, reference }: Inspected): ReadonlyArray<string> => {
  const about = [...item("reference", reference), ...described("digest", descriptor)]
  if (manifest === undefined) return [...about, "its type is unknown: print it with effect-oci manifest get"]
  const { content, _tag } = manifest
  return [
    ...about,
    ...item("artifact", content.artifactType ?? ""),
    ...content.subject === undefined ? [] : described("refers to", content.subject),
    ...pairs("annotations", content.annotations),
    ..._tag === "Image"
      ? [...described("config", content.config), ...aboutConfig(config), ...layers(content.layers)]
      : [],
    ..._tag === "Artifact" ? layers(content.blobs ?? []) : [],
    ..._tag === "Index" ? children(content.manifests) : []
  ]
}

/** Decodes a manifest, if its type is known. */
const decode = (mediaType: string, bytes: Uint8Array) =>
  Effect.catchIf(
    Effect.fromResult(Manifest.decode(mediaType, bytes)),
    ({ kind }) => kind === "UnknownMediaType",
    () => Effect.undefined
  )

/** Schema of the result. */
export const InspectedManifest = Schema.Struct({
  reference: Schema.String,
  descriptor: Descriptor,
  manifest: Schema.Unknown,
  config: Schema.optionalKey(Schema.Unknown)
})

// ---------------------------------------------------------------------------------------------------------------------
// the verb
// ---------------------------------------------------------------------------------------------------------------------

export const ManifestInspectCommand = Command.make(
  "inspect",
  {
    image: Flags.place(
      "image",
      "Manifest: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE, with a tag or a digest"
    ),
    platform: Flags.platform("Show the image for this platform instead of the index").pipe(Flag.optional),
    json: Flags.onOff("json", "Print the descriptor, the manifest and the config as one JSON document"),
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ image, json, platform }) {
    const namespace = yield* Namespace.Namespace
    yield* image.use(
      Locations.image,
      Effect.fnUntraced(function*(place) {
        const { bytes, descriptor } = yield* namespace.getManifest(
          place.end,
          Option.isNone(platform) ? {} : { platform: platform.value }
        )
        const manifest = yield* decode(descriptor.mediaType, bytes)
        const config = manifest?._tag === "Image"
          ? yield* ImageConfig.read(namespace, place, manifest.content.config)
          : undefined
        const known = {
          reference: place.format(place.end),
          descriptor,
          ...config === undefined ? {} : { config }
        }
        yield* json
          ? Output.json(InspectedManifest, { ...known, manifest: ImageConfig.parse(bytes) })
          : Output.text(lines({ ...known, ...manifest === undefined ? {} : { manifest } }))
      })
    )
  })
).pipe(
  Connection.provide("image"),
  Command.withAlias("show"),
  Command.withShortDescription("Shows a summary of a manifest and of its config"),
  Command.withDescription(
    "Shows a manifest for people: the platforms of an index; the platform, entrypoint, environment and labels of an " +
      "image, and its layers with their sizes."
  ),
  Command.withExamples([
    { command: "effect-oci manifest inspect ghcr.io/team/app:1", description: "Show the platforms of an image" },
    {
      command: "effect-oci manifest inspect --platform linux/amd64 ghcr.io/team/app:1",
      description: "Show the entrypoint and layers of the image for one platform"
    },
    {
      command: "effect-oci manifest inspect --json oci:images:app | jq .config.config.Labels",
      description: "Print the labels as JSON"
    }
  ])
)
