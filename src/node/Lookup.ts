/**
 * Resolves the names of hosts so that a registry cannot lead to an address that the policy forbids.
 *
 * The name of a registry itself is resolved to all its addresses, and their reach is remembered. A name that it leads
 * to is resolved to those of its addresses that the policy allows. Connections are made to the addresses that were
 * checked, so that a name cannot resolve to another address after the check.
 */
import * as Context from "effect/Context"
import * as Dns from "node:dns"
import type * as Net from "node:net"
import * as AddressPolicy from "../http/AddressPolicy.ts"

/**
 * Resolves names for connections.
 *
 * @default `dns.lookup` of Node
 */
export const SystemLookup: Context.Reference<Net.LookupFunction> = Context.Reference<Net.LookupFunction>(
  "effect-oci/NodeHttp/SystemLookup",
  { defaultValue: () => Dns.lookup }
)

/** Lookups that share what they learn about the names of registries. */
export interface Lookups {
  /** Lookup for requests to registries themselves. */
  readonly own: Net.LookupFunction
  /** Lookup for requests to hosts that a registry leads to. */
  readonly led: (lead: AddressPolicy.Lead) => Net.LookupFunction
}

// maximum number of names whose reach is remembered
const capacity = 10_000

/** Calls back with all addresses or with the first, as the options of the lookup require. */
const answer = (
  addresses: ReadonlyArray<Dns.LookupAddress>,
  { all }: Dns.LookupOptions,
  callback: Parameters<Net.LookupFunction>[2]
): void => {
  const [first] = addresses
  if (all === true) callback(null, [...addresses])
  else callback(null, first?.address ?? "", first?.family)
}

/** Creates lookups. */
export const make = (resolve: Net.LookupFunction): Lookups => {
  // for each name one address of each reach that it has had
  const seen = new Map<string, Map<AddressPolicy.Reach, string>>()

  const note = (hostname: string, addresses: ReadonlyArray<Dns.LookupAddress>) => {
    const known = seen.get(hostname) ?? new Map<AddressPolicy.Reach, string>()
    seen.delete(hostname)
    seen.set(hostname, known)
    for (const { address } of addresses) known.set(AddressPolicy.reachOfAddress(address), address)
    const [oldest] = seen.keys()
    if (seen.size > capacity && oldest !== undefined) seen.delete(oldest)
  }

  /** Resolves a name to all of its addresses. */
  const resolveAll = (
    hostname: string,
    options: Dns.LookupOptions,
    done: (error: NodeJS.ErrnoException | null, addresses: ReadonlyArray<Dns.LookupAddress>) => void
  ) =>
    resolve(
      hostname,
      { ...options, all: true },
      (error, found, family) =>
        done(error, typeof found === "string" ? [{ address: found, family: family ?? 4 }] : found ?? [])
    )

  return {
    own: (hostname, options, callback) =>
      resolveAll(hostname, options, (error, addresses) => {
        if (error !== null) return callback(error, [])
        note(hostname, addresses)
        answer(addresses, options, callback)
      }),
    led: ({ mayLead, registry }) => (hostname, options, callback) =>
      resolveAll(hostname, options, (error, addresses) => {
        if (error !== null) return callback(error, [])
        const own = Array.from(seen.get(registry.hostname)?.values() ?? [])
        const url = new URL(`https://${hostname}`)
        const allowed = addresses.filter(({ address }) => mayLead(registry, url, { registry: own, address }))
        const [refused] = addresses
        if (allowed.length > 0 || refused === undefined) return answer(allowed, options, callback)
        callback(new AddressPolicy.AddressRefused({ hostname, address: refused.address }), [])
      })
  }
}
