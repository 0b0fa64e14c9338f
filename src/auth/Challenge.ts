/**
 * Parser of the `WWW-Authenticate` header, with which a registry requires authentication (RFC 9110, 11.6.1).
 *
 * One header may contain several challenges, and several headers arrive as one, so that a comma may end a parameter, a
 * challenge or a header. The parser accepts spaces instead of commas, values without quotes, and a quote that is never
 * closed. It skips everything else that it cannot read, up to the next comma.
 */

/** One challenge. The scheme and the names of parameters are in lower case; values are unchanged. */
export interface Challenge {
  readonly scheme: string
  /** Text in place of parameters, as in `Negotiate oYG2…=`. */
  readonly token68?: string | undefined
  readonly parameters: ReadonlyMap<string, string>
}

const separators = /[\s,]*/y
const spaces = /[ \t]*/y
const token = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y
const token68 = /[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))/y
const equals = /[ \t]*=[ \t]*/y
const quoted = /"([^"\\]*(?:\\.[^"\\]*)*)\\?"?/sy
const bare = /[^\s,"]*/y
const nonsense = /(?:"[^"\\]*(?:\\.[^"\\]*)*\\?"?|[^",])+/sy

/** Parses the challenges of a header, in their order. If a parameter is repeated, its first value counts. */
export const parse = (header: string): ReadonlyArray<Challenge> => {
  let position = 0
  const read = (pattern: RegExp): RegExpExecArray | undefined => {
    pattern.lastIndex = position
    const match = pattern.exec(header) ?? undefined
    position += match?.[0].length ?? 0
    return match
  }
  const readValue = (): string => {
    const inQuotes = read(quoted)?.[1]
    return inQuotes === undefined ? read(bare)?.[0] ?? "" : inQuotes.replaceAll(/\\(.)/gs, "$1")
  }

  const challenges: Array<Challenge & { readonly parameters: Map<string, string> }> = []
  while (position < header.length) {
    read(separators)
    const name = read(token)?.[0].toLowerCase()
    if (name === undefined) {
      read(nonsense)
    } else if (read(equals) === undefined) {
      read(spaces)
      const credentials = read(token68)?.[0]
      challenges.push({
        scheme: name,
        ...credentials === undefined ? {} : { token68: credentials },
        parameters: new Map()
      })
    } else {
      const value = readValue()
      const parameters = challenges.at(-1)?.parameters
      if (parameters?.has(name) === false) parameters.set(name, value)
    }
  }
  return challenges
}
