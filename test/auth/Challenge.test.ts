import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Schema } from "effect"
import * as Challenge from "../../src/auth/Challenge.ts"

const plain = (header: string) =>
  Challenge.parse(header).map(({ parameters, scheme, token68 }) => [
    scheme,
    ...token68 === undefined ? [] : [token68],
    Object.fromEntries(parameters)
  ])

const realm = "https://auth.test/token"

describe("Challenge.parse", () => {
  it.each<[what: string, header: string, ...ReturnType<typeof plain>]>([
    ["Docker Hub", `Bearer realm="${realm}",service="registry.docker.io",scope="repository:a/b:pull,push"`, [
      "bearer",
      { realm, service: "registry.docker.io", scope: "repository:a/b:pull,push" }
    ]],
    ["Basic", "Basic realm=\"Registry Realm\"", ["basic", { realm: "Registry Realm" }]],
    ["codeberg, with two challenges in one header", `Bearer realm="${realm}",service="s",scope="*",Basic realm="b"`, [
      "bearer",
      { realm, service: "s", scope: "*" }
    ], ["basic", { realm: "b" }]],
    [
      "Bearer after Basic, with spaces",
      `Basic  realm = "b" ,  Bearer  realm= "${realm}"`,
      ["basic", { realm: "b" }],
      ["bearer", { realm }]
    ],
    ["an unknown scheme without anything", "Negotiate, Basic realm=b", ["negotiate", {}], ["basic", { realm: "b" }]],
    ["token68", "Negotiate oYG2/+~-._==, NTLM TlRM", ["negotiate", "oYG2/+~-._==", {}], ["ntlm", "TlRM", {}]],
    ["scheme and names in any case", "BEARER REALM=\"X\"", ["bearer", { realm: "X" }]],
    ["escapes", "Basic realm=\"a \\\"b\\\", \\\\c\"", ["basic", { realm: "a \"b\", \\c" }]],
    ["spaces for commas", `Bearer realm="${realm}" service="s"`, ["bearer", { realm, service: "s" }]],
    ["empty elements", `, ,Bearer ,, realm="${realm}",, service=s,`, ["bearer", { realm, service: "s" }]],
    ["an address without quotes", `Bearer realm=${realm},service=s`, ["bearer", { realm, service: "s" }]],
    ["a quote that is not closed", `Bearer realm="${realm}`, ["bearer", { realm }]],
    ["an escape of nothing", "Basic realm=\"a\\", ["basic", { realm: "a" }]],
    ["an empty value", "Bearer realm=\"\",service=\"s\"", ["bearer", { realm: "", service: "s" }]],
    ["the first of two", "Basic realm=\"a\",realm=\"b\"", ["basic", { realm: "a" }]],
    ["a parameter of no scheme", `realm="a", Bearer realm="${realm}"`, ["bearer", { realm }]],
    ["nonsense between", `@@@ "a, b" x, Bearer realm="${realm}"`, ["bearer", { realm }]],
    ["lines that were folded", `Bearer\trealm="${realm}",\r\n\tservice="s"`, ["bearer", { realm, service: "s" }]],
    ["the empty header", ""]
  ])("parses %s", (_, header, ...expected) => {
    assert.deepStrictEqual(plain(header), expected)
  })

  const texts = Arbitrary.array(Arbitrary.schema(Schema.Union([
    Schema.Literals(["Bearer", "Basic", " ", ",", "=", "\"", "\\", "realm", "a=\"b\"", "abc==", "\t", "\n", "é"]),
    Schema.String
  ]))).pipe(Arbitrary.map((parts) => parts.join("")))

  it.prop("never throws, and always ends", [texts], ([header]) => {
    for (const { scheme } of Challenge.parse(header)) assert.match(scheme, /^[^\s,="]+$/)
  })

  const name = Schema.String.check(Schema.isPattern(/^[a-z][a-z0-9_-]{0,8}$/))
  const challenges = Schema.Array(Schema.Struct({
    scheme: name,
    parameters: Schema.Array(Schema.Tuple([name, Schema.String]))
  }))
  it.prop("parses what was formatted, whatever the values", [challenges], ([written]) => {
    const once = written.map(({ parameters, scheme }) => [scheme, Object.fromEntries(parameters.toReversed())])
    const header = written.map(({ parameters, scheme }) =>
      `${scheme} ${parameters.map(([name, value]) => `${name}="${value.replaceAll(/["\\]/g, "\\$&")}"`).join(", ")}`
    ).join(", ")
    assert.deepStrictEqual<object>(plain(header), once)
  })

  it("takes no more time than the header is long", () => {
    for (const part of ["\"", "\\", "a=", "a ", "=", "a=\"\\", ","]) Challenge.parse(part.repeat(200_000))
  })
})
