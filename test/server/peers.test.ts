/**
 * Clients of other projects, each if it is on PATH.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import * as Authentication from "effect-oci/Authentication"
import type * as RegistryServer from "effect-oci/RegistryServer"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { memory } from "../utils/Served.ts"

const has = (...commands: ReadonlyArray<string>): boolean =>
  commands.every((command) =>
    (process.env["PATH"] ?? "").split(Path.delimiter).some((directory) => Fs.existsSync(Path.join(directory, command)))
  )

/** Serves a registry, and runs commands in their own folder with their own configuration. */
const world = Effect.fnUntraced(function*(options?: RegistryServer.Options) {
  const { host } = yield* memory(options)
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "peers-"))),
    (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true, force: true }))
  )
  const run = (command: string, ...args: ReadonlyArray<string>) =>
    Effect.callback<string>((resume) => {
      const child = ChildProcess.execFile(command, args, {
        cwd: directory,
        env: {
          PATH: process.env["PATH"],
          HOME: directory,
          XDG_RUNTIME_DIR: directory,
          DOCKER_CONFIG: directory,
          COSIGN_PASSWORD: ""
        }
      }, (error, stdout, stderr) => {
        const said = `${command} ${args.join(" ")}: ${stderr}`
        resume(error === null ? Effect.succeed(stdout.trim()) : Effect.die(new Error(said)))
      })
      return Effect.sync(() => child.kill())
    })
  const fails = (command: string, ...args: ReadonlyArray<string>) =>
    Effect.map(Effect.exit(run(command, ...args)), ({ _tag }) => assert.strictEqual(_tag, "Failure"))
  Fs.writeFileSync(Path.join(directory, "hello.txt"), "hello\n")
  yield* run("tar", "-cf", "layer.tar", "hello.txt")
  return { host, run, fails, read: (file: string) => Fs.readFileSync(Path.join(directory, file), "utf8") }
})

const user = { name: "ada", password: "s3cret" }
const check = Authentication.passwords({ [user.name]: Redacted.make(user.password) })

