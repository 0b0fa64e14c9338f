#!/usr/bin/env node
import { setFlagsFromString } from "node:v8"

// V8 would let the chunks of blobs pile up in a growing young generation: kept small, it frees them soon
setFlagsFromString("--semi-space-growth-factor=1")

// what is imported statically would fail on an old Node before this could say so
const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
if (major > 22 || major === 22 && minor >= 19) {
  void import("./run.ts")
} else {
  process.stderr.write(`effect-oci: it needs Node 22.19 or newer, and this is ${process.versions.node}\n`)
  process.exitCode = 1
}
