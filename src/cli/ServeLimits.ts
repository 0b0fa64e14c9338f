/**
 * The limits of `serve`, as flags.
 */
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import type * as RegistryServer from "../server/RegistryServer.ts"
import * as Flags from "./Flags.ts"

const count = (name: string, description: string) => Flags.positive(name, description).pipe(Flag.optional)

const size = (name: string, description: string) => Flags.size(name, description).pipe(Flag.optional)

/** The flags, for the definition of the verb. */
export const flags = {
  maxBlob: size("max-blob", "Maximum size of a blob. Default: 100GiB"),
  maxRepository: size("max-repository", "Maximum size of all content of one repository. Default: any"),
  maxTotal: size(
    "max-total",
    "Maximum size of all content. Default: any in a folder, half of the machine's memory without"
  ),
  maxUploads: count("max-uploads", "Maximum number of open upload sessions. Default: 10000"),
  maxClientUploads: count(
    "max-client-uploads",
    "Maximum number of open upload sessions of one client, which is a user, or an address without --user. Default: 1000"
  ),
  maxRequests: count("max-requests", "Maximum number of requests in flight. Default: 10000"),
  maxClientRequests: count(
    "max-client-requests",
    "Maximum number of requests in flight of one client. Default: 2000"
  ),
  maxClientRate: count("max-client-rate", "Maximum number of requests of one client per minute. Default: 100000"),
  maxMemory: size(
    "max-memory",
    "Maximum size of the manifests and lists that are received or sent at the same time. Default: 128MiB"
  ),
  maxClientMemory: size("max-client-memory", "Maximum size of those of one client. Default: 64MiB"),
  minBodyRate: size("min-body-rate", "Minimum rate of request and response bodies, per second. Default: 1KiB")
}

interface Values {
  readonly maxBlob: Option.Option<number>
  readonly maxUploads: Option.Option<number>
  readonly maxClientUploads: Option.Option<number>
  readonly maxRequests: Option.Option<number>
  readonly maxClientRequests: Option.Option<number>
  readonly maxClientRate: Option.Option<number>
  readonly maxMemory: Option.Option<number>
  readonly maxClientMemory: Option.Option<number>
  readonly minBodyRate: Option.Option<number>
}

/** Returns the options of the server that the flags stand for. */
export const optionsOf = (values: Values): RegistryServer.Options => ({
  uploadLimit: Option.getOrUndefined(values.maxBlob),
  sessionLimit: Option.getOrUndefined(values.maxUploads),
  clientSessionLimit: Option.getOrUndefined(values.maxClientUploads),
  requestLimit: Option.getOrUndefined(values.maxRequests),
  clientRequestLimit: Option.getOrUndefined(values.maxClientRequests),
  clientRequestRate: Option.getOrUndefined(values.maxClientRate),
  memoryLimit: Option.getOrUndefined(values.maxMemory),
  clientMemoryLimit: Option.getOrUndefined(values.maxClientMemory),
  minimumBodyRate: Option.getOrUndefined(values.minBodyRate)
})
