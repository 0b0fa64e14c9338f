import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Certificates from "../utils/certificates.ts"
import { certificateAt, eventually, getSecure, refusal, serve, temporary } from "../utils/serving.ts"

/** A certificate of the server, and its key, in files. */
const pair = Effect.map(temporary, ({ write }) => {
  const certificate = write("tls.crt", Certificates.serverCertificate)
  const key = write("tls.key", Certificates.serverKey)
  return {
    certificate,
    key,
    flags: ["--tls-cert", certificate, "--tls-key", key],
    /** Replaces both by another certificate and its key. */
    replace: () => {
      Fs.writeFileSync(certificate, Certificates.clientCertificate)
      Fs.writeFileSync(key, Certificates.clientKey)
    }
  }
})

// the tests start processes, which takes seconds on a busy machine
const timeout = 60_000

describe("effect-oci serve --tls-cert --tls-key", { timeout }, () => {
  it.live("serves HTTPS and prints its address as such", () =>
    Effect.gen(function*() {
      const { flags } = yield* pair
      const { host, line } = yield* serve(...flags)
      assert.strictEqual(line, `listening on https://${host}`)
      assert.strictEqual(yield* getSecure(host, "/v2/"), 200)
    }))

  it.live("speaks TLS 1.2 and nothing older", () =>
    Effect.gen(function*() {
      const { flags } = yield* pair
      const { host } = yield* serve(...flags)
      assert.strictEqual(yield* certificateAt(host, { maxVersion: "TLSv1.2" }), "server")
      const old = yield* certificateAt(host, {
        minVersion: "TLSv1",
        maxVersion: "TLSv1.1",
        ciphers: "DEFAULT@SECLEVEL=0"
      })
      assert.match(old, /protocol version/)
    }))

  it.live("reads the certificate again when both files have changed", () =>
    Effect.gen(function*() {
      const { flags, replace } = yield* pair
      const { host } = yield* serve(...flags)
      assert.strictEqual(yield* certificateAt(host), "server")
      replace()
      yield* eventually(certificateAt(host), (name) => name === "client")
    }))

  it.live("reads the certificate again after SIGHUP", () =>
    Effect.gen(function*() {
      const { flags, replace } = yield* pair
      const { ended, host, kill } = yield* serve(...flags)
      replace()
      kill("SIGHUP")
      yield* eventually(certificateAt(host), (name) => name === "client")
      kill("SIGTERM")
      assert.include((yield* ended).stderr, "the certificate was read again: client, valid until 2126-10-31")
    }))

  it.live("keeps the former certificate if the new one does not fit its key, and reports it", () =>
    Effect.gen(function*() {
      const { certificate, flags, key } = yield* pair
      const { ended, host, kill } = yield* serve(...flags)
      Fs.writeFileSync(certificate, Certificates.clientCertificate)
      kill("SIGHUP")
      const statuses = yield* Effect.replicateEffect(getSecure(host, "/v2/"), 20)
      assert.isTrue(statuses.every((status) => status === 200))
      kill("SIGTERM")
      const { code, stderr } = yield* ended
      assert.strictEqual(code, 0)
      assert.include(
        stderr,
        `the former certificate stays: cannot use ${key}: it is not the key of the certificate in ${certificate}`
      )
    }))

  it.live("does not start with one flag without the other", () =>
    Effect.gen(function*() {
      const { certificate } = yield* pair
      assert.include(yield* refusal(2, "--tls-cert", certificate), "--tls-cert and --tls-key require each other")
    }))

  it.live("does not start with a pair that it cannot use", () =>
    Effect.gen(function*() {
      const { certificate, flags, key } = yield* pair
      assert.include(
        yield* refusal(1, "--tls-cert", `${certificate}.gone`, "--tls-key", key),
        `cannot read ${certificate}.gone: there is no such file`
      )
      Fs.writeFileSync(key, Certificates.clientKey)
      assert.include(yield* refusal(1, ...flags), "it is not the key of the certificate in")
      Fs.writeFileSync(key, "no key")
      assert.include(yield* refusal(1, ...flags), `cannot use ${key}: it is not a private key in PEM`)
      Fs.writeFileSync(certificate, "no certificate")
      assert.include(yield* refusal(1, ...flags), `cannot use ${certificate}: it is not a certificate in PEM`)
    }))
})
