/**
 * Names of Docker Hub.
 */
import { assert, describe, it } from "@effect/vitest"
import * as DockerHub from "effect-oci/DockerHub"

describe("Docker Hub", () => {
  it.each(["docker.io", "index.docker.io", "registry-1.docker.io", "Docker.IO"])(
    "is %s",
    (host) => assert.isTrue(DockerHub.isHost(host))
  )

  it.each(["docker.io:443", "hub.docker.com", "auth.docker.io", "mirror.gcr.io", ""])(
    "is not %j",
    (host) => assert.isFalse(DockerHub.isHost(host))
  )

  it.each([["alpine", "library/alpine"], ["grafana/loki", "grafana/loki"]])("has %s as %s", (familiar, full) => {
    assert.strictEqual(DockerHub.fullName(familiar), full)
    assert.strictEqual(DockerHub.familiarName(full), familiar)
  })

  it("keeps the name of a repository that has library as one of several parts", () =>
    assert.strictEqual(DockerHub.familiarName("library/team/app"), "library/team/app"))
})
