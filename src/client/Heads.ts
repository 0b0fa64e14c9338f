/**
 * Asking by HEAD, and in another way if that is refused: some registries know no HEAD, some redirect it to storage
 * whose URLs are signed for GET.
 */
import * as Effect from "effect/Effect"
import type * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Result from "effect/Result"
import type { RegistryError } from "../RegistryError.ts"
import type * as Connection from "./Connection.ts"

/** Sends HEAD, and goes on with its answer, or if it is refused in another way. */
export type Heads = <A>(
  call: Connection.Call,
  request: HttpClientRequest.HttpClientRequest,
  on: {
    readonly answer: (headers: Connection.Received["headers"]) => Effect.Effect<A, RegistryError>
    readonly refusal: Effect.Effect<A, RegistryError>
  }
) => Effect.Effect<A, RegistryError>

const rememberedRepositories = 1000

export const make = (connection: Connection.Connection): Heads => {
  // where GET was denied after HEAD was: that of others is denied as well
  const denied = new Set<string | undefined>()
  return Effect.fnUntraced(function*(call, request, { answer, refusal }) {
    const received = yield* connection.head(call, request)
    if (Result.isSuccess(received)) return yield* answer(received.success.headers)
    const isDenial = ({ reason }: RegistryError) => reason._tag === "Denied"
    if (isDenial(received.failure) && denied.has(call.repository)) return yield* received.failure
    return yield* Effect.tapError(refusal, (error) =>
      Effect.sync(() => {
        if (denied.size >= rememberedRepositories) denied.clear()
        if (isDenial(error) && isDenial(received.failure)) denied.add(call.repository)
      }))
  })
}
