/**
 * The flags and arguments that several verbs share, and the readers of their text.
 */
import * as Argument from "effect/cli/Argument"
import * as Flag from "effect/cli/Flag"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { Descriptor } from "../Descriptor.ts"
import * as Platform from "../Platform.ts"
import type { Tag } from "../Reference.ts"
import * as Locations from "./Locations.ts"
import { misuse, readHost, readTag } from "./ReferenceInput.ts"

/** Reads the text of a flag. Fails with a message about the text. */
export type Read<A> = (text: string) => Result.Result<A, { readonly message: string }>

const reading = <A>(read: Read<A>, before = "") => (text: string) =>
  Effect.mapError(Effect.fromResult(read(text)), ({ message }) => misuse(before + message))

// ---------------------------------------------------------------------------------------------------------------------
// flags
// ---------------------------------------------------------------------------------------------------------------------

/** Makes a flag whose text is parsed. */
export const parsed = <A>(name: string, metavar: string, description: string, read: Read<A>): Flag.Flag<A> =>
  Flag.String(name).pipe(
    Flag.withMetavar(metavar),
    Flag.withDescription(description),
    Flag.mapEffect(reading(read, `--${name}: `))
  )

/** Makes a boolean flag without a negation. Default: false. */
export const onOff = (name: string, description: string): Flag.Flag<boolean> =>
  Flag.Boolean(name).pipe(Flag.withDescription(description), Flag.withoutNegation, Flag.withDefault(false))

/** Makes a flag for a number from 1 to 999999999. */
export const positive = (name: string, description: string): Flag.Flag<number> =>
  parsed(name, "N", description, (text) =>
    /^[1-9][0-9]{0,8}$/.test(text)
      ? Result.succeed(Number(text))
      : Result.fail({ message: `${JSON.stringify(text)} is not a number from 1 to 999999999` }))

const powers: ReadonlyArray<string> = ["", "k", "m", "g", "t"]

/** Reads a number of bytes, such as `1000`, `500MB` or `2GiB`. */
export const readSize: Read<number> = (text) => {
  const [, number = "", prefix = "", isBinary] = /^([1-9][0-9]{0,11})([kmgt]?)(i?)b?$/i.exec(text) ?? []
  const bytes = Number(number) * (isBinary === "" ? 1000 : 1024) ** powers.indexOf(prefix.toLowerCase())
  return number !== "" && (prefix !== "" || isBinary === "") && Number.isSafeInteger(bytes)
    ? Result.succeed(bytes)
    : Result.fail({ message: `${JSON.stringify(text)} is not a size of at least 1 byte, such as 1000, 500MB or 2GiB` })
}

const units: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Reads a time, such as `90s`, `30m`, `12h` or `7d`. */
export const readDuration: Read<Duration.Input> = (text) => {
  const [, number = "", unit = ""] = /^([0-9]{1,7})([smhd])$/.exec(text) ?? []
  return number === ""
    ? Result.fail({ message: `${JSON.stringify(text)} is not a time, such as 90s, 30m, 12h or 7d` })
    : Result.succeed(Duration.millis(Number(number) * (units[unit] ?? 0)))
}

/** Makes a flag for a time. */
export const duration = (name: string, description: string): Flag.Flag<Duration.Input> =>
  parsed(name, "TIME", description, readDuration)

const secondsOf: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600 }

/** Reads a number of requests in each second, such as `20`, `20/s` or `100/m`. */
export const readRate: Read<number> = (text) => {
  const [, number = "", unit = "s"] = /^([1-9][0-9]{0,5})(?:\/([smh]))?$/.exec(text) ?? []
  return number === ""
    ? Result.fail({ message: `${JSON.stringify(text)} is not a rate, such as 20/s, 100/m or 5000/h` })
    : Result.succeed(Number(number) / (secondsOf[unit] ?? 1))
}

/** Makes a flag for a number of requests in each second. */
export const rate = (name: string, description: string): Flag.Flag<number> =>
  parsed(name, "RATE", description, readRate)

export const json = onOff("json", "Print the result as JSON")

export const platform = (description: string): Flag.Flag<Platform.Platform> =>
  parsed("platform", "OS/ARCH", description, Platform.parse)

/** Makes a flag for a platform with another name than `--platform`. */
export const parsedPlatform = (name: string, description: string): Flag.Flag<Platform.Platform> =>
  parsed(name, "OS/ARCH", description, Platform.parse)

export const tag = (description: string): Flag.Flag<Tag> => parsed("tag", "TAG", description, readTag)

/** The flag that names the file for content. */
export const output = Flag.String("output").pipe(
  Flag.withAlias("o"),
  Flag.withMetavar("FILE"),
  Flag.withDescription(
    "Write to this file, pipe or device instead of stdout. A file is replaced only after all content has arrived"
  ),
  Flag.optional
)

/** Reads `KEY=VALUE`. */
export const readPair: Read<readonly [key: string, value: string]> = (text) => {
  const at = text.indexOf("=")
  return at > 0
    ? Result.succeed([text.slice(0, at), text.slice(at + 1)])
    : Result.fail({ message: `${JSON.stringify(text)} is not KEY=VALUE` })
}

/** Makes a flag for annotations. */
export const annotation = (description: string): Flag.Flag<ReadonlyArray<readonly [key: string, value: string]>> =>
  parsed("annotation", "KEY=VALUE", description, readPair).pipe(Flag.withAlias("a"), Flag.atLeast(0))

/** The flag that selects referrers by their annotations. */
export const annotationFilter = annotation(
  "Only referrers with this annotation. If repeated, referrers must have all of them"
)

/** Returns true for a descriptor with all of these annotations. */
export const hasAnnotations =
  (wanted: ReadonlyArray<readonly [key: string, value: string]>) =>
  ({ annotations = {} }: Pick<Descriptor, "annotations">): boolean =>
    wanted.every(([key, value]) => annotations[key] === value)

// ---------------------------------------------------------------------------------------------------------------------
// arguments
// ---------------------------------------------------------------------------------------------------------------------

const argument = <A>(name: string, description: string, read: Read<A>): Argument.Argument<A> =>
  Argument.String(name).pipe(
    Argument.withMetavar(name),
    Argument.withDescription(description),
    Argument.mapEffect(reading(read))
  )

/** Makes an argument that names a repository, or content of one, in a registry, a folder or an archive. */
export const place = (name: string, description: string): Argument.Argument<Locations.Named> =>
  Argument.String(name).pipe(
    Argument.withMetavar(name),
    Argument.withDescription(description),
    Argument.mapEffect(Locations.read)
  )

export const host = argument("host", "Host of a registry, with its port if it has one", readHost)

export const tagArgument = (name: string, description: string): Argument.Argument<Tag> =>
  argument(name, description, readTag)

/** Makes an argument that names a file; `-` is stdin. */
export const file = (description: string): Argument.Argument<string> =>
  Argument.String("file").pipe(Argument.withMetavar("file"), Argument.withDescription(description))
