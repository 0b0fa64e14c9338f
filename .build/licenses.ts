/**
 * A plugin of rolldown that writes the licenses of the bundled packages to `LICENSES.txt`.
 */
import * as Fs from "node:fs"
import * as Path from "node:path"
import type { Plugin } from "rolldown"

export const licenses: Plugin = {
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

/** The modules whose code has effects when it is loaded: those of the command. */
export const treeshake = { moduleSideEffects: (id: string) => id.includes("/src/cli/") }
