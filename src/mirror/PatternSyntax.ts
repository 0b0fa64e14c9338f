/**
 * Finds regular expressions that take exponential time.
 *
 * **Details**
 *
 * A pattern is read as an automaton, whose states are the positions of its characters (Glushkov). It can take
 * exponential time if a loop of the automaton can read the same text in two ways. That is so if a loop adds a step that
 * exists already, or if two different walks through the automaton read the same text, begin at the same state, and end
 * there.
 */

/** Characters as bits: those of ASCII, and one bit for all others. */
type Characters = bigint

const size = 129n
const all: Characters = (1n << size) - 1n

const bit = (character: string): Characters => {
  const code = character.codePointAt(0) ?? 0
  return 1n << (code < 128 ? BigInt(code) : 128n)
}

const range = (from: string, to: string): Characters => {
  let set = 0n
  const last = Math.min(to.codePointAt(0) ?? 0, 128)
  for (let code = from.codePointAt(0) ?? 0; code <= last; code++) set |= 1n << BigInt(code)
  return set === 0n ? bit(from) : set
}

const digits = range("0", "9")
const wordCharacters = digits | range("a", "z") | range("A", "Z") | bit("_")
const spaces = Array.from(" \t\n\v\f\r").reduce((set, character) => set | bit(character), 1n << 128n)

const classes: Readonly<Record<string, Characters>> = {
  d: digits,
  D: all & ~digits,
  w: wordCharacters,
  W: all & ~wordCharacters,
  s: spaces,
  S: all & ~spaces | 1n << 128n
}

const controls: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", v: "\v", f: "\f", 0: "\0" }

const bothCases = (set: Characters): Characters => {
  const lower = range("a", "z")
  const upper = range("A", "Z")
  return set | (set & lower) >> 32n | (set & upper) << 32n
}

/** A part of a pattern: the states that its text can begin and end with. */
interface Part {
  readonly isOptional: boolean
  readonly first: ReadonlyArray<number>
  readonly last: ReadonlyArray<number>
}

const nothing: Part = { isOptional: true, first: [], last: [] }

/** The automaton of a pattern. */
interface Automaton {
  readonly characters: Array<Characters>
  readonly steps: Array<Set<number>>
  problem: string | undefined
}

const maximumStates = 400

const ambiguous = "write a pattern that repeats no part which can read the same text in two ways, such as (a+)+"

const connect = ({ steps }: Automaton, from: ReadonlyArray<number>, to: ReadonlyArray<number>): boolean => {
  let isNew = true
  for (const one of from) {
    for (const next of to) {
      isNew &&= steps[one]?.has(next) === false
      steps[one]?.add(next)
    }
  }
  return isNew
}

