/**
 * Which token services may receive the credentials of a registry.
 */

/**
 * Policy on the token services (realms) that may receive a password or identity token. A registry names its service
 * itself, so that a registry that is not trusted can name any:
 *
 * - `"https"`: every service over HTTPS, as docker does. This is the default. Plain HTTP is limited to registries that
 *   are in plain HTTP themselves, and to services on loopback.
 * - `"same-site"`: only services on the registry's own host, below it, or beside it in its parent domain, as
 *   `auth.docker.io` is beside `registry-1.docker.io`. On a host of a domain that several owners share, list the
 *   service instead.
 * - `{ hosts }`: only these hosts, named with a port unless it is the usual one.
 *
 * Other services are asked for tokens without credentials only; if there are any, the operation fails.
 *
 * @category models
 * @since 0.1.0
 */
export type TokenRealms = "https" | "same-site" | { readonly hosts: ReadonlyArray<string> }

const isAddress = (host: string): boolean => host.startsWith("[") || /^[\d.]+$/.test(host)

const plain = (host: string): string => host.toLowerCase().replace(/\.$/, "")

const isSameSite = (registry: string, realm: string): boolean => {
  if (registry === realm) return true
  if (isAddress(registry) || isAddress(realm)) return false
  const parent = registry.split(".").slice(1)
  return `.${realm}`.endsWith(`.${registry}`) || parent.length >= 2 && `.${realm}`.endsWith(`.${parent.join(".")}`)
}

/** Returns true if a token service may receive the credentials of a registry. */
export const mayReceive = (policy: TokenRealms, registry: URL, realm: URL): boolean => {
  if (policy === "https") return true
  if (policy === "same-site") return isSameSite(plain(registry.hostname), plain(realm.hostname))
  return policy.hosts.some((host) => plain(host) === plain(realm.host))
}
