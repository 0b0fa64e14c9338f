import { assert, describe, it } from "@effect/vitest"
import * as TokenRealms from "../../src/auth/TokenRealms.ts"

const mayReceive = (policy: TokenRealms.TokenRealms, registry: string, realm: string) =>
  TokenRealms.mayReceive(policy, new URL(`https://${registry}`), new URL(`https://${realm}/token`))

describe("credentials for a token", () => {
  it.each([
    ["registry-1.docker.io", "auth.docker.io", true],
    ["registry.test", "registry.test:8443", true],
    ["registry.test", "auth.registry.test", true],
    ["gitlab.example.com", "example.com", true],
    ["registry.test", "auth.test", false],
    ["registry.test", "evil-registry.test", false],
    ["registry.example.com", "notexample.com", false],
    ["10.0.0.1", "11.0.0.1", false],
    ["10.0.0.1", "10.0.0.1:5001", true]
  ])("of %s may go to %s, as the same site: %s", (registry, realm, isAllowed) => {
    assert.strictEqual(mayReceive("same-site", registry, realm), isAllowed)
  })

  it("may go to every service over HTTPS by default", () => {
    assert.isTrue(mayReceive("https", "registry.test", "elsewhere.example"))
  })

  it("may go to the listed hosts, and to no others", () => {
    const policy = { hosts: ["Auth.test", "auth.test:8443"] }
    assert.isTrue(mayReceive(policy, "registry.test", "auth.test"))
    assert.isTrue(mayReceive(policy, "registry.test", "auth.test:8443"))
    assert.isFalse(mayReceive(policy, "registry.test", "auth.test:9"))
    assert.isFalse(mayReceive(policy, "registry.test", "registry.test"))
  })
})
