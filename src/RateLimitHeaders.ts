/**
 * Headers of a response that say how many requests a registry still accepts.
 *
 * Registries send one of these forms:
 *
 * - Docker Hub: `RateLimit-Limit: 100;w=21600` and `RateLimit-Remaining: 76;w=21600`. `w` is the length of the window
 *   in seconds. The header does not say when the window ends. It counts GET requests of manifests; HEAD requests and
 *   blobs are free. Docker does not document whether a window is fixed or slides.
 * - GitHub: `X-RateLimit-Limit`, `X-RateLimit-Remaining` and `X-RateLimit-Reset`, which is a time in seconds since the
 *   epoch. GHCR does not document whether its registry has a limit.
 * - GitLab: `RateLimit-Limit`, `RateLimit-Remaining` and `RateLimit-Reset`, which is such a time as well.
 * - Early drafts of the IETF: the same names, with seconds from now in `RateLimit-Reset`.
 * - Later drafts of the IETF: `RateLimit: "default";r=50;t=30`, with the window in `RateLimit-Policy:
 *   "default";q=100;w=60`; before that, `RateLimit: limit=100, remaining=50, reset=30`.
 *
 * Which requests a registry counts is not in the headers.
 */

/** Budget of the client, as a response shows it. */
export interface Budget {
  /** Number of requests that the registry still accepts. */
  readonly remaining: number
  /** Number of requests that the registry accepts in one window. */
  readonly limit: number | undefined
  /** Milliseconds until the budget is full again. */
  readonly reset: number | undefined
  /** Length of the window, in milliseconds. */
  readonly window: number | undefined
}

type Headers = Readonly<Record<string, string | undefined>>

// a registry that names a later time is mistaken
const longest = 24 * 3_600_000

// a number of seconds that is larger is a time since the epoch, and one that is larger than the second is in
// milliseconds
const epochSeconds = 1e9
const epochMillis = 1e11

const numberOf = (text: string | undefined): number | undefined => {
  const digits = /^\s*"?(\d{1,15})(?:\.\d+)?(?![\w-])/.exec(text ?? "")?.[1]
  return digits === undefined ? undefined : Number(digits)
}

/** Returns a number of seconds in milliseconds, within the longest time that is believed. */
const millis = (seconds: number): number => Math.min(longest, seconds * 1000)

const parameter = (item: string, name: string): number | undefined =>
  numberOf(new RegExp(`[;,]\\s*${name}\\s*=([^;,]*)`, "i").exec(`;${item}`)?.[1])

/**
 * Returns the milliseconds from `now` until a reset, which is a duration or a time. The clock is that of the registry.
 */
const untilReset = (value: number | undefined, now: number): number | undefined => {
  if (value === undefined) return undefined
  if (value < epochSeconds) return millis(value)
  return Math.min(longest, Math.max(0, (value < epochMillis ? value * 1000 : value) - now))
}

/**
 * Returns the budget in the headers `RateLimit` and `RateLimit-Policy`. Of several, the one with the fewest requests.
 */
const ofDraft = (field: string, policies: string): Budget | undefined => {
  const items = /\bremaining\s*=/i.test(field) ? [field] : field.split(",")
  const budgets = items.flatMap((item): ReadonlyArray<Budget> => {
    const remaining = parameter(item, "r") ?? parameter(item, "remaining")
    if (remaining === undefined) return []
    const reset = parameter(item, "t") ?? parameter(item, "reset")
    const name = item.split(";", 1)[0]?.trim()
    const policy = policies.split(",").find((policy) => policy.split(";", 1)[0]?.trim() === name) ?? ""
    const window = parameter(policy, "w")
    return [{
      remaining,
      limit: parameter(policy, "q") ?? parameter(item, "limit"),
      reset: reset === undefined ? undefined : millis(reset),
      window: window === undefined ? undefined : millis(window)
    }]
  })
  return budgets.sort((a, b) => a.remaining - b.remaining || (b.reset ?? 0) - (a.reset ?? 0))[0]
}

/** Returns the time of the registry in milliseconds, by its `Date` header, or else that of this machine. */
const timeOf = (headers: Headers, now: number): number => {
  const date = Date.parse(headers["date"] ?? "")
  return Number.isNaN(date) ? now : date
}

/** Returns the budget that the headers of a response contain, or `undefined` without one. `now` is in milliseconds. */
export const parse = (headers: Headers, now: number): Budget | undefined => {
  const { ratelimit } = headers
  const draft = ratelimit === undefined ? undefined : ofDraft(ratelimit, headers["ratelimit-policy"] ?? "")
  if (draft !== undefined) return draft
  const prefix = headers["ratelimit-remaining"] === undefined ? "x-ratelimit-" : "ratelimit-"
  const text = headers[`${prefix}remaining`]
  const remaining = numberOf(text)
  if (text === undefined || remaining === undefined) return undefined
  const limit = headers[`${prefix}limit`]
  const window = parameter(text, "w") ?? parameter(limit ?? "", "w")
  return {
    remaining,
    limit: numberOf(limit),
    reset: untilReset(numberOf(headers[`${prefix}reset`]), timeOf(headers, now)),
    window: window === undefined ? undefined : millis(window)
  }
}
