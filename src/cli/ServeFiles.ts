/**
 * Files that `serve` reads when it starts, and again after SIGHUP: users, rights and the certificate.
 */
import * as Effect from "effect/Effect"
import type * as FileSystem from "effect/FileSystem"
import type * as Path from "effect/Path"
import * as Certificate from "./Certificate.ts"
import type { FileProblems } from "./ConfigurationFile.ts"
import * as Format from "./Format.ts"
import { misuse } from "./ReferenceInput.ts"
import * as ServeSettings from "./ServeSettings.ts"
import * as ServeUsers from "./ServeUsers.ts"
import * as Signals from "./Signals.ts"

/** Returns the files of the certificate that the settings name, if any. */
export const certificateOf = (
  { tlsCert, tlsKey }: ServeSettings.Values
): Effect.Effect<Certificate.Files | undefined, ReturnType<typeof misuse>> => {
  if (tlsCert === undefined && tlsKey === undefined) return Effect.succeed(undefined)
  return tlsCert !== undefined && tlsKey !== undefined
    ? Effect.succeed({ certificate: tlsCert, key: tlsKey })
    : Effect.fail(misuse("--tls-cert and --tls-key require each other"))
}

/** Returns the files with users and rights that the settings name, or `undefined` if every client may do everything. */
export const usersOf = ({ access, htpasswd, user = [] }: ServeSettings.Values): ServeUsers.Files | undefined =>
  user.length === 0 && htpasswd === undefined && access === undefined ? undefined : { user, htpasswd, access }

/** Parts of a running server that can be replaced. */
export interface Running {
  readonly settings: ServeSettings.Values
  readonly users: ServeUsers.Users | undefined
  /** Files of the certificate, and what replaces it. */
  readonly tls: Tls | undefined
}

interface Tls {
  readonly files: Certificate.Files
  readonly replace: (certificate: Certificate.Certificate) => Effect.Effect<void>
}

const reloadUsers = (users: ServeUsers.Users, files: ServeUsers.Files) =>
  Effect.matchEffect(ServeUsers.load(files), {
    onFailure: ({ message }) =>
      Effect.logError(`the former users and rights stay valid: ${Format.oneLine(message.replaceAll("\n", "; "))}`),
    onSuccess: (loaded) =>
      Effect.sync(() => users.replace(loaded)).pipe(
        Effect.andThen(Effect.logInfo("users and rights were read again")),
        Effect.andThen(Effect.forEach(ServeUsers.remarks(loaded), (remark) => Effect.logWarning(remark)))
      )
  })

/** Takes over the settings that a running server can change, and reports the others. */
const apply = Effect.fnUntraced(function*(
  { settings, tls, users }: Running,
  current: ServeSettings.Values,
  reloadCertificate: (files: Certificate.Files) => Effect.Effect<void, never, FileSystem.FileSystem>
) {
  const files = usersOf(current)
  const pair = yield* Effect.orElseSucceed(certificateOf(current), () => undefined)
  const ignored = [
    ...ServeSettings.needRestart(settings, current),
    ...(files === undefined) === (users === undefined) ? [] : ["the begin or end of authentication"],
    ...(pair === undefined) === (tls === undefined) ? [] : ["the begin or end of HTTPS"]
  ]
  if (ignored.length > 0) yield* Effect.logWarning(`changes that need a restart: ${ignored.join(", ")}`)
  if (users !== undefined && files !== undefined) yield* reloadUsers(users, files)
  if (pair !== undefined) yield* reloadCertificate(pair)
})

/**
 * Reads the configuration and its files again after SIGHUP, and the certificate also when its files change. What cannot
 * be used changes nothing, and the problem is logged.
 */
export const follow = Effect.fnUntraced(function*(
  running: Running,
  load: Effect.Effect<ServeSettings.Values, FileProblems, FileSystem.FileSystem | Path.Path>
) {
  const { tls } = running
  let pair = tls?.files
  const reloadCertificate = (files: Certificate.Files) => {
    pair = files
    return tls === undefined ? Effect.void : Certificate.reload(files, tls.replace)
  }
  if (tls !== undefined) {
    const files = () => pair ?? tls.files
    yield* Effect.forkScoped(Certificate.watch(files, Effect.suspend(() => reloadCertificate(files()))))
  }
  yield* Signals.onEach(
    "SIGHUP",
    Effect.matchEffect(load, {
      onFailure: ({ message }) =>
        Effect.logError(`the former configuration stays: ${Format.oneLine(message.replaceAll("\n", "; "))}`),
      onSuccess: (current) => apply(running, current, reloadCertificate)
    })
  )
})
