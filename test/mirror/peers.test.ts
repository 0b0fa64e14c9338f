/**
 * Files of regsync and skopeo, as these programs read them: their dry runs name the same pairs as our rules.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Stream } from "effect"
import * as MirrorConfig from "effect-oci/MirrorConfig"
import * as RepositoryRule from "effect-oci/RepositoryRule"
import * as TagRule from "effect-oci/TagRule"
import { Images } from "effect-oci/testing"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { temporaryFolder } from "../utils/layouts.ts"
import * as Served from "../utils/Served.ts"

const available = (command: string): boolean =>
  (process.env["PATH"] ?? "").split(Path.delimiter).some((directory) => Fs.existsSync(Path.join(directory, command)))

const repositories = ["team/app", "team/db", "team/db-test", "other/app"]

const tags = [
  "latest",
  "1",
  "1.2",
  "1.2.3",
  "v1.3.0",
  "1.3.0-rc1",
  "1.3.0-alpine",
  "2.0.0",
  "2.0.0-rc.1",
  "3.20",
  "20240101"
]

/** Serves a registry in which each repository has each tag. */
const source = Effect.gen(function*() {
  const served = yield* Served.memory()
  for (const name of repositories) {
    yield* Images.pushImage(served.registry, Images.repository(name), [name], { tags: tags.map(Images.tag) })
  }
  return served
})

/** Runs a program to its end, and returns what it prints. */
const run = (command: string, ...args: ReadonlyArray<string>) =>
  Effect.callback<string>((resume) => {
    ChildProcess.execFile(command, args, { encoding: "utf8" }, (_, stdout, stderr) =>
      resume(Effect.succeed(stdout + stderr)))
  })

/** Returns the pairs of a configuration: a source and a destination, each with its tag. */
const pairsOf = (config: MirrorConfig.MirrorConfig) =>
  Stream.fromIterable(config.rules).pipe(
    Stream.flatMap((rule) =>
      Stream.map(
        RepositoryRule.expand(rule, () => Stream.fromIterable(repositories.map(Images.repository))),
        ({ destinations, source }) =>
          TagRule.decide(rule.tags, TagRule.exactTags(rule.tags) ?? tags.map(Images.tag))
            .filter(({ selected }) => selected)
            .flatMap(({ tag }) =>
              destinations.map((destination) =>
                `${source.registry}/${source.repository}:${tag} > ${destination.registry}/${destination.repository}:${
                  RepositoryRule.tagOf(destination.tag, tag)
                }`
              )
            )
      )
    ),
    Stream.runCollect,
    Effect.map((pairs) => pairs.flat().sort())
  )

describe.skipIf(!available("regsync"))("regsync check", () => {
  it.live("names the same pairs", () =>
    Effect.gen(function*() {
      const { host } = yield* source
      const target = yield* Served.memory()
      const file = Path.join(yield* temporaryFolder, "regsync.yml")
      Fs.writeFileSync(
        file,
        `
version: 1
creds: [{ registry: "${host}", tls: disabled }, { registry: "${target.host}", tls: disabled }]
sync:
  - { source: "${host}/other/app:latest", target: "${target.host}/one:renamed", type: image }
  - { source: "${host}/team/app", target: "${target.host}/all", type: repository }
  - { source: "${host}/team/app", target: "${target.host}/some", type: repository, tags: { allow: ["1|2", "v.*"], deny: [".*rc.*"] } }
  - { source: "${host}", target: "${target.host}/whole", type: registry, repos: { allow: ["team/.*"], deny: [".*-test"] }, tags: { allow: ["1.*"] } }
`
      )
      const text = yield* run("regsync", "check", "-c", file)
      const found = text.split("\n").filter((line) => line.includes("Image sync needed")).map((line) => {
        const field = (name: string) => new RegExp(`${name}[=":]+([^" ,}]+)`).exec(line)?.[1] ?? line
        return `${field("source")} > ${field("target")}`
      })
      const { config } = yield* MirrorConfig.load(file)
      assert.isAbove(found.length, 20, text)
      assert.deepStrictEqual(found.sort(), yield* pairsOf(config))
    }).pipe(Effect.provide(NodeServices.layer)))
})

describe.skipIf(!available("skopeo"))("skopeo sync --dry-run", () => {
  it.live("names the same pairs", () =>
    Effect.gen(function*() {
      const { host } = yield* source
      const file = Path.join(yield* temporaryFolder, "sync.yml")
      Fs.writeFileSync(
        file,
        `
"${host}":
  images: { team/db: ["1", latest], other/app: [] }
  images-by-tag-regex: { team/db-test: '^1\\.[23]' }
  tls-verify: false
`
      )
      const to = "m.test/mirror"
      const text = yield* run("skopeo", "sync", "--src", "yaml", "--dest", "docker", "--dry-run", file, to)
      const found = Array.from(
        text.matchAll(/from="docker:\/\/([^"]+)" to="docker:\/\/([^"]+)"/g),
        ([, from, to]) => `${from} > ${to}`
      )
      const { config } = yield* MirrorConfig.load(file, { to })
      assert.isAbove(found.length, 10, text)
      assert.deepStrictEqual(found.sort(), yield* pairsOf(config))
    }).pipe(Effect.provide(NodeServices.layer)))
})
