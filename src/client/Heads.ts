/**
 * Lookups by HEAD, and in another way if the registry refuses HEAD: some registries do not support it, others redirect
 * it to storage whose URLs are signed for GET.
 */
import * as Effect from "effect/Effect"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Result from "effect/Result"
import type { RegistryError } from "../RegistryError.ts"
import type * as Connection from "./Connection.ts"

/** Sends HEAD, and continues with the headers of its response, or with `refusal` if HEAD is refused. */
export type Heads = <A>(
  call: Connection.Call,
  request: HttpClientRequest.HttpClientRequest,
  on: {
    readonly answer: (headers: Connection.Received["headers"]) => Effect.Effect<A, RegistryError>
    readonly refusal: Effect.Effect<A, RegistryError>
  }
) => Effect.Effect<A, RegistryError>

// number of repositories to remember
const rememberedRepositories = 1000

/** Returns true for 403, and for 401 without a challenge, with which Harbor and GCR answer for a missing repository. */
const isDenial = ({ reason }: RegistryError): boolean => reason._tag === "Denied" || reason._tag === "Unauthorized"

export const make = (connection: Connection.Connection): Heads => {
  // repositories where GET was denied after HEAD: there, later lookups send only HEAD
  const denied = new Set<string | undefined>()
  return Effect.fnUntraced(function*(call, request, { answer, refusal }) {
    const received = yield* connection.head(call, request)
    if (Result.isSuccess(received)) return yield* answer(received.success.headers)
    if (isDenial(received.failure) && denied.has(call.repository)) return yield* received.failure
    return yield* Effect.tapError(refusal, (error) =>
      Effect.sync(() => {
        if (denied.size >= rememberedRepositories) denied.clear()
        if (isDenial(error) && isDenial(received.failure)) denied.add(call.repository)
      }))
  })
}
