/**
 * Formats the help of the command as a man page.
 */
import * as CliConfig from "effect/cli/CliConfig"
import * as CliOutput from "effect/cli/CliOutput"
import * as Command from "effect/cli/Command"
import * as GlobalFlag from "effect/cli/GlobalFlag"
import type * as HelpDoc from "effect/cli/HelpDoc"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Help from "../src/cli/Help.ts"
import * as Program from "../src/cli/Program.ts"
import { version } from "../src/cli/version.ts"

const special: Readonly<Record<string, string>> = {
  "\\": "\\e",
  "-": "\\-",
  "'": "\\(aq",
  "`": "\\(ga",
  "^": "\\(ha",
  "~": "\\(ti",
  "\"": "\\(dq"
}

/** Escapes a text for roff, so that it is printed as it is. */
export const escape = (text: string): string =>
  text
    .replace(/\s+/g, " ")
    .replace(/[\\\-'`^~"]/g, (character) => special[character] ?? character)
    .replace(/[^\x20-\x7e]/gu, (character) =>
      `\\[u${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}]`)
    // a line that begins with a dot would be a request
    .replace(/^\./, "\\&.")

const bold = (text: string): string => `\\fB${escape(text)}\\fR`

const item = (term: string, description: string): ReadonlyArray<string> => [".TP", term, escape(description)]

const text = (description: Option.Option<string>): string =>
  Option.getOrElse(description, () => "").replace(/ \(choices: [^)]*\)$/, "")

const flag = ({ aliases, description, name, type }: HelpDoc.FlagDoc): ReadonlyArray<string> => {
  const names = [...aliases, `--${name}`].map(bold).join(", ")
  return item(type === "boolean" ? names : `${names} \\fI${escape(type)}\\fR`, text(description))
}

const nameOf = ({ name, required, variadic }: HelpDoc.ArgDoc): string => {
  const whole = name.toUpperCase() + (variadic ? "..." : "")
  return required ? whole : `[${whole}]`
}

const example = ({ command, description }: { readonly command: string; readonly description?: string | undefined }) => [
  ".PP",
  ...description === undefined ? [] : [`${escape(description)}:`],
  ".RS 4",
  ".nf",
  escape(command),
  ".fi",
  ".RE"
]

/** Flags that several verbs share, which the page describes once. */
interface Shared {
  readonly title: string
  readonly has: (flag: HelpDoc.FlagDoc) => boolean
}

const verb = (doc: HelpDoc.HelpDoc, shared: ReadonlyArray<Shared>): ReadonlyArray<string> => {
  const { args = [], commandPath = [], description, examples = [], flags } = doc
  const own = flags.filter((flag) => !shared.some(({ has }) => has(flag)))
  const sections = shared.filter(({ has }) => flags.some(has)).map(({ title }) => title.toUpperCase())
  return [
    `.SS "${escape(commandPath.slice(1).join(" "))}"`,
    `${bold(commandPath.join(" "))} ${["[FLAGS]", ...args.map(nameOf)].map(escape).join(" ")}`,
    ".PP",
    escape(description),
    ...args.flatMap((arg) => item(bold(nameOf(arg)), text(arg.description))),
    ...own.flatMap(flag),
    ...sections.length === 0 ? [] : [".PP", escape(`See also ${sections.join(" and ")}.`)],
    ...examples.flatMap(example)
  ]
}

/** Returns the flags of a group without repetitions. */
const distinct = (docs: ReadonlyArray<HelpDoc.HelpDoc>, { has }: Shared): ReadonlyArray<HelpDoc.FlagDoc> =>
  Array.from(new Map(docs.flatMap(({ flags }) => flags.filter(has)).map((flag) => [flag.name, flag])).values())

/** Formats the help of the command itself and of its verbs, in roff. */
const format = (
  root: HelpDoc.HelpDoc,
  verbs: ReadonlyArray<HelpDoc.HelpDoc>,
  shared: ReadonlyArray<Shared>,
  version: string
): string =>
  [
    ".\\\" written by .build/man.ts from the help of the command",
    `.TH EFFECT\\-OCI 1 "" "effect\\-oci ${escape(version)}" "User Commands"`,
    // neither hyphenation nor justification, which change what people copy
    ".nh",
    ".ad l",
    ".SH NAME",
    "effect\\-oci \\- copies, inspects, changes and serves OCI images and artifacts",
    ".SH SYNOPSIS",
    `${bold("effect-oci")} \\fIVERB\\fR [\\fIFLAGS\\fR] [\\fIARGUMENTS\\fR]`,
    ".SH DESCRIPTION",
    escape(root.description),
    ".PP",
    escape(
      "Images are named host/repository[:tag][@digest], oci:DIR[:tag][@digest], oci-archive:FILE[:tag][@digest] or " +
        "docker-archive:FILE[:name[:tag]][@digest]. Results are printed on stdout; errors, warnings and " +
        "progress on stderr."
    ),
    ...(root.examples ?? []).flatMap(example),
    ".SH GLOBAL FLAGS",
    ...[...root.flags, ...root.globalFlags ?? []].flatMap(flag),
    ".SH VERBS",
    ...verbs.flatMap((doc) => verb(doc, shared)),
    ...shared.flatMap((group) => [
      `.SH "${escape(group.title.toUpperCase())}"`,
      ...distinct(verbs, group).flatMap(flag)
    ]),
    ".SH EXIT STATUS",
    ...item(bold("0"), "The verb has succeeded."),
    ...item(bold("1"), "The verb has failed. The reason is on stderr."),
    ...item(bold("2"), "The arguments are wrong."),
    ...item(bold("130"), "The command was interrupted."),
    ".SH ENVIRONMENT",
    ...item(
      bold("OCI_REGISTRY"),
      "Registry that the following credentials are for. They take precedence over stored credentials: " +
        "OCI_REGISTRY_TOKEN, or OCI_IDENTITY_TOKEN, or OCI_USERNAME with OCI_PASSWORD."
    ),
    ...item(
      bold("DOCKER_CONFIG, REGISTRY_AUTH_FILE"),
      "Folder or file with the stored credentials of docker or podman."
    ),
    ...item(bold("HTTP_PROXY, HTTPS_PROXY, NO_PROXY"), "Proxies, and the hosts that are reached without one.")
  ].join("\n") + "\n"

/** Returns the help of a verb. */
const helpOf = Effect.fnUntraced(function*(path: ReadonlyArray<string>) {
  const docs: Array<HelpDoc.HelpDoc> = []
  const presenter: CliOutput.Presenter = {
    present: (event) =>
      Effect.sync(() => {
        if (event._tag === "Help") docs.push(event.helpDoc)
      })
  }
  yield* Command.runWith(yield* Program.whole, { version })([...path, "--help"]).pipe(
    Effect.provideService(CliOutput.Presenter, presenter),
    Effect.provideService(CliConfig.CliConfig, { builtIns: [GlobalFlag.Help, GlobalFlag.Version] })
  )
  const [doc] = docs
  return doc ?? (yield* Effect.die(`no help of ${path.join(" ")}`))
})

/** Returns the help of all verbs below a path, without groups of verbs. */
const verbsOf = (path: ReadonlyArray<string>): Effect.Effect<
  ReadonlyArray<HelpDoc.HelpDoc>,
  unknown,
  Effect.Services<ReturnType<typeof helpOf>>
> =>
  Effect.gen(function*() {
    const doc = yield* helpOf(path)
    const names = (doc.subcommands ?? []).flatMap(({ commands }) => commands.map(({ name }) => name))
    if (names.length === 0) return [doc]
    return (yield* Effect.forEach(names, (name) => verbsOf([...path, name]))).flat()
  })

/** Returns the man page of the command. */
export const page = Effect.gen(function*() {
  const shared = [
    { title: "credential flags", has: Help.isAboutCredentials },
    { title: "connection flags", has: Help.isAboutConnections }
  ]
  return format(yield* helpOf([]), yield* verbsOf([]), shared, version)
})
