import { NodeServices } from "@effect/platform-node"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Command from "../utils/Command.ts"
import { pushSample, repository, tag } from "../utils/images.ts"
import { temporaryFolder } from "../utils/layouts.ts"
import * as Served from "../utils/Served.ts"

const readme = Fs.readFileSync(new URL("../../README.md", import.meta.url), "utf8")

/** The lines of shell blocks that run this command. */
const commands = Array.from(readme.matchAll(/^```sh\n(.*?)^```$/gms), ([, block = ""]) => block)
  .flatMap((block) => block.split("\n"))
  .flatMap((line) => /^(?:npx )?effect-oci (.*)$/.exec(line)?.[1] ?? [])

it.live("the commands of the README succeed, one after another", () =>
  Effect.gen(function*() {
    const [source, mirror] = [yield* Served.memory(), yield* Served.memory()]
    yield* pushSample(source.registry, repository("team/app"), [tag("1"), tag("2")])
    const folder = yield* temporaryFolder
    Fs.writeFileSync(
      Path.join(folder, "mirror.yml"),
      `version: 1\nrules: [{ from: ${source.host}/team/app, to: ${mirror.host}/bundled/app }]\n`
    )
    assert.isAbove(commands.length, 8)
    for (const command of commands) {
      const args = command
        .replaceAll("ghcr.io", source.host)
        .replaceAll("127.0.0.1:5000", mirror.host)
        .replaceAll("registry.inside:5000", `${mirror.host}/inside`)
        .replaceAll("/media/disk/", "")
        .split(" ")
        .map((arg) =>
          arg.replace(/^(oci|oci-archive):/, `$1:${folder}${Path.sep}`)
            .replace(/^(?:docs|mirror\.yml|have\.json|week-.*)$/, `${folder}/$&`)
        )
      const { code, stderr, stdout } = yield* Command.run(...args)
      assert.strictEqual(code, 0, `${command}: ${stderr}`)
      if (!args.includes("-o")) assert.notStrictEqual(stdout, "", command)
    }
  }).pipe(Effect.provide(NodeServices.layer)))
