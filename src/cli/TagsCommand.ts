/**
 * `effect-oci tags REPOSITORY`
 */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import * as Namespace from "../Namespace.ts"
import * as TagFilter from "../TagFilter.ts"
import * as Connection from "./Connection.ts"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"
import * as Output from "./Output.ts"
import * as TagFlags from "./TagFlags.ts"

/** Schema of the result. */
export const Tags = Schema.Struct({ repository: Schema.String, tags: Schema.Array(Schema.String) })

export const TagsCommand = Command.make(
  "tags",
  {
    repository: Flags.place(
      "repository",
      "Repository: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE"
    ),
    ...TagFlags.flags,
    digestTags: Flag.Boolean("digest-tags").pipe(
      Flag.withDescription(
        "List also tags made of a digest, such as sha256-<hex> and sha256-<hex>.sig; --no-digest-tags omits them. " +
          "Default: listed"
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
        const tags = TagFilter.apply(
          namespace.tags(end),
          TagFlags.filterOf(filter, digestTags ? "include" : "exclude")
        )
        if (!json) return yield* Output.lines(tags)
        yield* Output.json(Tags, { repository: format({}), tags: yield* Stream.runCollect(tags) })
      })
    )
  })
).pipe(
  Connection.provide("repository"),
  Command.withAlias("ls"),
  Command.withShortDescription("Lists the tags of a repository"),
  Command.withDescription(
    "Lists the tags of a repository, one per line, in the order of the registry. With --latest, the highest version " +
      "is first."
  ),
  Command.withExamples([
    { command: "effect-oci tags ghcr.io/team/app", description: "List all tags" },
    {
      command: "effect-oci tags --semver \">=1.4 <2\" --latest 1 ghcr.io/team/app",
      description: "Print the latest version of 1.x, from 1.4 on"
    },
    {
      command: "effect-oci tags --exclude \"(alpine|slim)$\" docker.io/library/node",
      description: "Omit some variants"
    }
  ])
)
