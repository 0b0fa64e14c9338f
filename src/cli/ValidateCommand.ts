/**
 * `effect-oci validate TARGET`
 */
import * as Argument from "effect/cli/Argument"
import type * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Result from "effect/Result"
import type * as Stdio from "effect/Stdio"
import * as Validation from "../artifact/Validation.ts"
import * as Namespace from "../Namespace.ts"
import * as Reference from "../Reference.ts"
import type { Registry } from "../Registry.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Format from "./Format.ts"
import * as Locations from "./Locations.ts"
import * as Messages from "./Messages.ts"
import * as Output from "./Output.ts"

/** Content to validate: a place, or a whole registry. */
interface Target extends Locations.Named {
  readonly whole?: Effect.Effect<Registry, unknown, Namespace.Namespace | FileSystem.FileSystem | Path.Path> | undefined
}

const anyRepository = Reference.Repository.make("all")

const never: Locations.Named["use"] = () => Effect.die("a whole registry is not a place")

/** Returns the registry in a folder that `serve` serves. A folder with an `index.json` is a single layout. */
const rootAt = Effect.fnUntraced(function*(input: string, directory: string) {
  const fs = yield* FileSystem.FileSystem
  const { join } = yield* Path.Path
  const exists = (path: string) => Effect.orElseSucceed(fs.exists(path), () => false)
  const isRoot = (yield* exists(directory)) && !(yield* exists(join(directory, "index.json"))) &&
    !(yield* exists(join(directory, "oci-layout")))
  if (!isRoot) return undefined
  const target: Target = {
    input,
    use: never,
    whole: Effect.flatMap(
      Effect.promise(() => import("../stores/LayoutRegistry.ts")),
      ({ make }) => make({ directory })
    )
  }
  return target
})

/** A host has a dot, a port, or brackets, or is `localhost`. A name of Docker Hub has none of them. */
const isHost = (text: string): boolean => /^(?:localhost|\[[^\]/]*\]|[^:/@]*\.[^:/@]*)(?::\d+)?$/.test(text)

const readTarget = (
  text: string
): Effect.Effect<Target, CliError.ValidationError, Path.Path | FileSystem.FileSystem> =>
  Effect.gen(function*() {
    const host = isHost(text) ? Result.getOrUndefined(Reference.parseHost(text)) : undefined
    if (host !== undefined) {
      const target: Target = {
        input: text,
        registry: { host, repository: anyRepository },
        use: never,
        whole: Effect.flatMap(Namespace.Namespace, (namespace) => namespace.registry(host))
      }
      return target
    }
    const root = text.startsWith("oci:") ? yield* rootAt(text, text.slice("oci:".length)) : undefined
    return root ?? (yield* Locations.read(text))
  })

const lineOf = ({ digest, kind, message, path, repository, tag }: Validation.Problem): string => {
  const root = tag === undefined ? repository : `${repository}:${tag}`
  const about = digest ?? path.at(-1)
  return [kind, about === undefined ? root : `${root} ${about}`, message].join(": ")
}

export const ValidateCommand = Command.make(
  "validate",
  {
    target: Argument.String("target").pipe(
      Argument.withMetavar("target"),
      Argument.withDescription(
        "Image, with a tag or a digest; or everything in a repository, a folder (oci:DIR, also one that serve serves), an " +
          "archive (oci-archive:FILE, docker-archive:FILE) or a registry (HOST)"
      ),
      Argument.mapEffect(readTarget)
    ),
    referrers: Flag.Literals("referrers", ["include", "skip"]).pipe(
      Flag.withMetavar("include|skip"),
      Flag.withDescription("Signatures, SBOMs, attestations and other referrers. Default: include"),
      Flag.withDefault("include")
    ),
    layers: Flag.Literals("layers", ["unpack", "digest"]).pipe(
      Flag.withMetavar("unpack|digest"),
      Flag.withDescription(
        "Unpack layers and compare them with the diff_ids of the config (unpack), or only verify their digests (digest). " +
          "Default: unpack"
      ),
      Flag.withDefault("unpack")
    ),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ connection, json, layers, referrers, target }) {
    const services = yield* Effect.context<Stdio.Stdio>()
    const print = (problem: Validation.Problem) =>
      Output.line(lineOf(problem)).pipe(Effect.orDie, Effect.provideContext(services))
    const options: Validation.Options = {
      layers,
      referrers,
      ...Option.isNone(connection.concurrency) ? {} : { concurrency: connection.concurrency.value },
      ...json ? {} : { onProblem: print }
    }
    const report = yield* target.whole === undefined
      ? target.use(Locations.anything, (place) => Validation.validate(place.end, options))
      : Effect.flatMap(target.whole, (registry) => Validation.validateRegistry({ registry }, options))
    if (json) yield* Output.json(Validation.Report, report)
    const { blobs, bytes, external, manifests, problems } = report
    const others = external === 0 ? "" : `; ${Format.plural(external, "external layer")} not read`
    yield* Messages.note(
      `read ${Format.plural(manifests, "manifest")} and ${Format.plural(blobs, "blob")} (${
        Format.size(bytes)
      })${others}`
    )
    if (problems.length > 0) {
      return yield* new Output.Failure({
        message: `${target.input}: ${Format.plural(problems.length, "problem")}${report.truncated ? " or more" : ""}`
      })
    }
  })
).pipe(
  Connection.provide("target"),
  Command.withShortDescription("Reads and verifies everything in an image or a registry"),
  Command.withDescription(
    "Reads every manifest, config and layer, compares them with their digests and sizes, unpacks the layers, and " +
      "compares them with the config. Prints every problem, and fails if there is one."
  ),
  Command.withExamples([
    { command: "effect-oci validate ghcr.io/team/app:1", description: "Validate an image with all its platforms" },
    { command: "effect-oci validate --json oci:images", description: "Validate everything in a folder" },
    { command: "effect-oci validate localhost:5000", description: "Validate everything in a registry" }
  ])
)
