/**
 * Limits of a server: how many requests, upload sessions and bytes in memory clients may have at the same time, and how
 * large a blob may be. A client is the user of a request, or its address if it has no user.
 *
 * Requests over HTTP/1.1 behind a reverse proxy all come from the address of the proxy. `HttpMiddleware` of
 * `effect/http` replaces it with the forwarded one.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpServerRequest } from "effect/http/HttpServerRequest"
import * as Option from "effect/Option"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Refusal from "./Refusal.ts"

/**
 * Limits of a server. Clients beyond them get 429 with `Retry-After`, or 413 for content that is too large.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** Maximum size of a manifest, in bytes (distribution-spec, "Pushing Manifests"). Default: 4 MiB. */
  readonly manifestLimit?: number | undefined
  /** Maximum size of a blob, in bytes. Default: 100 GiB. */
  readonly uploadLimit?: number | undefined
  /** Maximum number of open upload sessions. Default: 10 000. */
  readonly sessionLimit?: number | undefined
  /** Maximum number of open upload sessions of one client. Default: 1 000. */
  readonly clientSessionLimit?: number | undefined
  /** Maximum number of requests in flight. Default: 10 000. */
  readonly requestLimit?: number | undefined
  /** Maximum number of requests in flight of one client. Default: 2 000. */
  readonly clientRequestLimit?: number | undefined
  /** Maximum number of requests of one client per minute. Default: 100 000. */
  readonly clientRequestRate?: number | undefined
  /**
   * Maximum number of bytes of manifests and lists that are received or sent at the same time. Blobs do not count: at
   * most 16 chunks of each upload wait until its registry stores them. Default: 128 MiB.
   */
  readonly memoryLimit?: number | undefined
  /** Maximum number of those bytes of one client. Default: 64 MiB. */
  readonly clientMemoryLimit?: number | undefined
  /** Minimum rate at which a client sends or takes a body, in bytes per second. Default: 1 KiB. */
  readonly minimumBodyRate?: number | undefined
}

export type Values = { readonly [Key in keyof Options]-?: number }

const defaults: Values = {
  manifestLimit: 4 * 1024 * 1024,
  uploadLimit: 100 * 1024 ** 3,
  sessionLimit: 10_000,
  clientSessionLimit: 1_000,
  requestLimit: 10_000,
  clientRequestLimit: 2_000,
  clientRequestRate: 100_000,
  memoryLimit: 128 * 1024 * 1024,
  clientMemoryLimit: 64 * 1024 * 1024,
  minimumBodyRate: 1024
}

/** Returns the limits of a server: those given, and the default of each other. */
export const valuesOf = (options: Options): Values => ({
  manifestLimit: options.manifestLimit ?? defaults.manifestLimit,
  uploadLimit: options.uploadLimit ?? defaults.uploadLimit,
  sessionLimit: options.sessionLimit ?? defaults.sessionLimit,
  clientSessionLimit: options.clientSessionLimit ?? defaults.clientSessionLimit,
  requestLimit: options.requestLimit ?? defaults.requestLimit,
  clientRequestLimit: options.clientRequestLimit ?? defaults.clientRequestLimit,
  clientRequestRate: options.clientRequestRate ?? defaults.clientRequestRate,
  memoryLimit: options.memoryLimit ?? defaults.memoryLimit,
  clientMemoryLimit: options.clientMemoryLimit ?? defaults.clientMemoryLimit,
  minimumBodyRate: options.minimumBodyRate ?? defaults.minimumBodyRate
})

/** Counters of one client. */
interface Account {
  requests: number
  sessions: number
  /** Number of bytes that are held in memory. */
  memory: number
  /** Number of requests that the client may still begin, as of the time `filled`. */
  allowance: number
  filled: number
}

/** Request in flight. */
export interface Visit {
  /** Counts the request for a user instead of for its address. */
  readonly identify: (user: string) => Effect.Effect<void, Refusal.Refusal>
  /** Counts an upload session until the returned function is called. */
  readonly openSession: Effect.Effect<() => void, Refusal.Refusal>
  /** Returns a function that counts bytes which are held in memory until the scope closes. */
  readonly hold: Effect.Effect<Hold, never, Scope.Scope>
}

/** Counts further bytes in memory. Fails if there are too many. */
export type Hold = (bytes: number) => Effect.Effect<void, Refusal.Refusal>

export interface Limits {
  /** Counts a request until the scope closes. Fails if there are too many. */
  readonly enter: (request: HttpServerRequest) => Effect.Effect<Visit, Refusal.Refusal, Scope.Scope>
}

/** `Retry-After` for too many upload sessions, in seconds. */
const sessionPause = 60

const tooMany = (message: string, pause: number) =>
  Refusal.make(429, "TOOMANYREQUESTS", message, { "retry-after": `${pause}` })