describe("a served registry", () => {
  it.live.skipIf(!has("crane"))(
    "works with crane: push, pull, list, copy and delete",
    () =>
      Effect.gen(function*() {
        const { fails, host, run } = yield* world()
        yield* run("crane", "append", "-f", "layer.tar", "-t", `${host}/app:1`)
        const digest = yield* run("crane", "digest", `${host}/app:1`)
        yield* run("crane", "validate", "--remote", `${host}/app:1`)
        yield* run("crane", "pull", "--format=oci", `${host}/app:1`, "pulled")
        yield* run("crane", "push", "pulled", `${host}/app:2`)
        yield* run("crane", "copy", `${host}/app:1`, `${host}/team/app:1`)
        assert.strictEqual(yield* run("crane", "digest", `${host}/team/app:1`), digest)
        assert.strictEqual(yield* run("crane", "ls", `${host}/app`), "1\n2")
        assert.strictEqual(yield* run("crane", "catalog", host), "app\nteam/app")
        yield* run("crane", "delete", `${host}/app@${digest}`)
        yield* fails("crane", "digest", `${host}/app:1`)
      })
  )

  it.live.skipIf(!has("oras"))(
    "works with oras: push, pull, attach, discover and copy",
    () =>
      Effect.gen(function*() {
        const { fails, host, read, run } = yield* world()
        const oras = (...args: ReadonlyArray<string>) => run("oras", ...args, "--plain-http")
        yield* oras("push", `${host}/art:1`, "--artifact-type", "application/vnd.example", "hello.txt:text/plain")
        yield* oras(
          "attach",
          `${host}/art:1`,
          "--artifact-type",
          "application/vnd.example.sbom",
          "hello.txt:text/plain"
        )
        yield* run("oras", "cp", "-r", "--from-plain-http", "--to-plain-http", `${host}/art:1`, `${host}/copy:1`)
        for (const name of ["art", "copy"]) {
          const { referrers } = JSON.parse(yield* oras("discover", "--format", "json", `${host}/${name}:1`))
          assert.deepStrictEqual(
            referrers.map(({ artifactType }: { readonly artifactType: string }) => artifactType),
            ["application/vnd.example.sbom"]
          )
        }
        yield* oras("pull", `${host}/copy:1`, "-o", "pulled")
        assert.strictEqual(read("pulled/hello.txt"), "hello\n")
        assert.strictEqual(yield* oras("repo", "tags", `${host}/art`), "1")
        yield* oras("manifest", "delete", "-f", `${host}/art:1`)
        yield* fails("oras", "pull", `${host}/art:1`, "--plain-http")
      })
  )

  it.live.skipIf(!has("skopeo", "umoci"))(
    "works with skopeo and umoci: copy, inspect and delete",
    () =>
      Effect.gen(function*() {
        const { fails, host, read, run } = yield* world()
        const from = "--src-tls-verify=false"
        const to = "--dest-tls-verify=false"
        yield* run("umoci", "init", "--layout", "made")
        yield* run("umoci", "new", "--image", "made:1")
        yield* run("umoci", "insert", "--rootless", "--image", "made:1", "hello.txt", "/hello.txt")
        yield* run("skopeo", "copy", to, "oci:made:1", `docker://${host}/app:1`)
        yield* run("skopeo", "copy", from, to, `docker://${host}/app:1`, `docker://${host}/team/app:1`)
        const inspected = JSON.parse(
          yield* run("skopeo", "inspect", "--tls-verify=false", `docker://${host}/team/app:1`)
        )
        assert.deepStrictEqual(inspected.RepoTags, ["1"])
        yield* run("skopeo", "copy", from, `docker://${host}/team/app:1`, "oci:back:1")
        yield* run("umoci", "unpack", "--rootless", "--image", "back:1", "bundle")
        assert.strictEqual(read("bundle/rootfs/hello.txt"), "hello\n")
        yield* run("skopeo", "delete", "--tls-verify=false", `docker://${host}/app:1`)
        yield* fails("skopeo", "inspect", "--tls-verify=false", `docker://${host}/app:1`)
      })
  )

  it.live.skipIf(!has("crane", "cosign"))(
    "works with cosign: sign and verify",
    () =>
      Effect.gen(function*() {
        const { fails, host, run } = yield* world()
        yield* run("crane", "append", "-f", "layer.tar", "-t", `${host}/app:1`)
        const image = `${host}/app@${yield* run("crane", "digest", `${host}/app:1`)}`
        const offline = ["--new-bundle-format=false", "--allow-http-registry"]
        const verify = ["verify", "--key", "cosign.pub", "--insecure-ignore-tlog", ...offline, image] as const
        yield* run("cosign", "generate-key-pair")
        yield* fails("cosign", ...verify)
        yield* run(
          "cosign",
          "sign",
          "-y",
          "--key",
          "cosign.key",
          "--tlog-upload=false",
          "--use-signing-config=false",
          ...offline,
          image
        )
        assert.include(yield* run("cosign", ...verify), image.replace(/^.*@/, ""))
      })
  )

  for (
    const authentication of [
      Authentication.basic({ check }),
      Authentication.bearer({ service: "registry.test", check })
    ]
  ) {
    const credentials = ["-u", user.name, "-p", user.password] as const
    const scheme = authentication._tag

    it.live.skipIf(!has("crane"))(`accepts crane by ${scheme} after its login`, () =>
      Effect.gen(function*() {
        const { fails, host, run } = yield* world({ authentication })
        const push = ["append", "-f", "layer.tar", "-t", `${host}/app:1`] as const
        yield* fails("crane", ...push)
        yield* run("crane", "auth", "login", host, ...credentials)
        yield* run("crane", ...push)
        yield* run("crane", "copy", `${host}/app:1`, `${host}/team/app:1`)
        assert.strictEqual(yield* run("crane", "catalog", host), "app\nteam/app")
      }))

    it.live.skipIf(!has("oras"))(`accepts oras by ${scheme} after its login`, () =>
      Effect.gen(function*() {
        const { fails, host, read, run } = yield* world({ authentication })
        const push = ["push", "--plain-http", `${host}/art:1`, "hello.txt:text/plain"] as const
        yield* fails("oras", ...push)
        yield* run("oras", "login", "--plain-http", host, ...credentials)
        yield* run("oras", ...push)
        yield* run("oras", "pull", "--plain-http", `${host}/art:1`, "-o", "pulled")
        assert.strictEqual(read("pulled/hello.txt"), "hello\n")
      }))

    it.live.skipIf(!has("skopeo", "umoci"))(
      `accepts skopeo by ${scheme} after its login`,
      () =>
        Effect.gen(function*() {
          const { fails, host, run } = yield* world({ authentication })
          yield* run("umoci", "init", "--layout", "made")
          yield* run("umoci", "new", "--image", "made:1")
          const copy = ["copy", "--dest-tls-verify=false", "oci:made:1", `docker://${host}/app:1`] as const
          yield* fails("skopeo", ...copy)
          yield* run("skopeo", "login", "--tls-verify=false", host, ...credentials)
          yield* run("skopeo", ...copy)
          const inspected = yield* run("skopeo", "inspect", "--tls-verify=false", `docker://${host}/app:1`)
          assert.deepStrictEqual(JSON.parse(inspected).RepoTags, ["1"])
        })
    )
  }
})
