/**
 * Where a registry may send us.
 *
 * A registry names further addresses: the token service that it trusts, the storage behind it. One of the public
 * internet must not use that to make us ask a machine in our own network for something.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"

type Reach = "public" | "private" | "link-local" | "loopback"

const ofIpv4 = ([a = 0, b = 0]: ReadonlyArray<number>): Reach =>
  a === 127 || a === 0
    ? "loopback"
    : a === 169 && b === 254
    ? "link-local"
    : a === 10 || a === 172 && b >= 16 && b < 32 || a === 192 && b === 168 || a === 100 && b >= 64 && b < 128
    ? "private"
    : "public"

const ofIpv6 = (address: string): Reach => {
  // a parsed URL has the address in its short form, where :: stands for as many zeros as are missing
  const [head = "", tail] = address.split("::")
  const groups = (part: string) => part === "" ? [] : part.split(":").map((group) => Number.parseInt(group, 16))
  const [front, back] = [groups(head), groups(tail ?? "")]
  const all = tail === undefined
    ? front
    : [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back]
  const [first = 0, second = 0] = all
  const [high = 0, low = 0] = all.slice(6)
  const isZero = (from: number, to: number) => all.slice(from, to).every((group) => group === 0)
  if (isZero(0, 7) && low <= 1) return "loopback"
  const holdsIpv4 = isZero(0, 6) || isZero(0, 5) && all[5] === 0xffff || // mapped to IPv6
    first === 0x64 && second === 0xff9b // translated to IPv6
  if (holdsIpv4) return ofIpv4([high >> 8, high & 0xff, low >> 8, low & 0xff])
  if ((first & 0xfe00) === 0xfc00) return "private"
  return (first & 0xffc0) === 0xfe80 ? "link-local" : "public"
}

// a URL that was parsed has its addresses in their usual form, however they were written
const reachOf = ({ hostname }: URL): Reach => {
  const name = hostname.replace(/\.$/, "")
  if (name === "localhost" || name.endsWith(".localhost")) return "loopback"
  if (name.startsWith("[")) return ofIpv6(name.slice(1, -1))
  return /^\d+(?:\.\d+){3}$/.test(name) ? ofIpv4(name.split(".").map(Number)) : "public"
}

/**
 * May a registry lead us to this address? By default to every name but `localhost`, and to every public IP address. To a
 * private, link-local or loopback address only where the registry's own is of the same kind; one on loopback may lead to
 * a private one, too.
 *
 * @category references
 * @since 0.1.0
 */
export const AddressPolicy: Context.Reference<(registry: URL, address: URL) => boolean> = Context.Reference<
  (registry: URL, address: URL) => boolean
>("effect-oci/AddressPolicy", {
  defaultValue: () => (registry, address) => {
    const [own, there] = [reachOf(registry), reachOf(address)]
    return there === "public" || there === own || own === "loopback" && there === "private"
  }
})

/**
 * What there is to say against following a registry to an address: that it is none that the policy allows, or that a
 * registry in HTTPS leads to plain HTTP, other than on this machine. Nothing, if it may be followed.
 */
export const objection = (registry: URL, address: URL): Effect.Effect<string | undefined> =>
  Effect.map(AddressPolicy, (mayLead) => {
    if (address.protocol === "http:" && registry.protocol !== "http:" && reachOf(address) !== "loopback") {
      return "a registry in HTTPS leads to plain HTTP"
    }
    return mayLead(registry, address) ? undefined : "a registry must not lead to such an address"
  })
