/**
 * Logs of failures that are not the fault of the client. The response contains the id of the log entry.
 */
import type * as Cause from "effect/Cause"
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import { excerpt } from "../Text.ts"
import * as Refusal from "./Refusal.ts"
import type { Incoming } from "./ServerContext.ts"

const log = ({ method, url }: Incoming, message: string, cause: Cause.Cause<unknown>, id?: string) =>
  Effect.annotateLogs(Effect.logError(message, cause), { ...id === undefined ? {} : { id }, method, url: excerpt(url) })

/** Logs the cause of a refusal, and returns the refusal with the id of the log entry. */
export const identified = (
  incoming: Incoming,
  refusal: Refusal.Refusal,
  cause: Cause.Cause<unknown>
): Effect.Effect<Refusal.Refusal> =>
  Effect.suspend(() => {
    const id = SecureRandom.uuidV4Unsafe()
    return Effect.as(
      log(incoming, `a request was answered with ${refusal.status}`, cause, id),
      Refusal.make(refusal.status, refusal.code, `${refusal.message} (id ${id})`, {
        ...refusal.headers,
        "x-request-id": id
      })
    )
  })

/** Logs the cause of a response that ended early, after its headers had been sent. */
export const logBroken = (incoming: Incoming, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
  log(incoming, "a response ended early", cause)
