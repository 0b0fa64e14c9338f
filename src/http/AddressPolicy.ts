/**
 * Policy on the addresses that a registry may lead to.
 *
 * A registry names further addresses: its token service, and the storage that holds its blobs. A registry on the public
 * internet must not use this to make the client send requests to machines in its own network (server-side request
 * forgery).
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import { excerpt } from "../Text.ts"

/**
 * Reach of an address. A `reserved` address belongs to no host that a registry could lead to: multicast, tunnels, and
 * future use.
 */
export type Reach = "public" | "private" | "link-local" | "loopback" | "reserved"

type Block = readonly [block: ReadonlyArray<number>, bits: number, reach: Reach]

/** Special blocks of IPv4 (RFC 6890 and the registry of IANA). Blocks for documentation count as public. */
const blocksOfIpv4: ReadonlyArray<Block> = [
  [[0], 8, "loopback"], // this host on its own network
  [[10], 8, "private"],
  [[100, 64], 10, "private"], // shared by the customers of a carrier
  [[127], 8, "loopback"],
  [[169, 254], 16, "link-local"],
  [[172, 16], 12, "private"],
  [[192, 0, 0], 24, "private"], // protocol assignments
  [[192, 88, 99], 24, "reserved"], // relays of 6to4
  [[192, 168], 16, "private"],
  [[198, 18], 15, "private"], // benchmarks, and the made-up addresses of some proxies
  [[224], 4, "reserved"], // multicast
  [[240], 4, "reserved"] // future use, and broadcast
]

/** Special blocks of IPv6 (RFC 6890 and the registry of IANA). Outside 2000::/3, only these are assigned. */
const blocksOfIpv6: ReadonlyArray<Block> = [
  [[0, 0, 0, 0, 0, 0, 0, 0], 127, "loopback"], // :: and ::1
  [[0x64, 0xff9b, 1], 48, "private"], // translation to IPv4 within a network
  [[0x2001, 0], 23, "reserved"], // protocol assignments, with Teredo
  [[0x2002], 16, "reserved"], // 6to4
  [[0xfc00], 7, "private"],
  [[0xfe80], 10, "link-local"],
  [[0xfec0], 10, "private"], // site-local
  [[0x2000], 3, "public"]
]

/** Returns true if an address, in parts of `width` bits, begins with the first `bits` bits of a block. */
const isIn = (parts: ReadonlyArray<number>, width: number, [block, bits]: Block): boolean => {
  for (let index = 0; index * width < bits; index++) {
    const shift = Math.max(0, (index + 1) * width - bits)
    if ((parts[index] ?? 0) >> shift !== (block[index] ?? 0) >> shift) return false
  }
  return true
}

const reachIn = (parts: ReadonlyArray<number>, width: number, blocks: ReadonlyArray<Block>): Reach | undefined =>
  blocks.find((block) => isIn(parts, width, block))?.[2]

const reachOfIpv4 = (parts: ReadonlyArray<number>): Reach => reachIn(parts, 8, blocksOfIpv4) ?? "public"

const reachOfIpv6 = (address: string): Reach => {
  // in their short form, :: stands for as many zeros as are missing
  const [head = "", tail] = address.split("::")
  const groups = (part: string): ReadonlyArray<number> =>
    part === "" ? [] : part.split(":").flatMap((group) => {
      if (!group.includes(".")) return Number.parseInt(group, 16)
      const [a = 0, b = 0, c = 0, d = 0] = group.split(".").map(Number)
      return [a << 8 | b, c << 8 | d]
    })
  const [front, back] = [groups(head), groups(tail ?? "")]
  const all = tail === undefined
    ? front
    : [...front, ...new Array<number>(Math.max(0, 8 - front.length - back.length)).fill(0), ...back]
  const special = reachIn(all, 16, blocksOfIpv6)
  if (special !== undefined) return special
  const [high = 0, low = 0] = all.slice(6)
  const isZero = (from: number, to: number) => all.slice(from, to).every((group) => group === 0)
  const holdsIpv4 = isZero(0, 6) || isZero(0, 5) && all[5] === 0xffff || // mapped to IPv6
    all[0] === 0x64 && all[1] === 0xff9b && isZero(2, 6) // translated to IPv6
  return holdsIpv4 ? reachOfIpv4([high >> 8, high & 0xff, low >> 8, low & 0xff]) : "reserved"
}

/** Returns the reach of an IP address. */
export const reachOfAddress = (address: string): Reach => {
  const [plain = ""] = address.split("%", 1) // the name of an interface may follow
  return plain.includes(":") ? reachOfIpv6(plain) : reachOfIpv4(plain.split(".").map(Number))
}

