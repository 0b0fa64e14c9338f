/**
 * The registries whose content `serve --proxy` caches, as flags and files name them.
 */
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Reference from "../Reference.ts"
import * as Flags from "./Flags.ts"
import { readHost } from "./ReferenceInput.ts"

/** Fields of an upstream in a file: how to connect to it. The flags of the same names are for all upstreams. */
const connection = {
  username: Schema.optionalKey(Schema.String).annotate({
    description: "User name at this registry, instead of the stored docker login of this machine"
  }),
  passwordFile: Schema.optionalKey(Schema.String).annotate({ description: "File with the password of username" }),
  plainHttp: Schema.optionalKey(Schema.Boolean).annotate({
    description: "Use plain HTTP. Default: for loopback only"
  }),
  tls: Schema.optionalKey(Schema.Boolean).annotate({ description: "Use HTTPS, although the host is loopback" }),
  insecure: Schema.optionalKey(Schema.Boolean).annotate({ description: "Skip the check of the certificate" }),
  caFile: Schema.optionalKey(Schema.String).annotate({
    description: "Trust the certificate authorities in this PEM file, in addition to those of the system"
  }),
  certFile: Schema.optionalKey(Schema.String).annotate({ description: "Client certificate, as a PEM file" }),
  keyFile: Schema.optionalKey(Schema.String).annotate({ description: "Private key of certFile, as a PEM file" }),
  concurrency: Schema.optionalKey(Schema.Int).annotate({
    description: "Maximum number of concurrent requests. Default: adapts to the registry"
  }),
  rate: Schema.optionalKey(Schema.Union([Schema.Int, Schema.String])).annotate({
    description: "Maximum rate of requests, such as 20/s or 100/m. Default: unlimited"
  }),
  budget: Schema.optionalKey(Schema.Int).annotate({
    description: "Pause requests while the registry says that it accepts only N more. Default: no pause"
  })
}

/** Schema of an upstream in a file. */
export const Fields = Schema.Struct({
  host: Schema.String.annotate({ description: "Host of the registry, with its port if it has one" }),
  prefix: Schema.optionalKey(Schema.String).annotate({
    description: "Prefix of its repositories here. Default: none, which one upstream may have"
  }),
  ...connection
})

/** An upstream in a file: its host, `PREFIX=HOST`, or its fields. */
export const Item = Schema.Union([Schema.String, Fields])

type Item = typeof Item.Type

/** A registry whose content is cached. */
export interface Upstream {
  readonly host: Reference.Host
  /** Prefix of its repositories. Blank for the upstream of all other repositories. */
  readonly prefix: string
  /** Settings of its connection that differ from those of the flags. */
  readonly connection: Omit<typeof Fields.Type, "host" | "prefix" | "rate"> & { readonly rate?: number | undefined }
}

const readPrefix = (text: string): Result.Result<string, string> =>
  Result.mapBoth(Reference.parseRepository(text), {
    onSuccess: () => text,
    onFailure: ({ problem }) => `${JSON.stringify(text)} is not a prefix of repositories: ${problem}`
  })

const readName = (prefix: string | undefined, host: string) =>
  Result.all([
    prefix === undefined ? Result.succeed("") : readPrefix(prefix),
    Result.mapError(readHost(host), ({ message }) => message)
  ])

/** Reads `HOST` or `PREFIX=HOST`. */
const readText = (text: string): Result.Result<Upstream, string> => {
  const at = text.indexOf("=")
  return Result.map(
    readName(at < 0 ? undefined : text.slice(0, at), text.slice(at + 1)),
    ([prefix, host]) => ({ host, prefix, connection: {} })
  )
}

/** Returns the problem of fields that contradict each other, if any. */
const contradiction = ({ certFile, keyFile, passwordFile, plainHttp, tls, username }: Upstream["connection"]) => {
  if ((username === undefined) !== (passwordFile === undefined)) return "username and passwordFile require each other"
  if ((certFile === undefined) !== (keyFile === undefined)) return "certFile and keyFile require each other"
  return plainHttp === true && tls === true ? "plainHttp and tls contradict each other" : undefined
}

const readFields = ({ host: name, prefix: given, rate, ...rest }: typeof Fields.Type): Result.Result<
  Upstream,
  string
> => {
  const problem = contradiction(rest) ??
    [rest.concurrency, rest.budget].flatMap((count) =>
      count === undefined || count > 0 ? [] : [`${count} is not a number of at least 1`]
    )[0]
  if (problem !== undefined) return Result.fail(`${JSON.stringify(name)}: ${problem}`)
  const perSecond = rate === undefined ? Result.succeed(undefined) : Flags.readRate(String(rate))
  return Result.all([readName(given, name), Result.mapError(perSecond, ({ message }) => message)]).pipe(
    Result.map(([[prefix, host], rate]) => ({ host, prefix, connection: { ...rest, rate } }))
  )
}

const double = (texts: ReadonlyArray<string>): string | undefined =>
  texts.find((text, index) => texts.indexOf(text) !== index)

/** Reads upstreams. Their prefixes must differ, so that at most one has none. */
export const read = (items: ReadonlyArray<Item>): Result.Result<ReadonlyArray<Upstream>, string> =>
  Result.flatMap(
    Result.all(items.map((item) => typeof item === "string" ? readText(item) : readFields(item))),
    (all) => {
      const prefix = double(all.map(({ prefix }) => prefix))
      if (prefix === undefined) return Result.succeed(all)
      return Result.fail(
        prefix === ""
          ? `only one upstream may have no prefix; write PREFIX=HOST for the others, such as hub=docker.io`
          : `two upstreams have the prefix ${prefix}`
      )
    }
  )

/** Returns an upstream with its paths, which are relative to the folder of the file. */
export const resolved = ({ connection, ...rest }: Upstream, resolve: (path: string) => string): Upstream => {
  const paths = (["passwordFile", "caFile", "certFile", "keyFile"] as const).flatMap((key) =>
    Option.toArray(Option.map(Option.fromUndefinedOr(connection[key]), (path) => [key, resolve(path)] as const))
  )
  return { ...rest, connection: { ...connection, ...Object.fromEntries(paths) } }
}

/** Returns the upstream as the flag names it. */
export const format = ({ host, prefix }: Upstream): string => prefix === "" ? host : `${prefix}=${host}`
