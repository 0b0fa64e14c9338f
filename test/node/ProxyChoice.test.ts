import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import * as ProxyChoice from "../../src/node/ProxyChoice.ts"

const variable = (name: string, value: string) => ({ name, value: Redacted.make(value) })

/** How a URL is requested, in a word. */
const chosen = (url: string, env: { readonly http?: string; readonly https?: string; readonly no?: string }) => {
  const { choose } = ProxyChoice.make({
    httpProxy: env.http === undefined ? undefined : variable("HTTP_PROXY", env.http),
    httpsProxy: env.https === undefined ? undefined : variable("https_proxy", env.https),
    noProxy: env.no ?? ""
  })
  const choice = choose(new URL(url))
  if (choice === undefined) return "directly"
  if (choice._tag === "Unusable") return choice.problem
  return choice.authorization === undefined
    ? choice.url.href
    : `${choice.url.href} ${Redacted.value(choice.authorization)}`
}

const basic = (login: string) => `Basic ${Buffer.from(login).toString("base64")}`

const nonsense = "is not the address of a proxy, such as http://proxy.example.com:3128"
const socks = "names a SOCKS proxy: only those of HTTP are supported"

describe("a proxy", () => {
  it.effect.each<readonly [value: string, choice: string]>([
    ["http://proxy.test:3128", "http://proxy.test:3128/"],
    ["http://proxy.test:3128/", "http://proxy.test:3128/"],
    ["HTTP://proxy.test", "http://proxy.test/"],
    ["https://proxy.test", "https://proxy.test/"],
    ["proxy.test:3128", "http://proxy.test:3128/"],
    ["localhost:3128", "http://localhost:3128/"],
    ["127.0.0.1:3128", "http://127.0.0.1:3128/"],
    ["[::1]:3128", "http://[::1]:3128/"],
    [" proxy.test ", "http://proxy.test/"],
    ["proxy", "http://proxy/"],
    ["ada:secret@proxy.test:1", `http://proxy.test:1/ ${basic("ada:secret")}`],
    ["http://ada:p%40%3as@proxy.test", `http://proxy.test/ ${basic("ada:p@:s")}`],
    ["http://ada:100%@proxy.test", `http://proxy.test/ ${basic("ada:100%")}`],
    ["http://%C3%A9@proxy.test", `http://proxy.test/ ${basic("é:")}`],
    ["nonsense://", `HTTP_PROXY ${nonsense}`],
    ["ftp://proxy.test", `HTTP_PROXY ${nonsense}`],
    ["://x", `HTTP_PROXY ${nonsense}`],
    ["http://", `HTTP_PROXY ${nonsense}`],
    ["http://proxy.test:port", `HTTP_PROXY ${nonsense}`],
    ["ada:secret@", `HTTP_PROXY ${nonsense}`],
    [" ", `HTTP_PROXY ${nonsense}`],
    ["socks5://ada:secret@127.0.0.1:1", `HTTP_PROXY ${socks}`],
    ["SOCKS4a://proxy.test", `HTTP_PROXY ${socks}`]
  ])(
    "is %j",
    ([value, choice]) =>
      Effect.sync(() => assert.strictEqual(chosen("http://registry.test/v2/", { http: value }), choice))
  )

  it.effect("is for the scheme that its variable is for", () =>
    Effect.sync(() => {
      const env = { http: "one.test", https: "two.test" }
      assert.strictEqual(chosen("http://registry.test/", env), "http://one.test/")
      assert.strictEqual(chosen("https://registry.test/", env), "http://two.test/")
      assert.strictEqual(chosen("https://registry.test/", { http: "one.test" }), "directly")
      assert.strictEqual(chosen("http://registry.test/", { https: "two.test" }), "directly")
      assert.strictEqual(
        chosen("https://registry.test/", { http: "one.test", https: "x://" }),
        `https_proxy ${nonsense}`
      )
    }))

  it.effect.each(["localhost", "LOCALHOST:5000", "127.0.0.1:5000", "[::1]:5000"])(
    "is not for this machine, usable or not: %s",
    (host) =>
      Effect.sync(() => {
        for (const http of ["proxy.test", "socks5://proxy.test"]) {
          assert.strictEqual(chosen(`http://${host}/`, { http }), "directly")
        }
      })
  )
})

describe("NO_PROXY", () => {
  const isDirect = (host: string, no: string) => chosen(`http://${host}/`, { http: "proxy.test", no }) === "directly"

  it.effect.each<readonly [no: string, direct: ReadonlyArray<string>, proxied: ReadonlyArray<string>]>([
    ["", [], ["registry.test"]],
    ["*", ["registry.test", "10.0.0.1", "[::2]"], []],
    ["other.test,*", ["registry.test"], []],
    ["registry.test", ["registry.test", "REGISTRY.test:5000", "a.registry.test"], ["aregistry.test", "test"]],
    ["REGISTRY.Test", ["registry.test"], ["other.test"]],
    [".registry.test", ["a.registry.test", "a.b.registry.test"], ["registry.test", "aregistry.test"]],
    ["*.registry.test", ["a.registry.test"], ["registry.test"]],
    ["test", ["registry.test"], ["registry.test.io"]],
    ["registry.test:5000", ["registry.test:5000", "a.registry.test:5000"], ["registry.test", "registry.test:500"]],
    ["registry.test:80", ["registry.test"], ["registry.test:8080"]],
    [" a.test , b.test,, ", ["a.test", "b.test"], ["c.test"]],
    ["10.0.0.0/8", ["10.1.2.3", "10.255.0.1:5000", "[::ffff:10.0.0.1]"], ["11.0.0.1", "[::10.0.0.1]", "10.test"]],
    ["172.16.0.0/12", ["172.16.0.1", "172.31.255.255"], ["172.15.0.1", "172.32.0.1"]],
    ["192.168.1.77/25", ["192.168.1.1", "192.168.1.127"], ["192.168.1.128"]],
    ["0.0.0.0/0", ["1.2.3.4"], ["[2001:db8::1]"]],
    ["127.0.0.0/8", ["127.0.0.2"], []],
    ["fd00::/8", ["[fd12::1]:5000"], ["[fe80::1]", "253.0.0.1"]],
    ["2001:db8::/33", ["[2001:db8:7fff::1]"], ["[2001:db8:8000::1]"]],
    ["10.0.0.1", ["10.0.0.1", "10.0.0.1:5000"], ["10.0.0.11", "110.0.0.1"]],
    ["10.0.0.1:5000", ["10.0.0.1:5000"], ["10.0.0.1", "10.0.0.1:5001"]],
    ["2001:DB8:0::1", ["[2001:db8::1]", "[2001:db8::1]:5000"], ["[2001:db8::2]"]],
    ["[2001:db8::1]:5000", ["[2001:db8::1]:5000"], ["[2001:db8::1]"]],
    ["[2001:db8::1]", ["[2001:db8::1]:5000"], []],
    ["10.0.0.0/33,300.1.1.1,:5000,/8,[],a b", [], ["10.0.0.1", "registry.test:5000"]]
  ])("%j", ([no, direct, proxied]) =>
    Effect.sync(() => {
      for (const host of direct) assert.isTrue(isDirect(host, no), host)
      for (const host of proxied) assert.isFalse(isDirect(host, no), host)
    }))
})