/** Reads the source of a pattern, whose syntax is valid. */
const read = (source: string, ignoresCase: boolean): Automaton => {
  const automaton: Automaton = { characters: [], steps: [], problem: undefined }
  let at = 0

  const state = (set: Characters): Part => {
    const index = automaton.characters.push(ignoresCase ? bothCases(set) : set) - 1
    automaton.steps.push(new Set())
    return { isOptional: false, first: [index], last: [index] }
  }

  const take = (pattern: RegExp): RegExpExecArray | undefined => {
    const sticky = new RegExp(pattern.source, "y")
    sticky.lastIndex = at
    const found = sticky.exec(source)
    if (found === null) return undefined
    at = sticky.lastIndex
    return found
  }

  /** Reads the character after a backslash in a class, or outside. */
  const escaped = (): { readonly set: Characters; readonly character: string | undefined } => {
    const code = take(/x([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})/)
    if (code !== undefined) {
      const character = String.fromCharCode(Number.parseInt(code[1] ?? code[2] ?? "", 16))
      return { set: bit(character), character }
    }
    const letter = source.charAt(at++)
    const known = classes[letter]
    if (known !== undefined) return { set: known, character: undefined }
    const character = controls[letter] ?? letter
    return { set: bit(character), character }
  }

  const one = (): { readonly set: Characters; readonly character: string | undefined } => {
    if (source[at] === "\\") {
      at++
      return escaped()
    }
    const character = source.charAt(at++)
    return { set: bit(character), character }
  }

  const characterClass = (): Part => {
    const isNegated = take(/\^/) !== undefined
    let set = 0n
    while (at < source.length && source[at] !== "]") {
      const from = one()
      if (source[at] === "-" && source[at + 1] !== "]" && from.character !== undefined) {
        at++
        const to = one()
        set |= to.character === undefined ? from.set | to.set : range(from.character, to.character)
      } else {
        set |= from.set
      }
    }
    at++
    // without case first: [^a] with i does not match A
    const folded = ignoresCase ? bothCases(set) : set
    return state(isNegated ? all & ~folded | 1n << 128n : folded)
  }

  const group = (): Part => {
    const isAround = take(/\?<?[=!]/) !== undefined
    if (!isAround) take(/\?(?:<[^>]*>|[a-z-]*:)/)
    const inner = alternatives()
    at++
    return isAround ? nothing : inner
  }

  const atom = (): Part => {
    if (take(/\\[bB]|[\^$]/) !== undefined) return nothing
    if (take(/\\(?:[1-9]|k<)/) !== undefined) {
      automaton.problem ??= "write a pattern without a back-reference"
      return nothing
    }
    if (take(/\(/) !== undefined) return group()
    if (take(/\[/) !== undefined) return characterClass()
    if (take(/\./) !== undefined) return state(all)
    return state(one().set)
  }

  const repeated = (part: Part): Part => {
    const found = take(/([*+?]|\{(\d+)(,?)(\d*)\})\??/)
    if (found === undefined) return part
    const [, sign, least = "", comma = "", most = ""] = found
    const highest = sign === "*" || sign === "+" || comma === "," && most === ""
      ? Infinity
      : sign === "?"
      ? 1
      : Number(most === "" ? least : most)
    // a part that is repeated a few times counts as a loop: nested ones take time with a high power of the length
    if (highest > 1 && !connect(automaton, part.last, part.first)) automaton.problem ??= ambiguous
    const isOptional = sign === "*" || sign === "?" || least !== "" && Number(least) === 0
    return { ...part, isOptional: part.isOptional || isOptional }
  }

  const sequence = (): Part => {
    let whole = nothing
    while (at < source.length && source[at] !== "|" && source[at] !== ")") {
      if (automaton.characters.length > maximumStates) {
        automaton.problem ??= "write a simpler pattern"
        at = source.length
        return whole
      }
      const next = repeated(atom())
      connect(automaton, whole.last, next.first)
      whole = {
        isOptional: whole.isOptional && next.isOptional,
        first: whole.isOptional ? [...whole.first, ...next.first] : whole.first,
        last: next.isOptional ? [...whole.last, ...next.last] : next.last
      }
    }
    return whole
  }

  const alternatives = (): Part => {
    let whole = sequence()
    while (source[at] === "|") {
      at++
      const next = sequence()
      whole = {
        isOptional: whole.isOptional || next.isOptional,
        first: [...whole.first, ...next.first],
        last: [...whole.last, ...next.last]
      }
    }
    return whole
  }

  alternatives()
  return automaton
}

const maximumPairs = 100_000

/** Returns the pairs of states that can be reached at once from `from`, by the same text. */
const pairsFrom = (from: number, next: (pair: number) => ReadonlyArray<number>): ReadonlySet<number> => {
  const found = new Set<number>()
  const open = [from]
  for (let pair = open.pop(); pair !== undefined; pair = open.pop()) {
    for (const other of next(pair)) {
      if (!found.has(other)) {
        found.add(other)
        open.push(other)
      }
    }
  }
  return found
}

/** Returns true if two different walks read the same text, from one state to itself. */
const hasTwoWalks = ({ characters, steps }: Automaton): boolean | undefined => {
  const count = characters.length
  const known = new Map<number, ReadonlyArray<number>>()
  // a pair is a number; its states are in order, because the two walks can be exchanged
  const next = (pair: number): ReadonlyArray<number> => {
    const cached = known.get(pair)
    if (cached !== undefined) return cached
    const found = new Set<number>()
    for (const one of steps[Math.floor(pair / count)] ?? []) {
      for (const other of steps[pair % count] ?? []) {
        if (((characters[one] ?? 0n) & (characters[other] ?? 0n)) !== 0n) {
          found.add(Math.min(one, other) * count + Math.max(one, other))
        }
      }
    }
    const list = Array.from(found)
    known.set(pair, list)
    return list
  }
  const isDiagonal = (pair: number) => Math.floor(pair / count) === pair % count
  let work = 0
  for (let state = 0; state < count; state++) {
    const start = state * count + state
    const reached = pairsFrom(start, next)
    work += reached.size
    if (work > maximumPairs) return undefined
    if (!reached.has(start)) continue
    const apart = Array.from(reached).filter((pair) => !isDiagonal(pair))
    for (const pair of apart) {
      const back = pairsFrom(pair, next)
      work += back.size
      if (work > maximumPairs) return undefined
      if (back.has(start)) return true
    }
  }
  return false
}

/** Returns what to write instead of a pattern that can take exponential time, or `undefined`. */
export const ambiguity = (source: string, ignoresCase = false): string | undefined => {
  const automaton = read(source, ignoresCase)
  if (automaton.problem !== undefined) return automaton.problem
  const isAmbiguous = hasTwoWalks(automaton)
  return isAmbiguous === undefined ? "write a simpler pattern" : isAmbiguous ? ambiguous : undefined
}
