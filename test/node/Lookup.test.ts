import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type * as Dns from "node:dns"
import type * as Net from "node:net"
import * as AddressPolicy from "../../src/http/AddressPolicy.ts"
import * as Lookup from "../../src/node/Lookup.ts"

type Found = ReadonlyArray<string> | Error

const missing = Object.assign(new Error("no such name"), { code: "ENOTFOUND" })

const registry = new URL("https://registry.test")

/** Lookups in a table of names, and a way to look up a name in one of them. */
const make = Effect.fnUntraced(function*(names: Record<string, ReadonlyArray<string>>) {
  const lookups = Lookup.make((hostname, _, callback) => {
    const found = names[hostname]
    if (found === undefined) return callback(missing, [])
    callback(null, found.map((address) => ({ address, family: address.includes(":") ? 6 : 4 })))
  })
  const lead = { registry, mayLead: yield* AddressPolicy.AddressPolicy }
  const find = (lookup: Net.LookupFunction, hostname: string, options: Dns.LookupOptions = { all: true }) =>
    Effect.callback<Found>((resume) =>
      lookup(hostname, options, (error, found) =>
        resume(Effect.succeed(
          error ?? (typeof found === "string" ? [found] : found.map(({ address }) => address))
        )))
    )
  return {
    own: (hostname: string, options?: Dns.LookupOptions) => find(lookups.own, hostname, options),
    led: (hostname: string, options?: Dns.LookupOptions) => find(lookups.led(lead), hostname, options)
  }
})

describe("a name that a registry gave", () => {
  it.effect("is resolved if its addresses are public", () =>
    Effect.gen(function*() {
      const { led, own } = yield* make({ "registry.test": ["8.8.8.8"], "storage.test": ["9.9.9.9", "2620:fe::fe"] })
      yield* own("registry.test")
      assert.deepStrictEqual(yield* led("storage.test"), ["9.9.9.9", "2620:fe::fe"])
      assert.deepStrictEqual(yield* led("storage.test", {}), ["9.9.9.9"])
    }))

  it.effect.each(["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:10.0.0.1"])(
    "is refused if it is %s and the registry is public",
    (address) =>
      Effect.gen(function*() {
        const { led, own } = yield* make({ "registry.test": ["8.8.8.8"], "storage.test": [address] })
        yield* own("registry.test")
        const found = yield* led("storage.test")
        assert.instanceOf(found, AddressPolicy.AddressRefused)
        assert.include(String(found), `it leads to storage.test, which is ${address}`)
      })
  )

  it.effect("is resolved to what is allowed of its addresses", () =>
    Effect.gen(function*() {
      const { led } = yield* make({ "storage.test": ["10.0.0.1", "9.9.9.9"] })
      assert.deepStrictEqual(yield* led("storage.test"), ["9.9.9.9"])
      assert.deepStrictEqual(yield* led("storage.test", {}), ["9.9.9.9"])
    }))

  it.effect("may be in the private network that the registry is in", () =>
    Effect.gen(function*() {
      const { led, own } = yield* make({ "registry.test": ["10.0.0.1"], "storage.test": ["10.0.0.2"] })
      yield* own("registry.test")
      assert.deepStrictEqual(yield* led("storage.test"), ["10.0.0.2"])
    }))

  it.effect("is refused also if the registry's own name has become private meanwhile", () =>
    Effect.gen(function*() {
      const names: Record<string, ReadonlyArray<string>> = {
        "registry.test": ["8.8.8.8"],
        "storage.test": ["10.0.0.2"]
      }
      const { led, own } = yield* make(names)
      yield* own("registry.test")
      names["registry.test"] = ["10.0.0.1"]
      yield* own("registry.test")
      assert.instanceOf(yield* led("storage.test"), AddressPolicy.AddressRefused)
    }))

  it.effect("that does not exist is an error as any other", () =>
    Effect.gen(function*() {
      const { led, own } = yield* make({})
      assert.deepStrictEqual(yield* led("storage.test"), missing)
      assert.deepStrictEqual(yield* own("registry.test"), missing)
    }))
})
