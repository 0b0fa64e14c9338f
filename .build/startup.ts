/**
 * Changes to the bundled command that make it start sooner. The build fails if one of them finds nothing to change.
 */
import type { Plugin } from "rolldown"

const replaced = (code: string, pattern: RegExp, replacement: string): string => {
  if (!pattern.test(code)) throw new Error(`nothing to replace: ${pattern}`)
  return code.replace(pattern, replacement)
}

/** Creates the segmenter of the help when it is used. That loads data of ICU, which takes 9 ms. */
export const segmenterOnDemand: Plugin = {
  name: "segmenter-on-demand",
  transform: {
    filter: { id: /effect\/dist\/cli\/CliOutput\.js$/ },
    handler: (code) =>
      replaced(
        code,
        /(const graphemeSegmenter = )(?:\/\*#__PURE__\*\/)?(new Intl\.Segmenter\([^)]*\))/,
        "$1{ segment: (text) => $2.segment(text) }"
      )
  }
}

/** Loads modules of Node that only some verbs need when they are used. That takes 4 ms. */
export const builtinsOnDemand: Plugin = {
  name: "builtins-on-demand",
  transform: {
    filter: { id: /platform-node-shared\/dist\/(?:NodeChildProcessSpawner|NodeTerminal)\.js$/ },
    handler: (code) =>
      replaced(
        code,
        /import \* as (\w+) from "(node:child_process|node:readline)";/,
        "const $1 = new Proxy({}, { get: (_, name) => process.getBuiltinModule(\"$2\")[name] });"
      )
  }
}

/** Escapes all characters that are not ASCII. Otherwise V8 keeps two bytes for each character of the file. */
export const ascii: Plugin = {
  name: "ascii",
  generateBundle: (_, bundle) => {
    for (const file of Object.values(bundle)) {
      if (file.type !== "chunk") continue
      file.code = file.code.replaceAll(
        /[^\0-\x7f]/g,
        (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`
      )
    }
  }
}

/** Loads a CommonJS file by `require`. For `import`, Node would search all of it for the names of its exports. */
export const byRequire = (file: string): Plugin => ({
  name: "by-require",
  generateBundle: (_, bundle) => {
    for (const chunk of Object.values(bundle)) {
      if (chunk.type !== "chunk") continue
      chunk.code = replaced(
        chunk.code,
        new RegExp(`import\\(([\`"'])${file.replaceAll(".", "\\.")}\\1\\)`),
        `process.getBuiltinModule("node:module").createRequire(import.meta.url)("${file}")`
      )
    }
  }
})
