/**
 * An oxlint plugin that keeps comments and texts in plain English. It reports phrases that CONTRIBUTING.md rules out,
 * doc comments that are questions or begin with a fragment, and comment lines wider than 120 characters.
 */
import type { RuleTester } from "oxlint/plugins-dev"

type Rule = Parameters<RuleTester["run"]>[1]

const maximumWidth = 120

const machine = "name the caller, the client, the reader, the process or the registry"

/** Phrases that are ruled out, with what to write instead. */
const phrases: ReadonlyArray<readonly [phrase: RegExp, instead: string]> = [
  [/\b(?:whoever|whomever|nobody|somebody|everybody|anybody)\b/i, machine],
  [/\bwho (?:asks|reads|writes|wants|looks|knows|watches|comes|serves|may|waits|uses|one is|we are|it is)\b/i, machine],
  [/\banew\b/i, "write: again"],
  [/\bby now\b/i, "write: so far, or nothing"],
  [/\b(?:lets?|letting) go of\b/i, "write: releases, closes or discards"],
  [/\b(?:is|are|be) told\b(?! apart)/i, "write: is reported, receives"],
  [/\btells? of\b/i, "write: reports"],
  [/\bbut for\b/i, "write: except"],
  [/\b(?:gives?|given|giving) up\b/i, "write: cancels or aborts"],
  [/\btak(?:es?|en|ing) away\b/i, "write: deletes or removes"],
  [/\bwhere (?:it|there) is (?:none|one|any)\b/i, "write: if there is none, if it is one"],
  [/\bfor a while\b/i, "name the time, or write: temporarily"],
  [/\bnot there\b/i, "write: absent, missing"],
  [/\b(?:to|for) oneself\b/i, machine]
]

/** Beginnings of a comment that make a fragment of it. */
const fragment = /^(?:Of|That|What|Where|Who|Whether)\b/

/** Returns the text of a comment without its markers, one line each. */
const linesOf = (comment: string): ReadonlyArray<string> =>
  comment.split("\n").map((line) => line.replace(/^\s*\*+ ?/, "").trim())

/** Returns the first paragraph of a doc comment. */
const summaryOf = (comment: string): string => {
  const lines = linesOf(comment)
  const first = lines.findIndex((line) => line !== "")
  const end = lines.findIndex((line, index) => index > first && (line === "" || line.startsWith("@")))
  return lines.slice(Math.max(first, 0), end < 0 ? undefined : end).join(" ")
}

/** Returns what is wrong with a text. */
const verdicts = (text: string): ReadonlyArray<string> =>
  phrases.flatMap(([phrase, instead]) => {
    const found = phrase.exec(text)
    return found === null ? [] : [`"${found[0]}": ${instead}`]
  })

const rule: Rule = {
  create: (context) => ({
    Program: () => {
      for (const comment of context.sourceCode.getAllComments()) {
        const summary = summaryOf(comment.value)
        const isDoc = comment.type === "Block" && comment.value.startsWith("*")
        const found = [
          ...verdicts(linesOf(comment.value).join(" ")),
          ...isDoc && fragment.test(summary) ? [`"${summary.split(" ", 1)[0]}": begin with a verb or a noun`] : [],
          ...isDoc && summary.endsWith("?")
            ? ["a doc comment is no question: write Returns true if …, or True if …"]
            : [],
          ...comment.value.split("\n").some((line) => line.length > maximumWidth)
            ? [`a line is wider than ${maximumWidth} characters`]
            : []
        ]
        for (const message of found) context.report({ message, node: comment })
      }
    },
    Literal: (node) => {
      if (typeof node.value !== "string") return
      for (const message of verdicts(node.value)) context.report({ message, node })
    },
    TemplateElement: (node) => {
      for (const message of verdicts(node.value.raw)) context.report({ message, node })
    }
  })
}

export default { meta: { name: "language" }, rules: { phrases: rule } }
