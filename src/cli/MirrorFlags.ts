/**
 * The flags of the verbs below `mirror` that name the file of a mirror.
 */
import * as Argument from "effect/cli/Argument"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as MirrorConfig from "../mirror/MirrorConfig.ts"
import * as Flags from "./Flags.ts"
import * as Input from "./Input.ts"
import * as Messages from "./Messages.ts"
import { Reported } from "./Output.ts"
import { misuse } from "./ReferenceInput.ts"

const path = (name: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar("FILE"), Flag.withDescription(description), Flag.optional)

/** The flag that names the file. */
export const config = path("config", "File of the mirror: YAML, JSON or TOML; - reads stdin").pipe(Flag.withAlias("c"))

/** The argument that names the file. */
export const file = Argument.String("file").pipe(
  Argument.withMetavar("file"),
  Argument.withDescription("File of the mirror, or of another tool; - reads stdin"),
  Argument.optional
)

/** The flags about the files of other tools. */
export const foreign = {
  to: Flag.String("to").pipe(
    Flag.withMetavar("HOST/PREFIX"),
    Flag.withDescription("Destination for a file of skopeo sync, which names none"),
    Flag.optional
  ),
  scoped: Flags.onOff("scoped", "Destinations for a file of skopeo sync contain the whole name of the source"),
  auth: path("auth", "File with the credentials for a file of image-syncer")
}

/** Values of the flags about the files of other tools. */
export interface ForeignValues {
  readonly to: Option.Option<string>
  readonly scoped: boolean
  readonly auth: Option.Option<string>
}

// a character has at most four bytes
const maximumBytes = 4 * 1024 * 1024

/** Returns the file that an argument or a flag names. */
export const nameOf = (
  argument: Option.Option<string>,
  flag: Option.Option<string>
): Effect.Effect<string, ReturnType<typeof misuse>> =>
  Option.isSome(argument) && Option.isSome(flag)
    ? Effect.fail(misuse("the file is given twice: omit the argument or --config"))
    : Option.match(Option.orElse(argument, () => flag), {
      onNone: () => Effect.fail(misuse("missing file: use --config FILE")),
      onSome: Effect.succeed
    })

/** Reports each problem of a configuration as a line on stderr. Such a failure is misuse. */
const reported = ({ lines }: MirrorConfig.MirrorConfigError) =>
  Effect.andThen(
    Effect.forEach(lines, (message) => Messages.send({ type: "error", message }), { discard: true }),
    Effect.fail(new Reported({ exitCode: 2 }))
  )

/** Reads the file of a mirror. Its omissions become warnings. */
export const read = Effect.fnUntraced(function*(file: string, { auth, scoped, to }: ForeignValues) {
  const options: MirrorConfig.LoadOptions = {
    to: Option.getOrUndefined(to),
    names: scoped ? "scoped" : "base",
    auth: Option.getOrUndefined(auth)
  }
  const loading = file === "-"
    ? Effect.flatMap(
      Input.readBytes(file, maximumBytes),
      (bytes) => MirrorConfig.read("stdin", new TextDecoder().decode(bytes), options)
    )
    : MirrorConfig.load(file, options)
  const loaded = yield* loading
  for (const { message, path } of loaded.omissions) {
    yield* Messages.warn(`${file === "-" ? "stdin" : file}: ${path}${path === "" ? "" : ": "}${message}`)
  }
  return loaded
})

/** Reads the file of a mirror when the command starts: each of its problems is reported, as misuse. */
export const load = (file: string, values: ForeignValues) =>
  Effect.catchTag(read(file, values), "MirrorConfigError", reported)
