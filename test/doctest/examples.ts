import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

/** A fence that opens with `ts import.meta.vitest`, on line `line` of `file`. */
export interface Example {
  readonly file: string
  readonly line: number
  readonly code: string
}

const root = fileURLToPath(new URL("../..", import.meta.url))

/** The files that may have examples. */
export const sources = (): ReadonlyArray<string> => globSync(["README.md", "src/**/*.ts"], { cwd: root }).toSorted()

export const read = (file: string): string => readFileSync(join(root, file), "utf8")

export const examplesIn = (file: string): ReadonlyArray<Example> => {
  const indent = file.endsWith(".md") ? "" : String.raw` *\* ?`
  const fence = new RegExp(`^${indent}\`\`\`ts import\\.meta\\.vitest.*\\n([^]*?)^${indent}\`\`\`$`, "gm")
  const text = read(file)
  return Array.from(text.matchAll(fence), (match) => ({
    file,
    line: text.slice(0, match.index).split("\n").length,
    code: (match[1] ?? "").replaceAll(new RegExp(`^${indent}`, "gm"), "")
  }))
}

export const examples = (): ReadonlyArray<Example> => sources().flatMap(examplesIn)

/** Runs the example, which `plugin.ts` serves as a module. */
export const run = ({ file, line }: Example): Promise<unknown> =>
  import(/* @vite-ignore */ `${join(root, file)}?doctest=${line}&lang.ts`)
