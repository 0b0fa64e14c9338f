/**
 * Limits of the requests to the registries of a configuration: one limiter for each host, which all its clients share.
 */
import * as Effect from "effect/Effect"
import * as DockerHub from "../DockerHub.ts"
import * as Limiter from "../Limiter.ts"
import type { MirrorConfig, RegistrySettings } from "./MirrorConfig.ts"
import type { MirrorRates } from "./MirrorRates.ts"
import type { HostStatus } from "./MirrorRunner.ts"
import * as SharedRate from "./SharedRate.ts"

/** Limits of the registries of a configuration. */
export interface HostLimits {
  /** Returns the limiter of a host, for `Limiter.PerRegistry`. */
  readonly perRegistry: (host: string) => Limiter.Limiter
  /** Hosts whose limiters are in use, in the order of their names. */
  readonly hosts: Effect.Effect<ReadonlyArray<HostStatus>>
}

const canonical = (host: string): string => DockerHub.isHost(host) ? DockerHub.host : host

const statusOf = ([host, { budget = Effect.undefined, limit, rate }]: readonly [string, Limiter.Limiter]) =>
  Effect.all({ host: Effect.succeed(host), rate: Effect.succeed(rate), concurrency: limit, budget })

/** Creates the limiter of a host. The number of requests that run at the same time belongs to each process. */
const limiterOf = (
  host: string,
  { budget, concurrency, rate }: Partial<RegistrySettings>,
  rates: MirrorRates["Service"] | undefined
): Limiter.Limiter => {
  const keep = budget?.keep
  if (rates === undefined) return Limiter.make(host, { concurrency, rate, keep })
  const permits = Limiter.make(host, { concurrency })
  const paced = rate === undefined ? permits : SharedRate.withRate(permits, { host, rate, rates })
  return keep === undefined
    ? paced
    : SharedRate.withBudget(Limiter.withBudget(paced, { registry: host, keep }), { host, rates })
}

/** Creates the limits. Hosts without settings get limiters that adapt. `rates` are those of all processes. */
export const make = (
  { registries }: Pick<MirrorConfig, "registries">,
  rates?: MirrorRates["Service"]
): HostLimits => {
  const limiters = new Map<string, Limiter.Limiter>()
  return {
    perRegistry: (name) => {
      const host = canonical(name)
      const known = limiters.get(host)
      if (known !== undefined) return known
      const settings = registries.find((settings) => canonical(settings.host) === host)
      const limiter = limiterOf(host, settings ?? {}, rates)
      limiters.set(host, limiter)
      return limiter
    },
    hosts: Effect.suspend(() => Effect.forEach(Array.from(limiters).sort(([a], [b]) => a < b ? -1 : 1), statusOf))
  }
}
