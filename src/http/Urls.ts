/**
 * URLs from other parties are used to the letter: parsing them and writing them again would change some of them, and
 * break those that are signed. Only parameters are added.
 */

/** Returns a URL with parameters added to its query. */
export const withParameters = (
  url: string,
  parameters: ReadonlyArray<[name: string, value: string]>
): string => {
  const query = new URLSearchParams(parameters).toString()
  return query === "" ? url : url + (url.includes("?") ? "&" : "?") + query
}

/** Resolves an address against the URL that it came from. An absolute URL and a path stay as they are. */
export const resolve = (address: string, base: string): string =>
  /^https?:\/\//i.test(address)
    ? address
    : address.startsWith("/") && !address.startsWith("//")
    ? new URL(base).origin + address
    : new URL(address, base).href

/** Returns true if a URL is at an origin. */
export const isAt = (origin: string, url: string): boolean =>
  // most URLs are made from the origin, and need no parsing
  url.startsWith(`${origin}/`) || new URL(url).origin === origin

/**
 * Returns a URL that a registry gave, at the registry's origin if it has the registry's host name. Registries that do
 * not know the proxy in front of them omit the port from their own URLs, or name plain HTTP.
 */
export const atHome = (registry: URL, url: string): string => {
  // most URLs need no parsing
  if (url.startsWith(`${registry.origin}/`)) return url
  const { hostname, origin, port, protocol } = new URL(url)
  const isTwisted = hostname === registry.hostname && origin !== registry.origin && port === "" &&
    (protocol === registry.protocol || protocol === "http:")
  return isTwisted ? url.replace(/^https?:\/\/[^/?#]*/i, registry.origin) : url
}
