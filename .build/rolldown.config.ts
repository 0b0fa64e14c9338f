/**
 * The command in two files, with all that it uses of other packages: what starts it, and the rest, which `--version`
 * does without.
 */
import { defineConfig } from "rolldown"
import { licenses, treeshake } from "./licenses.ts"
import { ascii, builtinsOnDemand, byRequire, segmenterOnDemand } from "./startup.ts"

export default defineConfig([
  {
    input: "src/cli/main.ts",
    platform: "node",
    external: /\/run\.ts$/,
    plugins: [byRequire("./run.cjs")],
    treeshake,
    output: { dir: "dist/cli", minify: true, paths: (id) => id.endsWith("/run.ts") ? "./run.cjs" : id }
  },
  // one CommonJS file is loaded sooner than many modules, above all from the compile cache
  {
    input: "src/cli/run.ts",
    platform: "node",
    plugins: [licenses, segmenterOnDemand, builtinsOnDemand, ascii],
    // CommonJS has none, and Effect does without
    transform: { define: { "import.meta": "{}" } },
    treeshake,
    output: { dir: "dist/cli", format: "cjs", codeSplitting: false, minify: true, entryFileNames: "[name].cjs" }
  }
])
