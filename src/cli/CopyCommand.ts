/**
 * `effect-oci copy SOURCE DESTINATION`
 */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { CopyReport } from "../copy/CopyReport.ts"
import * as Limiter from "../Limiter.ts"
import * as Namespace from "../Namespace.ts"
import * as NodeNamespace from "../node/NodeNamespace.ts"
import * as Platform from "../Platform.ts"
import { Misuse, readHost } from "./Names.ts"
import { readPlace } from "./Places.ts"
import * as Progress from "./Progress.ts"

const encodeReport = Schema.encodeEffect(Schema.fromJsonString(CopyReport))

const readPlatform = (input: string) =>
  Result.match(Platform.parse(input), {
    onSuccess: (platform) => Effect.succeed({ platforms: { _tag: "Image", platform } as const }),
    onFailure: ({ message }) => Effect.fail(new Misuse({ message }))
  })

export const CopyCommand = Command.make(
  "copy",
  {
    source: Argument.String("source").pipe(
      Argument.withDescription(
        "What to copy: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE, with a tag or a digest"
      )
    ),
    destination: Argument.String("destination").pipe(
      Argument.withDescription("Where to: host/repository, oci:DIR or oci-archive:FILE, with the tag it gets there")
    ),
    platform: Flag.String("platform").pipe(
      Flag.withMetavar("OS/ARCH"),
      Flag.withDescription("Copy the image for this platform alone, such as linux/arm64"),
      Flag.optional
    ),
    referrers: Flag.Boolean("referrers").pipe(
      Flag.withDescription(
        "Copy what refers to the image too: signatures, SBOMs, attestations; --no-referrers leaves it"
      ),
      Flag.withDefault(true)
    ),
    plainHttp: Flag.String("plain-http").pipe(
      Flag.withMetavar("HOST"),
      Flag.withDescription(
        "Speak plain HTTP to this host, named with its port (loopback always is); may be given more than once"
      ),
      Flag.atLeast(0)
    ),
    concurrency: Flag.Int("concurrency").pipe(
      Flag.withMetavar("N"),
      Flag.withDescription(
        "How many requests are under way at each registry at a time; it finds out by itself unless given"
      ),
      Flag.optional
    ),
    json: Flag.Boolean("json").pipe(
      Flag.withDescription("Print a report of the copy as JSON"),
      Flag.withDefault(false)
    )
  },
  Effect.fnUntraced(function*(input) {
    const limits = yield* Option.match(input.concurrency, {
      onNone: () => Effect.succeed(Layer.empty),
      onSome: (limit) =>
        limit < 1
          ? Effect.fail(new Misuse({ message: "--concurrency is a number from 1 on" }))
          : Effect.succeed(Limiter.layerFixed(limit))
    })
    const platform = Option.isNone(input.platform) ? {} : yield* readPlatform(input.platform.value)
    const plainHttp = yield* Effect.forEach(input.plainHttp, readHost)
    const source = yield* readPlace(input.source, "image")
    const destination = yield* readPlace(input.destination, "destination")

    const copy = source.use((source) =>
      destination.use((destination) =>
        Effect.map(
          Namespace.Namespace.use((namespace) =>
            Progress.shown(namespace.copyEvents({
              source: source.end,
              destination: destination.end,
              referrers: input.referrers,
              ...platform
            }))
          ),
          (report) => ({ report, result: destination.format({ digest: report.root.digest }) })
        )
      )
    )
    const [elapsed, { report, result }] = yield* copy.pipe(
      Effect.provide([NodeNamespace.layerOptions({ plainHttp }), limits]),
      Effect.timed
    )
    yield* Console.error(Progress.conclusion(report, elapsed))
    yield* Console.log(input.json ? yield* Effect.orDie(encodeReport(report)) : result)
  })
).pipe(
  Command.withDescription(
    "Copy an image, with all its platforms and all that refers to it, from one registry, folder or archive to another"
  ),
  Command.withExamples([
    {
      command: "effect-oci copy ghcr.io/team/app:1 127.0.0.1:5000/mirror/app:1",
      description: "Copy a multi-platform image into a registry on this machine"
    },
    {
      command: "effect-oci copy --platform linux/arm64 ghcr.io/team/app:1 127.0.0.1:5000/app:arm64",
      description: "Copy the image for one platform"
    },
    {
      command: "effect-oci copy ghcr.io/team/app:1 oci:images:app",
      description: "Copy an image into an image layout in the folder images"
    }
  ])
)
