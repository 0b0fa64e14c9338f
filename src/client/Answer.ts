/**
 * The response that a conversation ends with: its status, its error document, and its body.
 */
import * as Effect from "effect/Effect"
import type * as Headers from "effect/http/Headers"
import type * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Secrets from "../auth/Secrets.ts"
import * as ErrorBody from "../http/ErrorBody.ts"
import * as ResponseBody from "../http/ResponseBody.ts"
import * as RegistryError from "../RegistryError.ts"
import { type Answered, type Call, isOwn, type State } from "./Conversation.ts"
import * as Encoding from "./Encoding.ts"
import * as ErrorResponse from "./ErrorResponse.ts"

/** A response whose body was read. */
export interface Received {
  readonly status: number
  readonly headers: Headers.Headers
  /** URL of the response, after redirects. */
  readonly url: string
  readonly bytes: Uint8Array
}

/** Reads the body of an error response. Returns no bytes if it cannot be read. */
export const readError = (
  { error }: State,
  call: Call,
  response: HttpClientResponse.HttpClientResponse
): Effect.Effect<Uint8Array> =>
  ResponseBody.readError(response).pipe(
    Effect.mapError((reason) => error(call, reason)),
    Effect.flatMap(({ bytes }) =>
      Encoding.document({ bytes, headers: response.headers }, ResponseBody.smallSize, (reason) => error(call, reason))
    ),
    Effect.orElseSucceed(() => new Uint8Array())
  )

/** Fails if the status of a response is not one of the expected ones. */
export const judge = (
  state: State,
  call: Call,
  answered: Answered,
  expected: ReadonlyArray<number>
): Effect.Effect<HttpClientResponse.HttpClientResponse, RegistryError.RegistryError> => {
  const { response } = answered
  const judged = expected.includes(response.status) ? Effect.succeed(response) : refusal(state, call, answered)
  const warning = response.headers["warning"]
  return warning === undefined ? judged : Effect.andThen(state.warnings(warning), judged)
}

/** Fails with the reason of an error response. */
const refusal = Effect.fnUntraced(function*(state: State, call: Call, { body, isKnown, response }: Answered) {
  const { error, plainHttp, secrets } = state
  const { headers, request, status } = response
  const read = body ?? (yield* readError(state, call, response))
  for (const secret of Secrets.ofUrl(request.url)) secrets.add(secret)
  const said = ErrorBody.parse(headers["content-type"], read)
  if (isOwn(state, request) && (yield* plainHttp.isRefusal(status, said.text ?? "", read.length))) {
    return yield* error(call, new RegistryError.SchemeMismatch({ used: "http" }))
  }
  const text = said.text === undefined ? {} : { text: secrets.strike(said.text) }
  return yield* error(call, yield* ErrorResponse.reasonOf(call.target, response, { ...said, ...text }, isKnown))
})

/** Reads the body of a response. */
export const receive = (
  { error }: State,
  call: Call,
  response: HttpClientResponse.HttpClientResponse,
  limit: number
): Effect.Effect<Received, RegistryError.RegistryError> =>
  Effect.matchEffect(ResponseBody.read(response, limit), {
    onFailure: (reason) => Effect.fail(error(call, reason)),
    onSuccess: ({ bytes, isComplete }) =>
      isComplete
        ? Effect.succeed({ status: response.status, headers: response.headers, url: response.request.url, bytes })
        : Effect.fail(error(call, new RegistryError.ContentTooLarge({ limit })))
  })
