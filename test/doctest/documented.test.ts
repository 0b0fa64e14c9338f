import { assert, describe, it } from "@effect/vitest"
import { existsSync } from "node:fs"
import { type Declaration, declarations } from "./declarations.ts"
import { read, sources } from "./examples.ts"

const all = declarations()
const named = all.filter(({ kind }) => kind !== "module")

/** Those that make the values of a module, or provide its services. */
const isConstructor = ({ kind, name }: Declaration): boolean =>
  kind === "value" && /^(?:make|layer|parse|from|static)/.test(name)

const failing = (declarations: ReadonlyArray<Declaration>, promise: RegExp): ReadonlyArray<string> =>
  declarations.filter(({ comment }) => !promise.test(comment)).map(({ module, name }) => `${module} ${name}`)

describe("what the package exports", () => {
  it("is found", () => {
    const found = named.map(({ module, name }) => `${module} ${name}`)
    assert.includeMembers(found, [
      "./Reference parse",
      "./Registry Observer",
      "./Resolver static",
      "./testing.Faults make"
    ])
  })

  it("is described", () => {
    assert.deepStrictEqual(failing(all, /^\/\*\*\n? +(?:\* )?[A-Z*`]/), [])
  })

  it("has one category", () => {
    assert.deepStrictEqual(failing(named, /^(?:(?!@category)[^])*@category [a-z][a-z ]+\n(?!(?:[^]*)@category)/), [])
  })

  it("tells since when it is there", () => {
    assert.deepStrictEqual(failing(all, /@since \d+\.\d+\.\d+\n/), [])
  })

  it("has an example where it makes something", () => {
    assert.deepStrictEqual(failing(named.filter(isConstructor), /```ts import\.meta\.vitest/), [])
  })
})

describe("a link", () => {
  it("of a doc comment leads to a name of its module", () => {
    const dead = sources().filter((file) => file.endsWith(".ts")).flatMap((file) => {
      const text = read(file)
      const code = text.replaceAll(/\/\*[^]*?\*\//g, "")
      return Array.from(text.matchAll(/\{@link (\w+)/g), ([, name = ""]) => name)
        .filter((name) => !new RegExp(String.raw`\b${name}\b`).test(code))
        .map((name) => `${file} ${name}`)
    })
    assert.deepStrictEqual(dead, [])
  })

  it("of the README leads to a file", () => {
    const targets = Array.from(read("README.md").matchAll(/\]\((?!https?:)([^)#]+)/g), ([, target = ""]) => target)
    assert.isAbove(targets.length, 10)
    assert.deepStrictEqual(targets.filter((target) => !existsSync(new URL(`../../${target}`, import.meta.url))), [])
  })
})
