/**
 * The command in two files, with all that it uses of other packages: what starts it, and the rest, which `--version`
 * does without.
 */
import { defineConfig } from "rolldown"
import { licenses, treeshake } from "./licenses.ts"
import { ascii, builtinsOnDemand, byRequire, segmenterOnDemand } from "./startup.ts"

/** Folder that the command is written to. The tests build it into one of their own. */
const dir = process.env["EFFECT_OCI_BUILD"] ?? "dist/cli"

export default defineConfig([
  {
    input: "src/cli/main.ts",
    platform: "node",
    external: /\/run\.ts$/,
    plugins: [byRequire("./run.cjs")],
    treeshake,
    output: { dir, minify: true, paths: (id) => id.endsWith("/run.ts") ? "./run.cjs" : id }
  },
  // one CommonJS file is loaded sooner than many modules, above all from the compile cache
  {
    input: "src/cli/run.ts",
    platform: "node",
    plugins: [licenses, segmenterOnDemand, builtinsOnDemand, ascii],
    // CommonJS has none, and Effect does without
    transform: { define: { "import.meta": "{}" } },
    treeshake,
    output: { dir, format: "cjs", codeSplitting: false, minify: true, entryFileNames: "[name].cjs" }
  }
])
