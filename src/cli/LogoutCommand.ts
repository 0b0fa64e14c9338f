/**
 * `effect-oci logout HOST`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Schema from "effect/Schema"
import * as DockerConfig from "../auth/DockerConfig.ts"
import * as DockerLogin from "../auth/DockerLogin.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import { notKept } from "./LoginCommand.ts"
import * as Messages from "./Messages.ts"
import * as Output from "./Output.ts"

/** Schema of the result. */
export const Logout = Schema.Struct({ host: Schema.String, source: Schema.String, changed: Schema.Boolean })

export const LogoutCommand = Command.make(
  "logout",
  { host: Flags.host, json: Flags.json, authfile: Connection.commonFlags.authfile },
  Effect.fnUntraced(function*({ authfile, host, json }) {
    const options = { file: Option.getOrUndefined(authfile) }
    const { changed, source } = yield* Effect.mapError(DockerLogin.logout(host, options), notKept)
    const others = (yield* Effect.mapError(DockerConfig.explain({ host }, options), notKept))
      .filter((looked) => looked.found === "entry" && looked.source !== source)
    for (const other of others) yield* Messages.note(`${other.source} still has credentials for ${host}`)
    yield* json
      ? Output.json(Logout, { host, source, changed })
      : Output.line(changed ? `logged out of ${host}: ${source}` : `not logged in to ${host}: ${source}`)
  })
).pipe(
  Command.withShortDescription("Deletes the stored name and password for a registry"),
  Command.withDescription("Deletes the credentials that login, or docker login, has stored for a registry."),
  Command.withExamples([{ command: "effect-oci logout ghcr.io", description: "Log out" }])
)
