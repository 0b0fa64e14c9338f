/**
 * `mirror run` that is killed at random moments, against CNCF distribution, while the tags of the source move.
 */
import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as MemoryRegistry from "effect-oci/MemoryRegistry"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as DockerRegistry from "../utils/DockerRegistry.ts"
import { pushImage, repository, tag } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import { imagesOf } from "../utils/mirrors.ts"
import * as Program from "../utils/Program.ts"
import * as Proxy from "../utils/Proxy.ts"
import { connect } from "../utils/ScriptedServer.ts"
import * as Served from "../utils/Served.ts"

const rounds = process.env["EFFECT_OCI_LONG"] === undefined ? 3 : 30
const repositories = ["a", "b", "c"]
const tags = ["1", "2", "3", "4"]

// milliseconds in which the command starts, and in which a run of all tags takes place
const start = 400
const span = 1600

/** A PUT of a tag at the destination, with the digest that it set. */
interface Put {
  readonly place: string
  readonly digest: string
}

describe("a run of a mirror that is killed", () => {
  it.live.skipIf(!DockerRegistry.available)(
    "is continued by the next one, and no tag ends at an older image",
    () =>
      Effect.gen(function*() {
        const source = yield* MemoryRegistry.make()
        const from = yield* Served.serve(source)
        const { host } = yield* DockerRegistry.make()
        const puts: Array<Put> = []
        const near = yield* Proxy.make(host, {
          onHeaders: (method, url, headers) => {
            const place = url.split("/v2/")[1]
            const digest = headers["docker-content-digest"]
            if (method === "PUT" && place?.includes("/manifests/") === true && typeof digest === "string") {
              puts.push({ place, digest })
            }
          }
        })
        const folder = yield* temporaryFolder
        const file = Path.join(folder, "mirror.yml")
        Fs.writeFileSync(
          file,
          `version: 1\nrules: [{ from: "${from.host}/team/*", to: "${near}/mirror/$1", referrers: false }]\n`
        )
        // version of each digest, in the order in which the source had them
        const versions = new Map<string, number>()
        const move = Effect.fnUntraced(function*(name: string, tagName: string) {
          const version = versions.size
          const layer = new Uint8Array(200_000).fill(version % 256)
          layer.set(new TextEncoder().encode(`${version}`))
          const { digest } = yield* pushImage(source, repository(`team/${name}`), [layer], { tags: [tag(tagName)] })
          versions.set(digest, version)
        })
        for (const name of repositories) for (const tagName of tags) yield* move(name, tagName)

        const arguments_ = ["mirror", "run", "-c", file] as const
        for (let round = 0; round < rounds; round++) {
          yield* Effect.scoped(Effect.gen(function*() {
            const running = yield* Program.start(...arguments_)
            yield* Effect.sleep(start + ((round * 7919) % rounds) * span / rounds)
            running.kill("SIGKILL")
            yield* running.ended
          }))
          for (const name of repositories) yield* move(name, tags[round % tags.length] ?? "1")
        }
        const last = yield* Program.run(...arguments_)
        assert.strictEqual(last.code, 0, last.stderr)

        const destination = yield* connect({ host })
        for (const name of repositories) {
          assert.deepStrictEqual(
            yield* imagesOf(destination, `mirror/${name}`),
            yield* imagesOf(source, `team/${name}`)
          )
        }
        // a step back is a late request, after which the tag is set again
        const byPlace = Map.groupBy(puts, ({ place }) => place)
        for (const [place, puts] of byPlace) {
          const order = puts.map(({ digest }) => versions.get(digest) ?? -1)
          const final = order[order.length - 1]
          assert.strictEqual(final, Math.max(...order), `${place}: ${order.join(" ")}`)
        }
        // nothing is sent twice except for what was in flight
        const repeated = puts.length - new Set(puts.map(({ digest, place }) => `${place} ${digest}`)).size
        assert.isAtMost(repeated, rounds * 16)
        const again = yield* Program.run(...arguments_, "--json")
        assert.strictEqual(JSON.parse(again.stdout).rules[0].planned, 0)
      }).pipe(Effect.scoped, Effect.provide(NodeServices.layer)),
    1_200_000
  )
})
