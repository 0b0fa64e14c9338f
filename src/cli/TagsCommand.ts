/**
 * `effect-oci tags REPOSITORY`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Namespace from "../Namespace.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"
import * as TagFilter from "./TagFilter.ts"

export const TagsCommand = Command.make(
  "tags",
  {
    repository: Flags.place(
      "repository",
      "Whose tags: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE"
    ),
    ...TagFilter.flags,
    digestTags: Flag.Boolean("digest-tags").pipe(
      Flag.withDescription(
        "List tags that are made of a digest too, such as sha256-<hex> and sha256-<hex>.sig; --no-digest-tags leaves them out"
      ),
      Flag.withDefault(true)
    ),
    json: Flags.json,
    connection: Connection.flags
  },
  Effect.fnUntraced(function*({ digestTags, json, repository, ...filter }) {
    const namespace = yield* Namespace.Namespace
    yield* repository.use(
      Locations.anything,
      Effect.fnUntraced(function*({ end, format }) {
        const tags = namespace.tags(end).pipe(
          Stream.filter((tag) => digestTags || !TagFilter.isDigestTag(tag)),
          TagFilter.apply(filter)
        )
        if (!json) return yield* Output.lines(tags)
        yield* Output.json({ repository: format({}), tags: yield* Stream.runCollect(tags) })
      })
    )
  })
).pipe(
  Connection.provide("repository"),
  Command.withAlias("ls"),
  Command.withShortDescription("The tags of a repository"),
  Command.withDescription(
    "Lists the tags of a repository, one a line, in the order of the registry; with --latest the newest first."
  ),
  Command.withExamples([
    { command: "effect-oci tags ghcr.io/team/app", description: "All tags" },
    {
      command: "effect-oci tags --semver \">=1.4 <2\" --latest 1 ghcr.io/team/app",
      description: "The newest version of 1.x, from 1.4 on"
    },
    {
      command: "effect-oci tags --exclude \"(alpine|slim)$\" docker.io/library/node",
      description: "Without some variants"
    }
  ])
)
