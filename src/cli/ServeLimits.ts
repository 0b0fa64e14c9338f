/**
 * The limits of `serve`.
 */
import type * as RegistryServer from "../server/RegistryServer.ts"
import type { Values } from "./ServeSettings.ts"

/** Returns the options of the server that the settings set. */
export const optionsOf = (values: Values): RegistryServer.Options => ({
  uploadLimit: values.maxBlob,
  sessionLimit: values.maxUploads,
  clientSessionLimit: values.maxClientUploads,
  requestLimit: values.maxRequests,
  clientRequestLimit: values.maxClientRequests,
  clientRequestRate: values.maxClientRate,
  memoryLimit: values.maxMemory,
  clientMemoryLimit: values.maxClientMemory,
  minimumBodyRate: values.minBodyRate
})
