/**
 * Results of parts of a run as text, which other processes read.
 */
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import { Digest } from "../Digest.ts"
import { Tag } from "../Reference.ts"
import type { MirrorEvent } from "./MirrorEvent.ts"
import type { PartResult } from "./MirrorRunner.ts"

const subject = { rule: Schema.String, source: Schema.String, sourceTag: Tag, destination: Schema.String, tag: Tag }

const Event = Schema.Union([
  Schema.TaggedStruct("Copied", { ...subject, digest: Digest, bytes: Schema.Finite }),
  Schema.TaggedStruct("Failed", {
    ...subject,
    error: Schema.String,
    retryAt: Schema.optionalKey(Schema.DateTimeUtcFromString)
  }),
  Schema.TaggedStruct("Superseded", subject),
  Schema.TaggedStruct("Problem", { rule: Schema.String, problem: Schema.String }),
  Schema.TaggedStruct("Warned", { rule: Schema.String, text: Schema.String })
])

const Result = Schema.fromJsonString(Schema.Struct({ requests: Schema.Finite, events: Schema.Array(Event) }))

const encodeResult = Schema.encodeSync(Result)
const decodeResult = Schema.decodeUnknownOption(Result)

/** Returns the events of a part that a run counts, without what cannot be encoded. */
const eventOf = (event: MirrorEvent): ReadonlyArray<typeof Event.Type> => {
  switch (event._tag) {
    case "Failed": {
      const { cause: _, retryAt, ...rest } = event
      return [{ ...rest, ...retryAt === undefined ? {} : { retryAt } }]
    }
    case "Copied":
    case "Superseded":
    case "Problem":
    case "Warned":
      return [event]
    default:
      return []
  }
}

/** Returns a result as text. */
export const encode = ({ events, requests }: PartResult): string =>
  encodeResult({ requests, events: events.flatMap(eventOf) })

/** Returns the result that a text stands for. One that another version has written may be a problem of the run. */
export const decode = (
  { rule, source }: { readonly rule: string; readonly source: string },
  text: string
): PartResult =>
  Option.match(decodeResult(text), {
    onNone: () => {
      const problem = `${source}: the result of a copy cannot be read, because another version has written it`
      return { requests: 0, events: [{ _tag: "Problem", rule, problem }] }
    },
    onSome: ({ events, requests }) => ({
      requests,
      events: events.map((event) => event._tag === "Failed" ? { retryAt: undefined, ...event } : event)
    })
  })

/** Returns true if a part has not got to its end, so that it lacks outcomes of tags. */
export const hasProblem = (events: ReadonlyArray<MirrorEvent>): boolean => events.some(({ _tag }) => _tag === "Problem")

/** The outcomes of tags, which a run has planned. */
export const isOutcome = ({ _tag }: MirrorEvent): boolean =>
  _tag === "Copied" || _tag === "Failed" || _tag === "Superseded"
