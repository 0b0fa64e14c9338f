/**
 * Evaluates the templates of Go that the files of regsync contain.
 *
 * **Details**
 *
 * Supported are fields (`.Sync.Source`), texts, numbers, pipelines, parentheses, and the functions `default`, `env`,
 * `file`, `index`, `join`, `lower`, `split`, `trimSpace` and `upper`. Everything else is an error.
 */
import * as Effect from "effect/Effect"
import type { Lookups } from "./Foreign.ts"

/** Values of a template. */
type Value = string | number | ReadonlyArray<string>

/** Values of fields by their path, such as `.Sync.Source`. */
export type Fields = Readonly<Record<string, string>>

class TemplateProblem {
  readonly _tag = "TemplateProblem"
  readonly message: string
  constructor(message: string) {
    this.message = message
  }
}

const fail = (message: string) => Effect.fail(new TemplateProblem(message))

// ---------------------------------------------------------------------------------------------------------------------
// functions
// ---------------------------------------------------------------------------------------------------------------------

const maximumText = 10_000

const show = (value: Value | undefined): string =>
  value === undefined ? "" : typeof value === "object" ? `[${value.join(" ")}]` : String(value)

const isEmpty = (value: Value | undefined): boolean => value === undefined || value === "" || value === 0

type Call = (args: ReadonlyArray<Value>, lookups: Lookups) => Effect.Effect<Value, TemplateProblem>

const onText = (f: (text: string) => string): Call => ([text]) => Effect.succeed(f(show(text)))

const functions: Readonly<Record<string, { readonly arity: number; readonly call: Call }>> = {
  default: {
    arity: 2,
    call: ([otherwise = "", value]) => Effect.succeed(isEmpty(value) ? otherwise : value ?? otherwise)
  },
  env: { arity: 1, call: ([name], { env }) => Effect.map(env(show(name)), (value = "") => value) },
  file: { arity: 1, call: ([path], { file }) => Effect.map(file(show(path)), (text = "") => text.trim()) },
  index: {
    arity: 2,
    call: ([list, index]) => {
      const value = typeof list === "object" && typeof index === "number" ? list[index] : undefined
      return value === undefined ? fail("index: there is no such value") : Effect.succeed(value)
    }
  },
  join: {
    arity: 2,
    call: ([list, separator]) =>
      typeof list === "object" ? Effect.succeed(list.join(show(separator))) : fail("join: expected a list")
  },
  lower: { arity: 1, call: onText((text) => text.toLowerCase()) },
  split: { arity: 2, call: ([text, separator]) => Effect.succeed(show(text).split(show(separator))) },
  trimSpace: { arity: 1, call: onText((text) => text.trim()) },
  upper: { arity: 1, call: onText((text) => text.toUpperCase()) }
}

// ---------------------------------------------------------------------------------------------------------------------
// evaluation
// ---------------------------------------------------------------------------------------------------------------------

const tokenPattern = /\s*("(?:[^"\\]|\\.)*"|`[^`]*`|[|()]|(?:\.[A-Za-z]\w*)+|-?\d+|[A-Za-z]\w*(?:\.[A-Za-z]\w*)*|\S)/gy

const unquote = (token: string): string =>
  token.startsWith("`") ?
    token.slice(1, -1) :
    token.slice(1, -1).replace(/\\(.)/g, (_, letter: string) => ({ n: "\n", t: "\t" })[letter] ?? letter)

/** True for text that stands for something else: a function could not tell what it returns for that. */
const isPlaceholder = (value: Value): boolean => typeof value === "string" && /\{\w+\}/.test(value)

const evaluate = Effect.fnUntraced(function*(expression: string, fields: Fields, lookups: Lookups) {
  const tokens = Array.from(expression.matchAll(tokenPattern), ([, token = ""]) => token)
  let at = 0
  const call = Effect.fnUntraced(function*(name: string, args: ReadonlyArray<Value>) {
    const known = Object.hasOwn(functions, name) ? functions[name] : undefined
    if (known === undefined) {
      return yield* fail(`the template has ${name}: only ${Object.keys(functions).join(", ")} are supported`)
    }
    if (args.length !== known.arity) return yield* fail(`${name}: expected ${known.arity} values`)
    if (args.some(isPlaceholder)) return yield* fail(`${name} cannot be applied to the tag of an image here`)
    return yield* known.call(args, lookups)
  })
  const operand = Effect.fnUntraced(function*(token: string): Effect.fn.Return<Value, TemplateProblem> {
    if (token === "(") {
      const value = yield* pipeline()
      if (tokens[at++] !== ")") return yield* fail("the template lacks a )")
      return value
    }
    if (/^["`]/.test(token)) return unquote(token)
    if (/^-?\d+$/.test(token)) return Number(token)
    if (Object.hasOwn(fields, token)) return fields[token] ?? ""
    return yield* fail(
      `the template has ${token}: ${
        token.startsWith(".") ? `only ${Object.keys(fields).join(", ")} are known here` : "it is not supported"
      }`
    )
  })
  const command = Effect.fnUntraced(function*(
    piped: ReadonlyArray<Value>
  ): Effect.fn.Return<Value, TemplateProblem> {
    const first = tokens[at++]
    if (first === undefined) return yield* fail("the template is empty")
    const isCall = /^[A-Za-z]/.test(first) && !Object.hasOwn(fields, first)
    const args: Array<Value> = []
    const head = isCall ? undefined : yield* operand(first)
    while (at < tokens.length && tokens[at] !== "|" && tokens[at] !== ")") args.push(yield* operand(tokens[at++] ?? ""))
    if (isCall) return yield* call(first, [...args, ...piped])
    return args.length + piped.length > 0 || head === undefined
      ? yield* fail(`${first} is not a function`)
      : head
  })
  const pipeline = Effect.fnUntraced(function*(): Effect.fn.Return<Value, TemplateProblem> {
    let value = yield* command([])
    while (tokens[at] === "|") {
      at++
      value = yield* command([value])
    }
    return value
  })
  const value = yield* pipeline()
  return at < tokens.length ? yield* fail(`unexpected ${tokens[at]} in the template`) : show(value)
})

const actionPattern = /(\s*)\{\{(-?)([\s\S]*?)(-?)\}\}(\s*)/g

/** Evaluates a template. Fails with a sentence about what is not supported. */
export const render = Effect.fnUntraced(
  function*(template: string, fields: Fields, lookups: Lookups) {
    if (template.length > maximumText) return yield* fail(`the template has more than ${maximumText} characters`)
    let text = ""
    let end = 0
    for (const found of template.matchAll(actionPattern)) {
      const [whole, before = "", trimsBefore, expression = "", trimsAfter, after = ""] = found
      text += template.slice(end, found.index) + before
      if (trimsBefore === "-") text = text.trimEnd()
      text += /^\s*\/\*.*\*\/\s*$/s.test(expression) ? "" : yield* evaluate(expression, fields, lookups)
      text += trimsAfter === "-" ? "" : after
      end = found.index + whole.length
    }
    const rest = template.slice(end)
    if (rest.includes("{{")) return yield* fail("the template lacks a }}")
    return text + rest
  },
  Effect.mapError(({ message }) => message)
)
