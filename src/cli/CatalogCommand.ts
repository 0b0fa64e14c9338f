/**
 * `effect-oci catalog HOST`
 */
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Output from "./Output.ts"

export const CatalogCommand = Command.make(
  "catalog",
  {
    host: Flags.host,
    fullRef: Flags.onOff("full-ref", "Print the host with each"),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ fullRef, host, json }) {
    const namespace = yield* Namespace.Namespace
    const registry = yield* namespace.registry(host)
    const repositories = Stream.map(registry.repositories(), (name) => fullRef ? `${host}/${name}` : name)
    if (!json) return yield* Output.lines(repositories)
    yield* Output.json({ host, repositories: yield* Stream.runCollect(repositories) })
  })
).pipe(
  Connection.provide("host"),
  Command.withShortDescription("The repositories of a registry"),
  Command.withDescription(
    "Lists the repositories of a registry, one a line, as far as it does that: it is no part of the specification, and large " +
      "public registries do not."
  ),
  Command.withExamples([
    { command: "effect-oci catalog 127.0.0.1:5000", description: "What is in the registry on this machine" }
  ])
)
