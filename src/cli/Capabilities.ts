/**
 * The flag that sets the capabilities of a host, for hosts whose responses do not show them.
 */
import * as Flag from "effect/cli/Flag"
import * as Result from "effect/Result"
import type { Capabilities } from "../Registry.ts"
import * as Flags from "./Flags.ts"
import { readHost } from "./ReferenceInput.ts"

type Setting = readonly [host: string, capabilities: Capabilities]

type Read<A> = (text: string) => A | undefined

const readBoolean: Read<boolean> = (text) => text === "true" ? true : text === "false" ? false : undefined

const readSize: Read<number> = (text) => Result.getOrUndefined(Flags.readSize(text))

/** The reader of each capability. */
const readers: { readonly [Name in keyof Capabilities]-?: Read<NonNullable<Capabilities[Name]>> } = {
  referrers: readBoolean,
  singlePost: readBoolean,
  tagParameters: readBoolean,
  anonymousMount: readBoolean,
  selfMount: readBoolean,
  chunks: readBoolean,
  minimumChunk: readSize,
  maximumChunk: readSize,
  pages: readBoolean
}

const problemOf = (text: string) => ({
  message: `${JSON.stringify(text)} is not HOST,NAME=VALUE,…, with a name of ${
    Object.keys(readers).join(", ")
  }, and true, false or a size such as 20MB`
})

const readSetting = (text: string): Result.Result<Setting, { readonly message: string }> => {
  const [host = "", ...pairs] = text.split(",")
  const capabilities: Record<string, boolean | number> = {}
  for (const pair of pairs) {
    const read = Result.getOrUndefined(Flags.readPair(pair))
    // the assertion is safe after `hasOwn`, which the compiler does not follow
    const reader = read !== undefined && Object.hasOwn(readers, read[0])
      ? readers[read[0] as keyof Capabilities]
      : undefined
    const value = reader?.(read?.[1] ?? "")
    if (read === undefined || value === undefined) return Result.fail(problemOf(text))
    capabilities[read[0]] = value
  }
  return pairs.length === 0 ? Result.fail(problemOf(text)) : Result.map(readHost(host), (host) => [host, capabilities])
}

export const flag: Flag.Flag<ReadonlyArray<Setting>> = Flags.parsed(
  "capabilities",
  "HOST,NAME=VALUE",
  "Set capabilities of HOST, such as chunks=false,maximumChunk=20MB; they override its responses. May be repeated",
  readSetting
).pipe(Flag.atLeast(0))

/** Returns the capabilities of each host. A later setting overrides an earlier one. */
export const byHost = (settings: ReadonlyArray<Setting>): Readonly<Record<string, Capabilities>> => {
  const all: Record<string, Capabilities> = {}
  for (const [host, capabilities] of settings) all[host] = { ...all[host], ...capabilities }
  return all
}
