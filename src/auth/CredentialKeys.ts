/**
 * The keys under which credentials are kept: a host, or a host and the beginning of a repository.
 */

/** Values by their place, which is a host or `host/path`. */
export type Table<A> = ReadonlyMap<string, A>

/** Docker Hub has several names, and one key: the one in docker's files. */
const dockerHub = "index.docker.io"

const plain = (host: string): string => {
  const lower = host.toLowerCase()
  return lower === "docker.io" || lower === "registry-1.docker.io" ? dockerHub : lower
}

/** The place that a key is for. Of addresses, such as `https://index.docker.io/v1/`, docker and podman take the host alone. */
export const placeOf = (key: string): string => {
  const [, scheme, host = "", path = ""] = /^(https?:\/\/)?([^/]*)(.*?)\/*$/i.exec(key) ?? []
  return scheme !== undefined || /^\/v[12]$/.test(path) ? plain(host) : plain(host) + path
}

/** How docker writes a place: Docker Hub by an address, every other host as it is. */
export const address = (place: string): string => place === dockerHub ? "https://index.docker.io/v1/" : place

/** Of several keys for one place, the one that is written plainly wins, then the first. */
export const table = <A>(entries: Readonly<Record<string, A>>): Table<A> => {
  const found = new Map<string, A>()
  for (const [key, value] of Object.entries(entries)) {
    const place = placeOf(key)
    if (key === place || !found.has(place)) found.set(place, value)
  }
  return found
}

/** Every place that this one is in, the narrowest first and the host last. */
export const enclosing = (place: { readonly host: string; readonly repository?: string }): ReadonlyArray<string> => {
  const parts = [plain(place.host), ...place.repository?.split("/") ?? []]
  return parts.map((_, index) => parts.slice(0, parts.length - index).join("/"))
}
