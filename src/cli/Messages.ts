/**
 * Messages of the command on stderr: lines of text, or with `--json` one JSON object per line.
 *
 * Every message has a type and a text for people. `--quiet` leaves only errors. `--debug` adds the requests that the
 * command sends and the decisions of the copy engine. They contain no secret: their addresses have neither user info
 * nor query.
 */
import * as Console from "effect/Console"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { Digest } from "../Digest.ts"
import { escapeUnprintable } from "../Text.ts"
import * as Format from "./Format.ts"
import type { Mode } from "./Mode.ts"

// ---------------------------------------------------------------------------------------------------------------------
// types of messages
// ---------------------------------------------------------------------------------------------------------------------

const message = Schema.String.annotate({ description: "Text for people, in one line" })
const milliseconds = Schema.Natural.annotate({ description: "Duration, in milliseconds" })
const piece = {
  message,
  role: Schema.String.annotate({ description: "root, child, referrer, digestTag or blob" }),
  digest: Digest,
  mediaType: Schema.String,
  size: Schema.Natural.annotate({ description: "Size of the content, in bytes" })
}

/** Schema of one line on stderr with `--json`. */
export const Message = Schema.Union([
  Schema.Struct({
    type: Schema.Literal("error"),
    message,
    advice: Schema.optionalKey(Schema.String).annotate({ description: "What to try" }),
    help: Schema.optionalKey(Schema.String).annotate({ description: "The command that shows the help of the verb" }),
    reference: Schema.optionalKey(Schema.String),
    operation: Schema.optionalKey(Schema.String),
    reason: Schema.optionalKey(Schema.String).annotate({ description: "Type of the failure, such as Unauthorized" })
  }),
  Schema.Struct({ type: Schema.Literal("warning"), message, registry: Schema.optionalKey(Schema.String) }),
  Schema.Struct({ type: Schema.Literal("note"), message }),
  Schema.Struct({ type: Schema.Literal("debug"), message }),
  Schema.Struct({
    type: Schema.Literal("log"),
    level: Schema.String.annotate({ description: "error, warn, info or debug" }),
    message,
    annotations: Schema.Record(Schema.String, Schema.String),
    cause: Schema.optionalKey(Schema.String)
  }),
  Schema.Struct({ type: Schema.Literal("paused"), message, registry: Schema.String, milliseconds }),
  Schema.Struct({ type: Schema.Literal("retried"), message, registry: Schema.String, milliseconds }),
  Schema.Struct({ type: Schema.Literal("planned"), ...piece }),
  Schema.Struct({ type: Schema.Literal("started"), message, digest: Digest, size: Schema.Natural }),
  Schema.Struct({
    type: Schema.Literal("progressed"),
    message,
    digest: Digest,
    size: Schema.Natural,
    bytes: Schema.Natural.annotate({ description: "Number of bytes sent so far" })
  }),
  Schema.Struct({
    type: Schema.Literal("settled"),
    ...piece,
    destination: Schema.optionalKey(Schema.String),
    outcome: Schema.String.annotate({ description: "copied, mounted, present, external, missing or kept" })
  }),
  Schema.Struct({
    type: Schema.Literal("copied"),
    message,
    destination: Schema.String,
    bytes: Schema.Natural.annotate({ description: "Number of bytes sent to the destination" }),
    requests: Schema.Natural,
    milliseconds
  }),
  Schema.Struct({
    type: Schema.Literal("collected"),
    message,
    tags: Schema.Natural.annotate({ description: "Number of deleted tags" }),
    removed: Schema.Natural.annotate({ description: "Number of removed manifests and blobs" }),
    bytes: Schema.Natural.annotate({ description: "Number of bytes that became free" }),
    milliseconds
  }),
  Schema.Struct({
    type: Schema.Literal("scrubbed"),
    message,
    manifests: Schema.Natural.annotate({ description: "Number of manifests that were read" }),
    blobs: Schema.Natural.annotate({ description: "Number of blobs that were read" }),
    bytes: Schema.Natural.annotate({ description: "Number of bytes of these blobs" }),
    problems: Schema.Natural,
    quarantined: Schema.Natural.annotate({ description: "Number of problems whose content was moved aside" }),
    milliseconds
  }),
  Schema.Struct({
    type: Schema.Literal("pulled"),
    message,
    directory: Schema.String,
    bytes: Schema.Natural.annotate({ description: "Number of bytes downloaded" }),
    milliseconds
  }),
  Schema.Struct({
    type: Schema.Literal("mirrored"),
    message,
    rule: Schema.String,
    destination: Schema.String.annotate({ description: "Repository with its registry and tag" }),
    outcome: Schema.String.annotate({ description: "copied, superseded or pruned" })
  }),
  Schema.Struct({
    type: Schema.Literal("request"),
    message,
    method: Schema.String,
    url: Schema.String.annotate({ description: "Address without user info, query and upload session" }),
    status: Schema.optionalKey(Schema.Int),
    problem: Schema.optionalKey(Schema.String).annotate({ description: "Why there was no response" }),
    milliseconds
  }),
  Schema.Struct({
    type: Schema.Literal("access"),
    message,
    time: Schema.String.annotate({ description: "Start of the request, as an ISO 8601 date" }),
    client: Schema.optionalKey(Schema.String).annotate({ description: "Address of the client" }),
    method: Schema.String,
    url: Schema.String,
    status: Schema.optionalKey(Schema.Int),
    isComplete: Schema.Boolean.annotate({ description: "False if the request or the response broke off" }),
    milliseconds
  })
])