/**
 * Returns true if a host, with or without a port, is this machine: `localhost`, `127.0.0.0/8`, `[::1]` or `::1`.
 *
 * @category guards
 * @since 0.1.0
 */
export const isLoopback = (host: string): boolean =>
  /^(?:(?:localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]+)?|::1)$/i.test(host)

/** Returns the reach of a host by its name alone: every name except `localhost` counts as public. */
const reachOfHost = ({ hostname }: URL): Reach => {
  // a parsed URL has addresses in their usual form, whatever form they were written in
  const name = hostname.replace(/\.$/, "")
  if (name === "localhost" || name.endsWith(".localhost")) return "loopback"
  if (name.startsWith("[")) return reachOfAddress(name.slice(1, -1))
  return /^\d+(?:\.\d+){3}$/.test(name) ? reachOfAddress(name) : "public"
}

/**
 * IP addresses that host names resolved to, when a connection was about to be made.
 *
 * @category models
 * @since 0.1.0
 */
export interface ResolvedAddress {
  /** Addresses that the registry's own name has had, one of each reach. Empty if it was not resolved here. */
  readonly registry: ReadonlyArray<string>
  /** Address to connect to. */
  readonly address: string
}

/**
 * Decides whether a redirect, token realm, upload location or link of a registry may point to an address.
 *
 * **Details**
 *
 * It is called before a request is sent. Transports that resolve names themselves (`NodeHttp`) call it again, with
 * `resolved`, for each IP address of the host name. A name that a proxy resolves is not checked again.
 *
 * By default, a registry may lead to every name except `localhost`, and to public IP addresses. It may lead to a
 * private, link-local or loopback address only if its own address is of the same kind, and from loopback also to a
 * private one. Therefore a registry at a public address cannot lead into a private network by a name either, and a
 * registry in a private network may lead to other hosts there.
 *
 * @category references
 * @since 0.1.0
 */
export const AddressPolicy: Context.Reference<(registry: URL, address: URL, resolved?: ResolvedAddress) => boolean> =
  Context
    .Reference<(registry: URL, address: URL, resolved?: ResolvedAddress) => boolean>("effect-oci/AddressPolicy", {
      defaultValue: () => (registry, address, resolved) => {
        const there = resolved === undefined ? reachOfHost(address) : reachOfAddress(resolved.address)
        const known = resolved?.registry.map(reachOfAddress) ?? []
        const own = known.length === 0 ? [reachOfHost(registry)] : known
        return there === "public" ||
          own.every((reach) => reach === there || reach === "loopback" && there === "private")
      }
    })

/** A registry that has led to an address, with the policy for such addresses. */
export interface Lead {
  readonly registry: URL
  readonly mayLead: (registry: URL, address: URL, resolved?: ResolvedAddress) => boolean
}

/** Registry that has led to the address of the current request. `undefined` for a request to the registry itself. */
export const LedBy: Context.Reference<Lead | undefined> = Context.Reference<Lead | undefined>(
  "effect-oci/AddressPolicy/LedBy",
  { defaultValue: () => undefined }
)

/** Runs the sending of a request so that the transport checks the IP addresses of its host name. */
export const led = (registry: URL) => <A, E, R>(sending: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.flatMap(AddressPolicy, (mayLead) => Effect.provideService(sending, LedBy, { registry, mayLead }))

/** A host name that a registry gave resolves to no address that the policy allows. */
export class AddressRefused extends Data.Error<{ readonly hostname: string; readonly address: string }> {
  override get message(): string {
    return `it leads to ${this.hostname}, which is ${this.address}: a registry must not lead to such an address`
  }
}

/**
 * Returns the reason not to follow a registry to an address: its scheme is not HTTP, a registry over HTTPS leads to
 * plain HTTP on another machine, or the policy does not allow it. Returns `undefined` if the address may be used.
 */
export const objection = (registry: URL, address: URL): Effect.Effect<string | undefined> =>
  Effect.map(AddressPolicy, (mayLead) => {
    if (address.protocol !== "http:" && address.protocol !== "https:") {
      return `an address that begins with "${excerpt(address.protocol)}" is not followed`
    }
    if (address.protocol === "http:" && registry.protocol !== "http:" && reachOfHost(address) !== "loopback") {
      return "a registry in HTTPS leads to plain HTTP"
    }
    return mayLead(registry, address) ? undefined : "a registry must not lead to such an address"
  })

/** Returns an address as errors show it, without the parts that may be secret. */
export const place = ({ origin, protocol }: URL): string => origin === "null" ? excerpt(protocol) : origin
