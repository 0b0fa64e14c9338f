/**
 * Users as docker sees them: a home directory, an environment, and credential helpers on the PATH.
 */
import { ConfigProvider, Deferred, Effect, FileSystem, Path, Redacted } from "effect"
import type * as Credentials from "effect-oci/Credentials"
import * as DockerConfig from "effect-oci/DockerConfig"
import { Observer, type RegistryEvent } from "effect-oci/Registry"
import { ChildProcess, ChildProcessSpawner } from "effect/process"

/** The files and helpers of a user. */
export interface Home {
  /** Files by their path in the home directory; a string is their text. */
  readonly files?: Readonly<Record<string, unknown>>
  /** The environment, in which `~` is the home directory. */
  readonly env?: Readonly<Record<string, string>>
  /** Helpers by name: shell scripts that run in the home directory. */
  readonly helpers?: Readonly<Record<string, string>>
  /** The layer's option, in which `~` is the home directory. */
  readonly file?: string
}

/** A user's home directory, environment and programs, and the credentials that are found there. */
export const make = Effect.fnUntraced(function*({ env = {}, file, files = {}, helpers = {} }: Home) {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const spawner = yield* ChildProcessSpawner.ChildProcessSpawner
  const home = yield* fs.makeTempDirectoryScoped()
  const write = Effect.fnUntraced(function*(name: string, content: unknown) {
    const target = path.join(home, name)
    yield* fs.makeDirectory(path.dirname(target), { recursive: true })
    yield* fs.writeFileString(target, typeof content === "string" ? content : JSON.stringify(content))
    return target
  })
  for (const [name, content] of Object.entries(files)) yield* write(name, content)
  for (const [name, script] of Object.entries(helpers)) {
    yield* fs.chmod(yield* write(`bin/docker-credential-${name}`, `#!/bin/sh\n${script}\n`), 0o755)
  }

  const running = yield* Deferred.make<ChildProcessSpawner.ChildProcessHandle>()
  const homeSpawner = ChildProcessSpawner.make((command) =>
    command._tag === "PipedCommand"
      ? Effect.die("helpers are not piped")
      : spawner.spawn(ChildProcess.make(command.command, command.args, {
        ...command.options,
        cwd: home,
        env: { PATH: `${path.join(home, "bin")}:/usr/bin:/bin` },
        extendEnv: false
      })).pipe(Effect.tap((handle) => Deferred.succeed(running, handle)))
  )
  const inHome = (text: string) => text.replaceAll("~", home)
  const environment = ConfigProvider.fromEnv({
    env: {
      HOME: home,
      XDG_RUNTIME_DIR: path.join(home, "nowhere"),
      ...Object.fromEntries(Object.entries(env).map(([name, value]) => [name, inHome(value)]))
    }
  })
  const warnings: Array<string> = []
  const observe = (event: RegistryEvent) => Effect.sync(() => event._tag === "Warning" && warnings.push(event.text))
  const inside = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    effect.pipe(
      Effect.provideService(Observer, observe),
      Effect.provideService(ChildProcessSpawner.ChildProcessSpawner, homeSpawner),
      Effect.provideService(ConfigProvider.ConfigProvider, environment)
    )
  const credentials = yield* inside(DockerConfig.make(file === undefined ? {} : { file: inHome(file) }))
  return {
    home,
    credentials,
    write,
    /** Runs something as this user. */
    inside,
    running: Deferred.await(running),
    lookup: (host: string, repository?: string) => inside(Effect.map(lookup(credentials, host, repository), show)),
    /** Warnings so far. */
    warnings,
    /** Lines that helpers have written into the file `calls`. */
    calls: Effect.map(
      Effect.orElseSucceed(fs.readFileString(path.join(home, "calls")), () => ""),
      (text) => text.split("\n").filter((line) => line !== "")
    )
  }
})

export const lookup = (credentials: Credentials.Credentials["Service"], host: string, repository?: string) =>
  credentials.lookup({ host, ...repository === undefined ? {} : { repository } })

export const show = (found: Credentials.Credential | undefined): string | undefined => {
  if (found === undefined) return undefined
  return found._tag === "Basic"
    ? `${found.username}:${Redacted.value(found.password)}`
    : `${found._tag} ${Redacted.value(found.token)}`
}

export const basic = (name: string, password = "pass") => ({
  auth: Buffer.from(`${name}:${password}`).toString("base64")
})

/** A helper that records the servers that it was asked for, and has credentials for all of them. */
export const knows = (username: string, secret: string) =>
  `read server; echo "$server" >> calls; printf '{"ServerURL":"%s","Username":"%s","Secret":"%s"}' "$server" '${username}' '${secret}'`

export const knowsNobody =
  `read server; echo "$server" >> calls; echo "credentials not found in native keychain"; exit 1`

/** A helper that keeps what it is given in a file of its own, and notes what it was asked to do. */
export const keeps = `read line; echo "$1 $line" >> calls
case "$1" in
  store) printf '%s' "$line" > kept;;
  get) cat kept 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; };;
  erase) rm kept 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; };;
esac`
