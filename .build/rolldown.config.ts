/**
 * The command in few files: with all that it uses of other packages it starts in two thirds of the time.
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

export default defineConfig({
  input: "src/cli/main.ts",
  platform: "node",
  plugins: [licenses],
  // those of the command run when they are loaded, and no others
  treeshake: { moduleSideEffects: (id) => id.includes("/src/cli/") },
  output: { dir: "dist/cli", minify: true, chunkFileNames: "[name]-[hash].js" }
})
