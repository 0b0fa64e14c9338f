import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as AddressPolicy from "../../src/http/AddressPolicy.ts"

const { reachOfAddress } = AddressPolicy

describe("the reach of an address", () => {
  it.each([
    ["8.8.8.8", "public"],
    ["9.255.255.255", "public"],
    ["11.0.0.0", "public"],
    ["100.63.255.255", "public"],
    ["100.128.0.0", "public"],
    ["172.15.255.255", "public"],
    ["172.32.0.0", "public"],
    ["192.0.1.1", "public"],
    ["198.17.255.255", "public"],
    ["198.20.0.0", "public"],
    ["223.255.255.255", "public"],
    ["2606:4700::1111", "public"],
    ["2001:200::1", "public"],
    ["::ffff:8.8.8.8", "public"],
    ["::ffff:808:808", "public"],
    ["64:ff9b::808:808", "public"],
    ["0.0.0.0", "loopback"],
    ["127.255.255.254", "loopback"],
    ["::", "loopback"],
    ["::1", "loopback"],
    ["::ffff:127.0.0.1", "loopback"],
    ["::7f00:1", "loopback"],
    ["64:ff9b::7f00:1", "loopback"],
    ["10.255.255.255", "private"],
    ["100.64.0.1", "private"],
    ["172.16.0.1", "private"],
    ["192.0.0.8", "private"],
    ["192.168.255.255", "private"],
    ["198.18.0.1", "private"],
    ["198.19.255.255", "private"],
    ["fd00::1", "private"],
    ["fec0::1", "private"],
    ["feff::1", "private"],
    ["64:ff9b:1::808:808", "private"],
    ["::ffff:a00:1", "private"],
    ["169.254.169.254", "link-local"],
    ["fe80::1%eth0", "link-local"],
    ["224.0.0.1", "reserved"],
    ["239.255.255.255", "reserved"],
    ["240.0.0.1", "reserved"],
    ["255.255.255.255", "reserved"],
    ["192.88.99.1", "reserved"],
    ["2002:a00:1::", "reserved"],
    ["2001::1", "reserved"],
    ["100::1", "reserved"],
    ["64:ff9b::1:7f00:1", "reserved"],
    ["::ffff:0:7f00:1", "reserved"],
    ["ff02::1", "reserved"],
    ["5f00::1", "reserved"]
  ])("%s is %s", (address, reach) => {
    assert.strictEqual(reachOfAddress(address), reach)
  })
})

describe("a registry", () => {
  const mayLead = Effect.fnUntraced(
    function*(registry: string, address: string, own: ReadonlyArray<string>, to: string) {
      const policy = yield* AddressPolicy.AddressPolicy
      return policy(new URL(registry), new URL(address), { registry: own, address: to })
    }
  )

  it.effect.each<[own: ReadonlyArray<string>, to: string, isAllowed: boolean]>([
    [["93.184.216.34"], "8.8.8.8", true],
    [["93.184.216.34"], "10.0.0.1", false],
    [["93.184.216.34"], "127.0.0.1", false],
    [["93.184.216.34"], "169.254.169.254", false],
    [["93.184.216.34", "10.0.0.1"], "10.0.0.2", false],
    [["10.0.0.1"], "10.0.0.2", true],
    [["10.0.0.1"], "fd00::1", true],
    [["10.0.0.1"], "127.0.0.1", false],
    [["10.0.0.1"], "169.254.169.254", false],
    [["127.0.0.1"], "10.0.0.1", true],
    [["198.18.0.7"], "198.18.0.8", true],
    [[], "10.0.0.1", false],
    [[], "8.8.8.8", true]
  ])("whose name is %j may lead to a name that is %s: %s", ([own, to, isAllowed]) =>
    Effect.gen(function*() {
      assert.strictEqual(yield* mayLead("https://registry.test", "https://storage.test", own, to), isAllowed)
    }))

  it.effect("that is named by its address may lead to names of its own reach", () =>
    Effect.gen(function*() {
      assert.isTrue(yield* mayLead("https://10.0.0.1", "https://storage.test", [], "10.0.0.2"))
      assert.isFalse(yield* mayLead("https://10.0.0.1", "https://storage.test", [], "127.0.0.1"))
    }))
})

describe("isLoopback", () => {
  it.each(["localhost", "LOCALHOST:5000", "127.0.0.1", "127.255.0.9:80", "[::1]", "[::1]:5000", "::1"])(
    "is true for %s",
    (host) => assert.isTrue(AddressPolicy.isLoopback(host))
  )

  it.each(["localhost.example", "app.localhost", "128.0.0.1", "127.0.0.1.example", "::1:80", "[::2]", "::", ""])(
    "is false for %j",
    (host) => assert.isFalse(AddressPolicy.isLoopback(host))
  )
})
