/**
 * Webhooks: notifications of a mirror, sent by POST.
 *
 * Each webhook has a queue of its own, so that a slow one delays neither runs nor the others. A webhook may be at any
 * address, because the configuration names it. A redirect (307 or 308) is followed under the `AddressPolicy`: a server
 * on the public internet cannot lead to a private address.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as AddressPolicy from "../http/AddressPolicy.ts"
import * as Redirects from "../http/Redirects.ts"
import type { Notification } from "../mirror/MirrorConfig.ts"
import { MirrorNotification } from "../mirror/MirrorNotification.ts"

/** A notification was not accepted. The message does not contain the path of the webhook, which may be secret. */
class WebhookFailed extends Data.Error<{ readonly problem: string; readonly isRetryable: boolean }> {
  override get message(): string {
    return this.problem
  }
}

// time for one attempt
const timeout = "10 seconds"

// number of notifications that wait for a webhook; the oldest is dropped for a newer one
const capacity = 100

// five attempts within about half a minute
const retries = Schedule.exponential("2 seconds").pipe(Schedule.upTo({ times: 4 }))

const encode = Schema.encodeEffect(Schema.fromJsonString(MirrorNotification))

const isAccepted = (status: number): boolean => status >= 200 && status < 300

// the body of a request with another method is lost
const losesBody = (status: number): boolean => status >= 301 && status <= 303

type Client = HttpClient.HttpClient.With<HttpClientError.HttpClientError, Scope.Scope>

/** Sends a notification once. */
const attempt = Effect.fnUntraced(
  function*(client: Client, url: URL, body: string) {
    const policy: Redirects.Policy<WebhookFailed> = {
      registry: url,
      check: (address) =>
        Effect.flatMap(AddressPolicy.objection(url, address), (objection) =>
          objection === undefined
            ? Effect.void
            : Effect.fail(new WebhookFailed({ problem: `it redirects to ${address.host}`, isRetryable: false })))
    }
    const request = HttpClientRequest.post(url.href).pipe(
      HttpClientRequest.setHeader("user-agent", "effect-oci"),
      HttpClientRequest.bodyText(body, "application/json")
    )
    const send = (request: HttpClientRequest.HttpClientRequest) =>
      client.execute(request).pipe(
        Effect.mapError(({ reason }) =>
          new WebhookFailed({ problem: `no answer (${reason._tag})`, isRetryable: true })
        ),
        Effect.filterOrFail(
          ({ status }) => !losesBody(status),
          ({ status }) => new WebhookFailed({ problem: `it redirects with status ${status}`, isRetryable: false })
        )
      )
    const { status } = yield* Redirects.follow(policy, send, request)
    if (isAccepted(status)) return
    const isRetryable = status === 408 || status === 429 || status >= 500
    return yield* new WebhookFailed({ problem: `status ${status}`, isRetryable })
  },
  Effect.scoped,
  (sending) =>
    Effect.timeoutOrElse(sending, {
      duration: timeout,
      orElse: () => Effect.fail(new WebhookFailed({ problem: "no answer in 10 seconds", isRetryable: true }))
    })
)

/** Starts to deliver the notifications of a webhook. */
const start = Effect.fnUntraced(function*(client: HttpClient.HttpClient, { on, webhook }: Notification) {
  const url = new URL(webhook)
  const queue = yield* Queue.sliding<MirrorNotification>(capacity)
  const deliver = Effect.fnUntraced(function*(notification: MirrorNotification) {
    const body = yield* Effect.orDie(encode(notification))
    yield* attempt(HttpClient.withScope(client), url, body).pipe(
      Effect.retry({ schedule: retries, while: ({ isRetryable }) => isRetryable }),
      Effect.catch(({ message }) => Effect.logWarning(`the webhook at ${url.host} was not notified: ${message}`))
    )
  })
  yield* Effect.forkScoped(Effect.forever(Effect.flatMap(Queue.take(queue), deliver)))
  return (notification: MirrorNotification): Effect.Effect<void> =>
    on.includes(notification.event) ? Effect.asVoid(Queue.offer(queue, notification)) : Effect.void
})

/**
 * Creates a function that sends notifications to webhooks. It never waits. Notifications that a webhook does not accept
 * after five attempts, and those that more than 100 others follow before they are sent, are dropped.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  webhooks: ReadonlyArray<Notification>
): Effect.fn.Return<
  (notification: MirrorNotification) => Effect.Effect<void>,
  never,
  HttpClient.HttpClient | Scope.Scope
> {
  const client = yield* HttpClient.HttpClient
  const offers = yield* Effect.forEach(webhooks, (webhook) => start(client, webhook))
  return (notification) => Effect.forEach(offers, (offer) => offer(notification), { discard: true })
})
