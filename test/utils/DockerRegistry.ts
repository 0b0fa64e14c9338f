/**
 * CNCF distribution, as Debian packages it (`docker-registry`, 2.8): a registry by other authors.
 */
import { Context, Effect, Layer } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as TokenServer from "./TokenServer.ts"

const command = "docker-registry"

/** True if it is on PATH. In CI, tests that need it always run, and fail without it. */
export const available = process.env["CI"] !== undefined ||
  (process.env["PATH"] ?? "").split(Path.delimiter).some((directory) => Fs.existsSync(Path.join(directory, command)))

/** Its address. */
export class DockerRegistry extends Context.Service<DockerRegistry, { readonly host: string }>()(
  "effect-oci/test/DockerRegistry"
) {}

/** The user of a registry that asks for Basic credentials. */
export const user = { username: "someone", password: "s3cret-marker" } as const

// bcrypt of the password above
const htpasswd = `${user.username}:$2b$04$abcdefghijklmnopqrstuu8koV0eAd2T1JkwqFjeinwOwELF4qh.W\n`

/** Authentication by a password of its own, or by the tokens of a service. Default: everything is allowed. */
export interface Options {
  readonly basicAuth?: boolean
  /** True if manifests and blobs can be deleted. Default: true. */
  readonly isDeleting?: boolean
  /** The address of a `TokenServer`. */
  readonly realm?: string
}

const configuration = (directory: string, { basicAuth = false, isDeleting = true, realm }: Options) => ({
  version: 0.1,
  log: { level: "info", formatter: "json" },
  storage: { filesystem: { rootdirectory: Path.join(directory, "data") }, delete: { enabled: isDeleting } },
  http: { addr: "127.0.0.1:0", secret: "any" },
  ...realm === undefined ? {} : {
    auth: {
      token: {
        realm,
        service: TokenServer.service,
        issuer: TokenServer.issuer,
        rootcertbundle: Path.join(directory, "certificate.pem")
      }
    }
  },
  ...basicAuth ? { auth: { htpasswd: { realm: "test", path: Path.join(directory, "htpasswd") } } } : {}
})

/** Starts one that keeps its content in a folder of its own; both are gone when the scope closes. */
export const make = Effect.fnUntraced(function*(options: Options = {}) {
  const directory = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "docker-registry-"))),
    (directory) => Effect.sync(() => Fs.rmSync(directory, { recursive: true, force: true }))
  )
  const config = Path.join(directory, "config.yml") // JSON is YAML
  Fs.writeFileSync(config, JSON.stringify(configuration(directory, options)))
  Fs.writeFileSync(Path.join(directory, "htpasswd"), htpasswd)
  Fs.writeFileSync(Path.join(directory, "certificate.pem"), TokenServer.certificate)

  const child = yield* Effect.acquireRelease(
    Effect.sync(() => ChildProcess.spawn(command, ["serve", config], { stdio: ["ignore", "ignore", "pipe"] })),
    (child) =>
      Effect.callback<void>((resume) => {
        if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
        child.once("exit", () => resume(Effect.void))
        child.kill("SIGKILL")
      })
  )
  return yield* Effect.callback<{ readonly host: string }>((resume) => {
    let log = ""
    child.once("error", (error) => resume(Effect.die(error)))
    child.once("exit", () => resume(Effect.die(`${command} did not start: ${log}`)))
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      log = (log + text).slice(-65_536)
      const port = /listening on 127\.0\.0\.1:([0-9]+)/.exec(log)?.[1]
      if (port !== undefined) resume(Effect.succeed({ host: `127.0.0.1:${port}` }))
    })
  })
})

export const layer: Layer.Layer<DockerRegistry> = Layer.effect(DockerRegistry, make())
