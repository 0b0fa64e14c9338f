/**
 * Keys under which credentials are stored: a host, or a host and the beginning of a repository.
 */
import * as DockerHub from "../DockerHub.ts"

/** Values by their place, which is `host` or `host/path`. */
export type Table<A> = ReadonlyMap<string, A>

/** Place of Docker Hub, which has several names: the host in the address under which docker stores its credentials. */
const dockerHub = new URL(DockerHub.configKey).host

const normalized = (host: string): string => DockerHub.isHost(host) ? dockerHub : host.toLowerCase()

/**
 * Returns the place that a key is for. From a URL, such as `https://index.docker.io/v1/`, docker and podman take only
 * the host.
 */
export const placeOf = (key: string): string => {
  const [, scheme, host = "", path = ""] = /^(https?:\/\/)?([^/]*)(.*?)\/*$/i.exec(key) ?? []
  return scheme !== undefined || /^\/v[12]$/.test(path) ? normalized(host) : normalized(host) + path
}

/** Returns the key under which docker stores a place: a URL for Docker Hub, and every other host as it is. */
export const address = (place: string): string => place === dockerHub ? DockerHub.configKey : place

/**
 * Creates a table. If several keys name the same place, a plain `host/path` takes precedence over a URL, then the first
 * key over later ones.
 */
export const table = <A>(entries: Readonly<Record<string, A>>): Table<A> => {
  const found = new Map<string, A>()
  for (const [key, value] of Object.entries(entries)) {
    const place = placeOf(key)
    if (key === place || !found.has(place)) found.set(place, value)
  }
  return found
}

/** Returns the places that contain this one, from the narrowest to the host. The place itself is the first. */
export const enclosing = (
  { host, repository }: { readonly host: string; readonly repository?: string | undefined }
): ReadonlyArray<string> => {
  const parts = [normalized(host), ...repository?.split("/") ?? []]
  return parts.map((_, index) => parts.slice(0, parts.length - index).join("/"))
}
