/**
 * The API reference: one page per public module, under the name that programs import.
 */
import { readFileSync } from "node:fs"
import { resolve } from "node:path"

const root = new URL("..", import.meta.url).pathname
const { exports } = JSON.parse(readFileSync(resolve(root, "package.json"), "utf8"))

/** The sources of the public modules. */
const sources = Object.entries(exports).flatMap(([name, target]) =>
  typeof target === "string" || name === "." ? [] : [resolve(root, target["effect-oci:source"])]
)

/** Names each module as programs import it, without its room. */
const nameModules = (app) => {
  app.converter.on("createDeclaration", (_, reflection) => {
    if (reflection.parent?.isProject()) reflection.name = reflection.name.replace(/^.*\//, "")
  })
}

export default {
  name: "effect-oci",
  entryPoints: sources,
  tsconfig: resolve(root, "tsconfig.json"),
  out: resolve(root, "dist/docs"),
  readme: resolve(root, "README.md"),
  plugin: [nameModules],
  // what classes inherit from Effect's schemas is documented there
  excludeExternals: true,
  excludeInternal: true,
  disableSources: true,
  // `npm run check` reports type errors; the compiler here is another version
  skipErrorChecking: true,
  validation: { notExported: false },
  blockTags: ["@since", "@stability", "@category", "@default", "@example", "@see", "@param", "@returns"],
  jsDocCompatibility: { defaultTag: false }
}
