/**
 * A step of the build that lets the command start sooner: it copies and mirrors an image, and puts parentheses around
 * the functions that this has called. V8 compiles such functions together with the file, and the compile cache of Node
 * keeps them. Any other function is compiled when it is first called, in each process again.
 */
import { MagicString } from "magic-string"
import { execFileSync, spawn } from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import { parseAst } from "rolldown/parseAst"
import { isNode, type Node } from "./ast.ts"

const folder = fileURLToPath(new URL("../dist/cli", import.meta.url))
const bundle = Path.join(folder, "run.cjs")
const main = Path.join(folder, "main.js")

// ---------------------------------------------------------------------------------------------------------------------
// functions that are called
// ---------------------------------------------------------------------------------------------------------------------

/** Part of the coverage that V8 writes (inspector protocol, `Profiler.ScriptCoverage`). */
interface Coverage {
  readonly result: ReadonlyArray<{
    readonly url: string
    readonly functions: ReadonlyArray<{
      readonly ranges: ReadonlyArray<
        { readonly startOffset: number; readonly endOffset: number; readonly count: number }
      >
    }>
  }>
}

/** Starts a registry in memory, and returns its host. */
const serve = async () => {
  const server = spawn(process.execPath, [main, "serve", "--port", "0"], { stdio: ["ignore", "pipe", "ignore"] })
  for await (const text of server.stdout.setEncoding("utf8")) {
    const [, host] = /listening on http:\/\/(\S+)/.exec(text) ?? []
    if (host !== undefined) return { host, close: () => server.kill() }
  }
  throw new Error("serve did not start")
}

/** Runs the command on usual work between two registries, with its coverage in a folder. */
const work = async (coverage: string) => {
  const [source, destination] = [await serve(), await serve()]
  const run = (...args: ReadonlyArray<string>) =>
    execFileSync(process.execPath, [main, ...args], {
      cwd: folder,
      stdio: ["ignore", "ignore", "inherit"],
      env: { ...process.env, NODE_V8_COVERAGE: coverage }
    })
  const config = Path.join(coverage, "mirror.json")
  const rule = { name: "images", from: `${source.host}/image`, to: `${destination.host}/mirror` }
  Fs.writeFileSync(config, JSON.stringify({ version: 1, store: "memory", rules: [rule] }))
  try {
    // the bundle is a large blob, the other file a small one
    run("push", "--quiet", `${source.host}/image:1`, "run.cjs", "main.js")
    for (const _ of ["absent", "present"]) {
      run("copy", "--quiet", `${source.host}/image:1`, `${destination.host}/copy:1`)
      run("mirror", "run", "--quiet", "--config", config)
    }
    run("tags", `${source.host}/image`)
  } finally {
    source.close()
    destination.close()
  }
}

/** Returns the positions of the functions that a run has called, as `start:end`. */
const calledIn = (file: string): ReadonlyArray<string> => {
  const { result }: Coverage = JSON.parse(Fs.readFileSync(file, "utf8"))
  const functions = result.flatMap(({ functions, url }) => url.endsWith("/run.cjs") ? functions : [])
  return functions.flatMap(({ ranges: [whole] }) =>
    whole !== undefined && whole.count > 0 ? [`${whole.startOffset}:${whole.endOffset}`] : []
  )
}

// ---------------------------------------------------------------------------------------------------------------------
// parentheses
// ---------------------------------------------------------------------------------------------------------------------

/** Returns the functions below a node that may stand in parentheses, which methods may not. */
const expressionsIn = (value: unknown, isMethod = false): ReadonlyArray<Node> => {
  if (Array.isArray(value)) return value.flatMap((item) => expressionsIn(item))
  if (!isNode(value)) return []
  const isFunction = value.type === "ArrowFunctionExpression" || value.type === "FunctionExpression" && !isMethod
  const hasMethod = value.type === "MethodDefinition" || "method" in value && value.method === true ||
    "kind" in value && (value.kind === "get" || value.kind === "set")
  return [...isFunction ? [value] : [], ...Object.values(value).flatMap((part) => expressionsIn(part, hasMethod))]
}

const coverage = Fs.mkdtempSync(Path.join(Os.tmpdir(), "effect-oci-"))
await work(coverage)
const called = new Set(Fs.globSync(Path.join(coverage, "coverage-*.json")).flatMap(calledIn))
Fs.rmSync(coverage, { recursive: true })

const code = Fs.readFileSync(bundle, "utf8")
const eager = new MagicString(code)
for (const { end, start } of expressionsIn(parseAst(code, { lang: "js" }, bundle).body)) {
  if (called.has(`${start}:${end}`)) eager.appendLeft(start, "(").prependRight(end, ")")
}
if (!eager.hasChanged()) throw new Error("no function was called")
Fs.writeFileSync(bundle, eager.toString())
