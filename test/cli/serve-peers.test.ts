/**
 * Clients of other projects with `effect-oci serve` over HTTPS, with users and rights, each if it is on PATH.
 */
import { assert, describe, it } from "@effect/vitest"
import { hashSync } from "bcryptjs"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Certificates from "../utils/certificates.ts"
import { runOther } from "../utils/Program.ts"
import { serve, temporary } from "../utils/serving.ts"

const has = (command: string): boolean =>
  (process.env["PATH"] ?? "").split(Path.delimiter).some((directory) => Fs.existsSync(Path.join(directory, command)))

const rights = `
rules:
  - repositories: public/**
    anonymous: true
    allow: pull
  - repositories: "**"
    users: ada
    allow: [pull, push, delete]
`

/** A server, and what runs commands that trust its certificate, in a folder of their own. */
const worldOf = Effect.fnUntraced(function*(auth: "basic" | "token") {
  const { folder, write } = yield* temporary
  write("users", `ada:${hashSync("s3cret", 8)}\n`)
  write("access.yml", rights)
  write("tls.crt", Certificates.serverCertificate)
  write("tls.key", Certificates.serverKey)
  const config = "port: 0\nhtpasswd: users\naccess: access.yml\ntlsCert: tls.crt\ntlsKey: tls.key\ndir: content\n" +
    `auth: ${auth}\n`
  const { host } = yield* serve("--config", write("serve.yml", config))
  const options = {
    cwd: folder,
    env: {
      HOME: folder,
      XDG_RUNTIME_DIR: folder,
      DOCKER_CONFIG: folder,
      COSIGN_PASSWORD: "",
      SSL_CERT_FILE: write("ca.crt", Certificates.authority)
    }
  }
  const run = Effect.fnUntraced(function*(command: string, ...args: ReadonlyArray<string>) {
    const { code, stderr, stdout } = yield* runOther(command, options, ...args)
    assert.strictEqual(code, 0, `${command} ${args.join(" ")}: ${stderr}`)
    return stdout.trim()
  })
  const fails = Effect.fnUntraced(function*(command: string, ...args: ReadonlyArray<string>) {
    assert.notStrictEqual((yield* runOther(command, options, ...args)).code, 0, `${command} ${args.join(" ")}`)
  })
  write("hello.txt", "hello\n")
  yield* run("tar", "-cf", "layer.tar", "hello.txt")
  return { host, run, fails, read: (file: string) => Fs.readFileSync(Path.join(folder, file), "utf8") }
})

const credentials = ["-u", "ada", "-p", "s3cret"]

const timeout = 120_000

describe.each(["basic", "token"] as const)(
  "effect-oci serve with a certificate, users, rights and %s",
  { timeout },
  (auth) => {
    const world = worldOf(auth)

    it.live.skipIf(!has("crane"))("works with crane", () =>
      Effect.gen(function*() {
        const { fails, host, run } = yield* world
        yield* fails("crane", "append", "-f", "layer.tar", "-t", `${host}/team/app:1`)
        yield* run("crane", "auth", "login", host, ...credentials)
        yield* run("crane", "append", "-f", "layer.tar", "-t", `${host}/team/app:1`)
        yield* run("crane", "copy", `${host}/team/app:1`, `${host}/public/app:1`)
        assert.strictEqual(yield* run("crane", "catalog", host), "public/app\nteam/app")
        const digest = yield* run("crane", "digest", `${host}/team/app:1`)
        yield* run("crane", "auth", "logout", host)
        assert.strictEqual(yield* run("crane", "digest", `${host}/public/app:1`), digest)
        yield* fails("crane", "digest", `${host}/team/app:1`)
      }))

    it.live.skipIf(!has("oras"))("works with oras", () =>
      Effect.gen(function*() {
        const { fails, host, read, run } = yield* world
        yield* fails("oras", "login", host, "-u", "ada", "-p", "wrong")
        yield* run("oras", "login", host, ...credentials)
        yield* run("oras", "push", `${host}/public/notes:1`, "hello.txt")
        yield* run("oras", "attach", "--artifact-type", "text/plain", `${host}/public/notes:1`, "hello.txt")
        yield* run("oras", "logout", host)
        yield* run("oras", "pull", "-o", "pulled", `${host}/public/notes:1`)
        assert.strictEqual(read("pulled/hello.txt"), "hello\n")
        yield* fails("oras", "push", `${host}/public/notes:2`, "hello.txt")
      }))

    it.live.skipIf(!has("skopeo") || !has("oras"))("works with skopeo", () =>
      Effect.gen(function*() {
        const { fails, host, run } = yield* world
        yield* run("oras", "push", "--oci-layout", "layout:1", "hello.txt")
        const to = `docker://${host}/public/app:1`
        yield* fails("skopeo", "--insecure-policy", "copy", "oci:layout:1", to)
        yield* run("skopeo", "--insecure-policy", "copy", "--dest-creds", "ada:s3cret", "oci:layout:1", to)
        yield* run("skopeo", "inspect", "--raw", to)
        yield* run("skopeo", "delete", "--creds", "ada:s3cret", to)
        yield* fails("skopeo", "inspect", "--raw", to)
      }))

    it.live.skipIf(!has("cosign") || !has("crane"))("works with cosign", () =>
      Effect.gen(function*() {
        const { host, run } = yield* world
        yield* run("crane", "auth", "login", host, ...credentials)
        yield* run("crane", "append", "-f", "layer.tar", "-t", `${host}/public/app:1`)
        const image = `${host}/public/app@${yield* run("crane", "digest", `${host}/public/app:1`)}`
        yield* run("cosign", "generate-key-pair")
        const offline = ["--key", "cosign.key", "--tlog-upload=false", "--use-signing-config=false"]
        yield* run("cosign", "sign", "-y", ...offline, "--new-bundle-format=false", image)
        const key = ["--key", "cosign.pub", "--insecure-ignore-tlog", "--new-bundle-format=false"]
        yield* run("cosign", "verify", ...key, image)
      }))

    it.live.skipIf(!has("helm"))("works with helm", () =>
      Effect.gen(function*() {
        const { fails, host, run } = yield* world
        yield* run("helm", "create", "chart")
        yield* run("helm", "package", "chart")
        yield* fails("helm", "push", "chart-0.1.0.tgz", `oci://${host}/team`)
        yield* run("helm", "registry", "login", host, ...credentials)
        yield* run("helm", "push", "chart-0.1.0.tgz", `oci://${host}/team`)
        yield* run("helm", "pull", `oci://${host}/team/chart`, "--version", "0.1.0")
      }))
  }
)
