/**
 * Headers of responses that a cache serves although upstream fails: `Age` (RFC 9111, 5.1), and a warning for people
 * (distribution-spec, "Warnings").
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { Observer } from "../Observer.ts"

const ago = (age: Duration.Duration): string => {
  const minutes = Math.round(Duration.toMinutes(age))
  return minutes < 120 ? `${minutes}m` : `${Math.round(minutes / 60)}h`
}

const warningOf = (tag: string, age: Duration.Duration | undefined): string =>
  `299 - "upstream is not available: ${tag} is as last known${age === undefined ? "" : ` ${ago(age)} ago`}"`

/** Adds the headers to the response of an effect if the registry reports that it served a stale tag. */
export const headed = <E, R>(
  answer: Effect.Effect<HttpServerResponse.HttpServerResponse, E, R>
): Effect.Effect<HttpServerResponse.HttpServerResponse, E, R> =>
  Effect.flatMap(Observer, (observe) => {
    const headers: Record<string, string> = {}
    return answer.pipe(
      Effect.provideService(Observer, (event) => {
        if (event._tag === "ServedStale") {
          const { age, tag } = event
          headers["warning"] = warningOf(tag, age)
          if (age !== undefined) headers["age"] = `${Math.floor(Duration.toSeconds(age))}`
        }
        return observe(event)
      }),
      Effect.map((response) =>
        Object.keys(headers).length === 0 ? response : HttpServerResponse.setHeaders(response, headers)
      )
    )
  })
