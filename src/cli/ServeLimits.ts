/**
 * The flags for the limits of `serve`.
 */
import * as Flag from "effect/cli/Flag"
import * as Option from "effect/Option"
import type * as RegistryServer from "../server/RegistryServer.ts"
import * as Flags from "./Flags.ts"

const count = (name: string, description: string) => Flags.positive(name, description).pipe(Flag.optional)

const size = (name: string, description: string) => Flags.size(name, description).pipe(Flag.optional)

/** The flags. */
export const flags = {
  maxBlob: size("max-blob", "Maximum size of a blob. Default: 100GiB"),
  maxRepository: size("max-repository", "Maximum size of all content of one repository. Default: unlimited"),
  maxTotal: size(
    "max-total",
    "Maximum size of all content. Default: unlimited in a folder, or else half of the memory of the machine"
  ),
  maxUploads: count("max-uploads", "Maximum number of open upload sessions. Default: 10000"),
  maxClientUploads: count(
    "max-client-uploads",
    "Maximum number of open upload sessions per client, which is a user, or without --user an address. Default: 1000"
  ),
  maxRequests: count("max-requests", "Maximum number of requests in flight. Default: 10000"),
  maxClientRequests: count(
    "max-client-requests",
    "Maximum number of requests in flight per client. Default: 2000"
  ),
  maxClientRate: count("max-client-rate", "Maximum number of requests per client and minute. Default: 100000"),
  maxMemory: size(
    "max-memory",
    "Maximum total size of the manifests and lists in transfer. Default: 128MiB"
  ),
  maxClientMemory: size(
    "max-client-memory",
    "Maximum total size of the manifests and lists in transfer per client. Default: 64MiB"
  ),
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

/** Returns the options of the server that the flags set. */
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