/** One message on stderr. */
export type Message = typeof Message.Type

// ---------------------------------------------------------------------------------------------------------------------
// writing
// ---------------------------------------------------------------------------------------------------------------------

/** The mode of the command that runs. Default: text of normal detail, not on a terminal. */
export const CurrentMode: Context.Reference<Mode> = Context.Reference<Mode>("effect-oci/cli/Messages/CurrentMode", {
  defaultValue: () => ({ format: "text", detail: "normal", isTerminal: false })
})

/** Returns true if a message is written in normal detail. */
const isNormal = (message: Message, { format, isTerminal }: Mode): boolean => {
  switch (message.type) {
    case "debug":
    case "request":
      return false
    case "planned":
    case "started":
    case "progressed":
      return format === "json"
    case "settled":
      return format === "json" || message.outcome !== "present"
    case "retried":
      return format === "json" || isTerminal
    default:
      return true
  }
}

const isWritten = (message: Message, mode: Mode): boolean => {
  if (mode.detail === "quiet") return message.type === "error"
  // ten lines per second and blob are for programs only
  if (message.type === "progressed") return mode.format === "json"
  return mode.detail === "debug" || isNormal(message, mode)
}

const textOf = (message: Message, mode: Mode): string => {
  switch (message.type) {
    case "error": {
      const advice = message.advice === undefined ? "" : `; ${message.advice}`
      const help = message.help === undefined ? "" : ` (see ${message.help})`
      return `effect-oci: ${message.message}${advice}${help}`
    }
    case "warning":
      return `warning: ${message.registry === undefined ? "" : `${message.registry}: `}${message.message}`
    case "log":
      return `${message.level.toLowerCase()}: ${message.message}`
    default:
      return isNormal(message, mode) ? message.message : `debug: ${message.message}`
  }
}

/** Returns the line of a message, or `undefined` if the mode leaves it out. */
export const render = (message: Message, mode: Mode): string | undefined => {
  if (!isWritten(message, mode)) return undefined
  return mode.format === "json" ? escapeUnprintable(JSON.stringify(message)) : Format.oneLine(textOf(message, mode))
}

/** Writes a message on stderr, unless the mode leaves it out. */
export const send = (message: Message): Effect.Effect<void> =>
  Effect.flatMap(CurrentMode, (mode) => {
    const line = render(message, mode)
    return line === undefined ? Effect.void : Console.error(line)
  })

// ---------------------------------------------------------------------------------------------------------------------
// messages that several modules write
// ---------------------------------------------------------------------------------------------------------------------

/** Writes a remark that is neither a warning nor an error. */
export const note = (message: string): Effect.Effect<void> => send({ type: "note", message: Format.oneLine(message) })

/** Writes a warning. */
export const warn = (message: string): Effect.Effect<void> =>
  send({ type: "warning", message: Format.oneLine(message) })

/** Returns the message about a warning of a registry. */
export const warning = (registry: string, text: string): Message => ({
  type: "warning",
  registry,
  message: Format.oneLine(text)
})

/** Returns the message about a registry that requests a pause. */
export const paused = (registry: string, duration: Duration.Duration): Message => ({
  type: "paused",
  registry,
  milliseconds: Math.round(Duration.toMillis(duration)),
  message: `${registry} asks for a pause: waiting ${Duration.format(duration)}`
})

/** Returns the message about a failure that is retried. */
export const retried = (registry: string, problem: string, delay: Duration.Duration): Message => ({
  type: "retried",
  registry,
  milliseconds: Math.round(Duration.toMillis(delay)),
  message: Format.oneLine(
    `${problem}: trying again in ${Duration.format(Duration.millis(Math.round(Duration.toMillis(delay))))}`
  )
})
