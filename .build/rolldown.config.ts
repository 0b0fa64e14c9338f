/**
 * The command in two files, with all that it uses of other packages: what starts it, and the rest, which `--version` does
 * without.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import { defineConfig, type Plugin } from "rolldown"

/** The licenses of the packages that are in it. */
const licenses: Plugin = {
  name: "licenses",
  generateBundle(_, bundle) {
    const modules = Object.values(bundle).flatMap((file) => file.type === "chunk" ? Object.keys(file.modules) : [])
    const folders = new Set(modules.flatMap((id) => /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id) ?? []))
    const texts = Array.from(folders).sort().map((folder) => {
      const { name, version } = JSON.parse(Fs.readFileSync(Path.join(folder, "package.json"), "utf8"))
      const license = Fs.readdirSync(folder).find((file) => /^licen[cs]e(?:\.|$)/i.test(file))
      if (license === undefined) return this.error(`${name} has no license`)
      return `${name} ${version}\n\n${Fs.readFileSync(Path.join(folder, license), "utf8").trim()}\n`
    })
    this.emitFile({ type: "asset", fileName: "LICENSES.txt", source: texts.join(`\n${"-".repeat(80)}\n\n`) })
  }
}

// those of the command run when they are loaded, and no others
const treeshake = { moduleSideEffects: (id: string) => id.includes("/src/cli/") }

export default defineConfig([
  {
    input: "src/cli/main.ts",
    platform: "node",
    external: /\/run\.ts$/,
    treeshake,
    output: { dir: "dist/cli", minify: true, paths: (id) => id.endsWith("/run.ts") ? "./run.cjs" : id }
  },
  // one CommonJS file is loaded sooner than many modules, above all from the compile cache
  {
    input: "src/cli/run.ts",
    platform: "node",
    plugins: [licenses],
    // CommonJS has none, and Effect does without
    transform: { define: { "import.meta": "{}" } },
    treeshake,
    output: { dir: "dist/cli", format: "cjs", codeSplitting: false, minify: true, entryFileNames: "[name].cjs" }
  }
])
