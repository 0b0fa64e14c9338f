/**
 * Connections that are opened before requests need them, so that these do not wait for them.
 */

const clients = new WeakMap<object, (url: URL) => void>()
const registries = new WeakMap<object, () => void>()

/** Registers how an HTTP client opens a connection to the host of a URL. */
export const registerClient = (client: object, open: (url: URL) => void): void => {
  clients.set(client, open)
}

/** Registers the client of a registry, if that client opens connections in advance. */
export const registerRegistry = (registry: object, client: object, url: URL): void => {
  const open = clients.get(client)
  if (open !== undefined) registries.set(registry, () => open(url))
}

/** Opens a connection to a registry, if it has had one before. Does nothing if the registry does not support that. */
export const prepare = (registry: object): void => registries.get(registry)?.()
