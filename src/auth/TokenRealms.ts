/**
 * Policy on the token services that may receive the credentials of a registry.
 */

/**
 * Policy on the token services (realms) that may receive a password or identity token. A registry names its service
 * itself, so that an untrusted registry can name any:
 *
 * - `"https"`: every service over HTTPS, as with docker. This is the default. Plain HTTP is limited to registries that
 *   are addressed in plain HTTP themselves, and to services on loopback.
 * - `"same-site"`: only services on the registry's own host, below it, or in its parent domain, such as
 *   `auth.docker.io` for `registry-1.docker.io`. If several owners share that domain, list the service instead.
 * - `{ hosts }`: only these hosts, named with a port unless it is the default port.
 *
 * Other services are used only for anonymous tokens. If there are credentials, the operation fails.
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
