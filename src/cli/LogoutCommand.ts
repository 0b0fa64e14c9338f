/**
 * `effect-oci logout HOST`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as DockerConfig from "../auth/DockerConfig.ts"
import * as DockerLogin from "../auth/DockerLogin.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import { notKept } from "./LoginCommand.ts"
import * as Output from "./Output.ts"

export const LogoutCommand = Command.make(
  "logout",
  { host: Flags.host, json: Flags.json, authfile: Connection.commonFlags.authfile },
  Effect.fnUntraced(function*({ authfile, host, json }) {
    const options = { file: Option.getOrUndefined(authfile) }
    const { changed, source } = yield* Effect.mapError(DockerLogin.logout(host, options), notKept)
    const others = (yield* Effect.mapError(DockerConfig.explain({ host }, options), notKept))
      .filter((looked) => looked.found === "entry" && looked.source !== source)
    for (const other of others) yield* Output.note(`${other.source} still has credentials for ${host}`)
    yield* json
      ? Output.json({ host, source, changed })
      : Output.line(changed ? `logged out of ${host}: ${source}` : `not logged in to ${host}: ${source}`)
  })
).pipe(
  Command.withShortDescription("Forget the name and password for a registry"),
  Command.withDescription("Forgets what login, or docker login, has kept for a registry."),
  Command.withExamples([{ command: "effect-oci logout ghcr.io", description: "Log out" }])
)
