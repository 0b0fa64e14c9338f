#!/usr/bin/env node
/**
 * The entry of the command. It loads only the modules that the arguments need.
 */
import * as module from "node:module"
import { setFlagsFromString } from "node:v8"
import * as streams from "./streams.ts"
import { version } from "./version.ts"

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
const [first, second] = process.argv.slice(2)

if (major < 22 || major === 22 && minor < 19) {
  // checked here, because the static imports of the other modules fail on an old Node
  streams.complain(`cannot run on Node ${process.versions.node}: Node 22.19 or newer is required`)
  process.exitCode = 1
} else if (second === undefined && (first === "--version" || first === "-v")) {
  streams.watch()
  process.stdout.write(`effect-oci v${version}\n`, () => streams.end(0, process.exit))
} else {
  if (first === "files" || first === "validate") {
    // otherwise V8 lets garbage grow to several times the memory in use, for example while layers are unpacked. A copy
    // takes a tenth less time with a young generation that grows, and a server handles a tenth more requests
    setFlagsFromString("--semi-space-growth-factor=1")
    setFlagsFromString("--heap-growing-percent=20")
  } else if (first === "serve") {
    // a server is limited more when its heap is large (see `run`). V8 collects garbage for received bytes as well, and
    // while the heap is small, that would take a quarter of the time in which a large blob is pushed into memory
    setFlagsFromString("--heap-growing-percent=300")
  }
  // Deno has no compile cache
  module.enableCompileCache?.()
  void import("./run.ts")
}
