import { assert, describe, it } from "@effect/vitest"
import { Redacted } from "effect"
import * as RegistryError from "effect-oci/RegistryError"
import * as Secrets from "../../src/auth/Secrets.ts"

const knowing = (...secrets: ReadonlyArray<string>) => {
  const made = Secrets.make()
  for (const secret of secrets) made.add(Redacted.make(secret))
  return made
}
const password = "p&ss w0rd/ü+"
const token = `${"eyJhbGciOiJFUzI1NiJ9.".repeat(4)}${"abcdefghij".repeat(40)}.signature`
const base64 = (text: string) => Buffer.from(text).toString("base64")

describe("a secret is struck out", () => {
  it.each([
    password,
    encodeURIComponent(password),
    encodeURIComponent(password).toLowerCase(),
    new URLSearchParams({ password }).toString().slice("password=".length),
    "p&amp;ss w0rd/ü+",
    base64(password),
    base64(`ada:${password}`),
    base64(`lovelace:${password}`),
    base64(`ada.lovelace:${password}`),
    base64(`{"password":"${password}","more":1}`),
    Buffer.from(`ada:${password}`).toString("base64url"),
    encodeURIComponent(base64(`ada:${password}`))
  ])("as %s", (text) => {
    const struck = knowing(password).strike(`Authorization "Basic ${text}" is wrong`)
    assert.match(struck, /^Authorization "Basic .*<redacted>.*" is wrong$/)
    for (const part of text.match(/\w{6,}/g) ?? []) assert.notInclude(struck, part)
  })

  it("completely, if it is long", () => {
    const secrets = knowing(token)
    assert.strictEqual(secrets.strike(`the token ${token} has expired`), "the token <redacted> has expired")
    assert.strictEqual(secrets.strike(`{"t":"${base64(token)}"}`), "{\"t\":\"<redacted>\"}")
  })

  it("even if its end is cut off", () => {
    assert.strictEqual(knowing(password).strike(`said ${password.slice(0, 9)}`), "said <redacted>")
    assert.strictEqual(knowing(token).strike(`said ${token.slice(0, 100)}`), "said <redacted>")
    assert.strictEqual(knowing(token).strike(`said ${token.slice(0, 20)}`), "said <redacted>")
  })

  it("as a whole word, if it is short", () => {
    assert.strictEqual(knowing("ab").strike("about ab: \"ab\""), "about <redacted>: \"<redacted>\"")
  })

  it("in every text of a reason, whose class stays the same", () => {
    const secrets = knowing(password)
    const denied = secrets.strikeReason(new RegistryError.Denied({ status: 403, detail: `no ${password}` }))
    assert.instanceOf(denied, RegistryError.Denied)
    assert.deepInclude(denied, { _tag: "Denied", status: 403, detail: "no <redacted>" })
    const unavailable = new RegistryError.TokenUnavailable({ service: password, problem: password, isTemporary: true })
    assert.deepInclude(secrets.strikeReason(unavailable), {
      service: "<redacted>",
      problem: "<redacted>",
      isTemporary: true
    })
  })

  it("only where it occurs", () => {
    const reason = new RegistryError.SchemeMismatch({ used: "http" })
    assert.strictEqual(knowing("http").strikeReason(reason), reason)
    assert.strictEqual(knowing(password, token, "").strike("all is well"), "all is well")
  })

  it("fast, however many there are", () => {
    const secrets = knowing(...Array.from({ length: 1000 }, (_, index) => `${index}-${token}`))
    assert.strictEqual(secrets.strike(`it was 999-${token}`), "it was <redacted>")
    assert.strictEqual(secrets.strike(`${"a".repeat(100_000)} 998-${token}`).length, 100_000 + " <redacted>".length)
    // the least recently used secret is forgotten
    assert.include(secrets.strike(`it was 7-${token}`), "it was 7-")
  })
})
