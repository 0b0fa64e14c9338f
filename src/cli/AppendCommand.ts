/**
 * `effect-oci append SOURCE DESTINATION LAYER...`
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as ImageEdit from "../artifact/ImageEdit.ts"
import * as Connection from "./Connection.ts"
import * as EditFlags from "./EditFlags.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"

/** Reads `FILE`, `FOLDER` or `FOLDER:/TARGET`. */
const readLayer = (text: string): ImageEdit.NewLayer => {
  const at = text.lastIndexOf(":/")
  return at > 0 ? { path: text.slice(0, at), target: text.slice(at + 1) } : { path: text }
}

/** The name of an image without layers. */
const scratch = "scratch"

export const AppendCommand = Command.make(
  "append",
  {
    source: Flags.place(
      "source",
      "Base: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE, with a tag or a digest; scratch is an " +
        "image without layers"
    ),
    destinations: Flags.place("destination", "Destination: host/repository, oci:DIR or an archive, with a tag").pipe(
      Argument.map((destination) => [destination])
    ),
    layers: Argument.String("layer").pipe(
      Argument.withMetavar("layer"),
      Argument.withDescription(
        "Layer, the lowest first: a tar archive, compressed with gzip or zstd or not; or a folder, with the folder of " +
          "the image that gets its content: FOLDER:/TARGET. Default target: the root"
      ),
      Argument.atLeast(1),
      Argument.map((layers) => layers.map(readLayer))
    ),
    setBase: Flags.onOff("set-base", "Set the annotations with name and digest of the base, which rebase uses"),
    keepMetadata: Flags.onOff("keep-metadata", "Keep times, owners and permissions of the files in folders"),
    ...EditFlags.changes,
    ...EditFlags.common,
    connection: Connection.copyFlags
  },
  Effect.fnUntraced(function*({ destinations, keepMetadata, layers, setBase, source, ...input }) {
    const metadata = keepMetadata ? "kept" : "fixed"
    const options = {
      ...EditFlags.changesOf(input),
      layers: layers.map((layer) => ({ ...layer, metadata } as const)),
      baseAnnotations: setBase ? "set" : "keep"
    } as const
    const append = (base: Locations.Location | undefined) =>
      Locations.useAll(destinations, Locations.destination, ([destination]) => {
        if (destination === undefined) return Effect.die("the parser requires a destination")
        const events = ImageEdit.editEvents({
          ...EditFlags.optionsOf(input, destination),
          ...options,
          source: base?.end
        })
        const reference = base?.format(base.end) ?? destination.format(destination.end)
        return EditFlags.push(input, reference, destination, events)
      })
    yield* yield* (source.input === scratch ? append(undefined) : source.use(Locations.image, append))
  })
).pipe(
  Connection.provideCopyUnwatched,
  Command.withShortDescription("Makes an image from a base and further layers"),
  Command.withDescription(
    "Makes an image from a base, further layers and changes of its config, and pushes it. Nothing is built or run. " +
      "Layers of the base are mounted within a registry. The layers of an index are added to all of its images. Equal " +
      "folders become equal layers. Prints the reference of the image by its digest."
  ),
  Command.withExamples([
    {
      command: "effect-oci append docker.io/library/debian:12 registry.example.com/app:1 dist:/srv/app " +
        "--entrypoint /srv/app/run",
      description: "Add a folder to an image, and start a program in it"
    },
    {
      command: "effect-oci append --platform linux/arm64 ghcr.io/team/base:1 oci:images:app layer.tar.gz",
      description: "Add an archive to the image for one platform"
    }
  ])
)
