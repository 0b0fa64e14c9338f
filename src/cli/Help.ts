/**
 * Formats the help, and errors of the command line.
 */
import type * as CliError from "effect/cli/CliError"
import type * as HelpDoc from "effect/cli/HelpDoc"
import * as Option from "effect/Option"

/** Breaks text into lines of at most `width` characters, between words. */
const wrap = (text: string, width: number, indent: string): ReadonlyArray<string> => {
  const lines: Array<string> = []
  for (const word of text.split(" ")) {
    const last = lines.at(-1)
    if (last !== undefined && last.length + 1 + word.length <= width) lines[lines.length - 1] = `${last} ${word}`
    else lines.push(indent + word)
  }
  return lines
}

const section = (title: string, lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.length === 0 ? [] : ["", title, ...lines]

/** Returns a name, and its description below. The description omits the choices, which are in the name. */
const entry = (name: string, description: Option.Option<string>, width: number): ReadonlyArray<string> => [
  `  ${name}`,
  ...wrap(Option.getOrElse(description, () => "").replace(/ \(choices: [^)]*\)$/, ""), width, "      ")
]

const argumentName = ({ name, required, variadic }: HelpDoc.ArgDoc): string => {
  const whole = name.toUpperCase() + (variadic ? "..." : "")
  return required ? whole : `[${whole}]`
}

const flagName = ({ aliases, name, type }: HelpDoc.FlagDoc): string =>
  [...aliases, `--${name}`].join(", ") + (type === "boolean" ? "" : ` ${type}`)

const usage = ({ args = [], commandPath = [], subcommands }: HelpDoc.HelpDoc): string =>
  [...commandPath, ...subcommands === undefined ? [] : ["VERB"], "[FLAGS]", ...args.map(argumentName)].join(" ")

/** Returns true for flags about connections, which are listed last. */
export const isAboutConnections = ({ name }: HelpDoc.FlagDoc): boolean =>
  /^(?:plain-http|tls|insecure|ca-file|cert-file|key-file|mirror|capabilities|concurrency|rate|budget)$/.test(name)

/** Returns true for flags about credentials, which are listed before those about connections. */
export const isAboutCredentials = ({ name }: HelpDoc.FlagDoc): boolean =>
  /^(?:authfile|(?:from-|to-)?(?:username|password-stdin|password-file))$/.test(name)

const isOther = (flag: HelpDoc.FlagDoc): boolean => !isAboutConnections(flag) && !isAboutCredentials(flag)

const verbs = (
  { commands, group }: HelpDoc.SubcommandGroupDoc,
  width: number
): ReadonlyArray<string> => {
  const namesOf = ({ alias, name }: HelpDoc.SubcommandDoc) => alias === undefined ? name : `${name}, ${alias}`
  const column = Math.max(16, ...commands.map((command) => namesOf(command).length + 2))
  const lines = commands.flatMap((command) => {
    const { description, shortDescription } = command
    const names = namesOf(command)
    const [first = "", ...rest] = wrap(shortDescription ?? description, width, " ".repeat(column + 2))
    return [`  ${names.padEnd(column)}${first.trimStart()}`, ...rest]
  })
  return section(group?.toUpperCase() ?? "VERBS", lines)
}

/** Formats the help in lines of at most `width` characters, unless a word or an example is longer. */
export const format = (doc: HelpDoc.HelpDoc, width: number): string => {
  const { args = [], description, examples = [], flags, globalFlags = [], subcommands = [] } = doc
  const flagEntries = (flags: ReadonlyArray<HelpDoc.FlagDoc>) =>
    flags.flatMap((flag) => entry(flagName(flag), flag.description, width))
  return [
    ...wrap(description, width, ""),
    ...section("USAGE", [`  ${usage(doc)}`]),
    ...section(
      "ARGUMENTS",
      args.flatMap((arg) => entry(argumentName(arg), arg.description, width))
    ),
    ...subcommands.flatMap((group) => verbs(group, width)),
    ...section("FLAGS", flagEntries([...flags.filter(isOther), ...globalFlags])),
    ...section("CREDENTIAL FLAGS", flagEntries(flags.filter(isAboutCredentials))),
    ...section("CONNECTION FLAGS", flagEntries(flags.filter(isAboutConnections))),
    ...section(
      "EXAMPLES",
      examples.flatMap(({ command, description }, index) => [
        ...index === 0 ? [] : [""],
        ...description === undefined ? [] : wrap(`# ${description}`, width, "  "),
        `  ${command}`
      ])
    )
  ].join("\n")
}

// ---------------------------------------------------------------------------------------------------------------------
// errors of the command line
// ---------------------------------------------------------------------------------------------------------------------

const meant = (suggestions: ReadonlyArray<string>): string =>
  suggestions.length === 0 ? "" : `; did you mean ${suggestions.join(" or ")}?`

/** Returns the message about an error of the command line. */
export const complaint = (error: CliError.CliError): string => {
  switch (error._tag) {
    case "UnrecognizedOption":
      return `unknown flag ${error.option}${meant(error.suggestions)}`
    case "UnknownSubcommand":
      return `unknown verb ${JSON.stringify(error.subcommand)}${meant(error.suggestions)}`
    case "MissingOption":
      return `missing flag --${error.option}`
    case "MissingArgument":
      return `missing argument ${error.argument.toUpperCase()}`
    case "UnexpectedArgument":
      return `unexpected arguments: ${error.arguments.map((text) => JSON.stringify(text)).join(" ")}`
    case "InvalidValue": {
      const name = error.kind === "flag" ? `--${error.option}` : error.option.toUpperCase()
      if (error.value === "") {
        return `${name} requires a value, ${error.expected}; write = before a value that begins with -`
      }
      if (/^[0-9]+ occurrences$/.test(error.value)) return `${name} is given more than once`
      return `${name}: ${JSON.stringify(error.value)}: ${error.expected}`
    }
    default:
      return error.message
  }
}