/** Returns what an address counts as: itself, or its network of 64 bits for IPv6, where a host has that many. */
export const networkOf = (address: string): string => {
  const mapped = /^::ffff:([\d.]+)$/i.exec(address)?.[1]
  if (mapped !== undefined || !address.includes(":")) return mapped ?? address
  const [head = "", tail = ""] = address.toLowerCase().split("%", 1).join("").split("::")
  const groups = (text: string) => text === "" ? [] : text.split(":")
  const [first, last] = [groups(head), groups(tail)]
  const zeros = Array.from({ length: Math.max(0, 8 - first.length - last.length) }, () => "0")
  return `${[...first, ...zeros, ...last].slice(0, 4).map((group) => group.replace(/^0+(?=.)/, "")).join(":")}::/64`
}

const clientOf = ({ remoteAddress }: HttpServerRequest): string =>
  `address ${Option.match(remoteAddress, { onNone: () => "", onSome: networkOf })}`

/** Counts requests and sessions while the scope is open. */
export const make = Effect.fnUntraced(function*(limits: Values): Effect.fn.Return<Limits, never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const accounts = new Map<string, Account>()
  const total = { requests: 0, sessions: 0, memory: 0 }
  const perMillisecond = limits.clientRequestRate / 60_000

  const accountOf = (client: string): Account => {
    const account = accounts.get(client) ??
      {
        requests: 0,
        sessions: 0,
        memory: 0,
        allowance: limits.clientRequestRate,
        filled: clock.currentTimeMillisUnsafe()
      }
    accounts.set(client, account)
    return account
  }
  const fill = (account: Account): void => {
    const now = clock.currentTimeMillisUnsafe()
    account.allowance = Math.min(
      limits.clientRequestRate,
      account.allowance + Math.max(0, now - account.filled) * perMillisecond
    )
    account.filled = now
  }
  const begin = (account: Account): Effect.Effect<void, Refusal.Refusal> =>
    Effect.suspend(() => {
      fill(account)
      if (account.allowance < 1) {
        const pause = Math.max(1, Math.ceil((1 - account.allowance) / perMillisecond / 1000))
        return tooMany(`this client may send ${limits.clientRequestRate} requests per minute`, pause)
      }
      if (account.requests >= limits.clientRequestLimit) {
        return tooMany(`this client may have ${limits.clientRequestLimit} requests in flight`, 1)
      }
      account.allowance--
      account.requests++
      return Effect.void
    })
  const openSession = (account: Account): Effect.Effect<() => void, Refusal.Refusal> =>
    Effect.suspend(() => {
      if (account.sessions >= limits.clientSessionLimit) {
        return tooMany(`this client may have ${limits.clientSessionLimit} open uploads`, sessionPause)
      }
      if (total.sessions >= limits.sessionLimit) {
        return tooMany(`this registry may have ${limits.sessionLimit} open uploads`, sessionPause)
      }
      account.sessions++
      total.sessions++
      return Effect.succeed(() => {
        account.sessions--
        total.sessions--
      })
    })

  const hold = (account: Account): Effect.Effect<Hold, never, Scope.Scope> =>
    Effect.gen(function*() {
      let held = 0
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          account.memory -= held
          total.memory -= held
        })
      )
      return (bytes) =>
        Effect.suspend(() => {
          if (account.memory + bytes > limits.clientMemoryLimit) {
            return tooMany(`this client may have ${limits.clientMemoryLimit} bytes of manifests and lists in flight`, 1)
          }
          if (total.memory + bytes > limits.memoryLimit) {
            return tooMany(`this registry may have ${limits.memoryLimit} bytes of manifests and lists in flight`, 1)
          }
          held += bytes
          account.memory += bytes
          total.memory += bytes
          return Effect.void
        })
    })

  // removes accounts that equal new ones, once a minute
  yield* Effect.sync(() => {
    for (const [client, account] of accounts) {
      fill(account)
      const isLikeNew = account.requests === 0 && account.sessions === 0 && account.memory === 0 &&
        account.allowance >= limits.clientRequestRate
      if (isLikeNew) accounts.delete(client)
    }
  }).pipe(Effect.repeat(Schedule.spaced(Duration.minutes(1))), Effect.forkScoped)

  return {
    enter: Effect.fnUntraced(function*(request) {
      let account = accountOf(clientOf(request))
      if (total.requests >= limits.requestLimit) {
        return yield* tooMany(`this registry may have ${limits.requestLimit} requests in flight`, 1)
      }
      yield* Effect.acquireRelease(
        Effect.andThen(begin(account), Effect.sync(() => total.requests++)),
        () =>
          Effect.sync(() => {
            account.requests--
            total.requests--
          })
      )
      return {
        identify: (user) =>
          Effect.suspend(() => {
            const own = accountOf(`user ${user}`)
            return Effect.map(begin(own), () => {
              account.requests--
              account.allowance++
              account = own
            })
          }),
        openSession: Effect.suspend(() => openSession(account)),
        hold: Effect.suspend(() => hold(account))
      }
    })
  }
})
