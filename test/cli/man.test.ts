import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as ChildProcess from "node:child_process"
import * as ManPage from "../../.build/ManPage.ts"
import * as Command from "../utils/Command.ts"

const withNode = Effect.provide(NodeServices.layer)

const hasGroff = ChildProcess.spawnSync("groff", ["--version"]).status === 0

/** Renders roff as a terminal shows it, without hyphenation. Fails if groff has a warning. */
const render = (roff: string): string => {
  const args = ["-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=1000n"]
  const { status, stderr, stdout } = ChildProcess.spawnSync("groff", args, { input: roff, encoding: "utf8" })
  assert.deepStrictEqual([status, stderr], [0, ""])
  return stdout
}

describe("the man page", () => {
  it.live("names every verb and every flag of the help", () =>
    Effect.gen(function*() {
      const page = (yield* ManPage.page).replaceAll("\\-", "-")
      const { stdout } = yield* Command.run("completions", "bash")
      for (const verb of ["copy", "manifest inspect", "blob put", "serve", "schema", "completions"]) {
        assert.include(page, `.SS "${verb}"`)
      }
      const flags = new Set(stdout.match(/(?<=[\s"'])--[a-z]+(?:-[a-z]+)*/g))
      assert.isAbove(flags.size, 50)
      for (const flag of flags) {
        if (!/^--no-|^--(?:completions|wizard|log-level)$/.test(flag)) assert.include(page, `\\fB${flag}\\fR`)
      }
    }).pipe(withNode))

  it.live("has no line that roff takes for a request by mistake", () =>
    Effect.gen(function*() {
      const requests = (yield* ManPage.page).split("\n").filter((line) => /^[.']/.test(line))
      for (const line of requests) assert.match(line, /^\.(?:\\"|TH|SH|SS|TP|PP|RS|RE|nf|fi|nh|ad)(?: |$)/)
    }).pipe(withNode))

  it.skipIf(!hasGroff)("escapes any text, so that it is printed as it is", () => {
    const texts = [".SH evil", "'TH evil", "C:\\images \\fBx", "-o \"^1.4\" ~user `x`", "a…b – ü", "\\(em \\n(x \\*[y]"]
    for (const text of texts) {
      assert.include(render(`.TH X 1\n.PP\n${ManPage.escape(text)}\n`), text)
    }
  })

  it.live.skipIf(!hasGroff)("renders without a warning", () =>
    Effect.gen(function*() {
      const rendered = render(yield* ManPage.page)
      assert.include(rendered, "effect-oci copy ghcr.io/team/app:1 127.0.0.1:5000/mirror/app:1")
      assert.include(rendered, "--if-tag-exists replace|keep|fail")
    }).pipe(withNode))
})
