/**
 * The query parameter `ns`: containerd sends the host of a reference in it to a server that it uses as a mirror of that
 * host (`hosts.toml` of containerd).
 */
import * as Result from "effect/Result"
import * as DockerHub from "../DockerHub.ts"
import * as Endpoint from "./Endpoint.ts"
import * as Refusal from "./Refusal.ts"

const canonical = (host: string): string => DockerHub.isHost(host) ? DockerHub.host : host.toLowerCase()

/** Hosts with the prefixes that their repositories have here. */
export type Prefixes = ReadonlyArray<{ readonly host: string; readonly prefix: string }>

/**
 * Returns what replaces the repository of a request that names a host by the one that mirrors it. A repository of that
 * host whose place another prefix takes is not mirrored.
 */
export const make = (mirrored: Prefixes | undefined) => {
  const all = mirrored ?? []
  // the first prefix of a host counts
  const prefixes = new Map(all.map(({ host, prefix }) => [canonical(host), prefix] as const).toReversed())
  const isHidden = (name: string, prefix: string): boolean =>
    all.some((other) => other.prefix.length > prefix.length && name.startsWith(`${other.prefix}/`))
  return (request: Endpoint.Request): Result.Result<Endpoint.Request, Refusal.Refusal> => {
    const { endpoint, query } = request
    const host = mirrored === undefined ? null : query.get("ns")
    if (host === null || host === "" || !("repository" in endpoint)) return Result.succeed(request)
    const prefix = prefixes.get(canonical(host))
    const name = prefix === "" ? endpoint.repository : `${prefix}/${endpoint.repository}`
    if (prefix === undefined || isHidden(name, prefix)) {
      return Result.fail(Refusal.make(404, "NAME_UNKNOWN", "this registry is not a mirror of that repository"))
    }
    return Result.map(
      Endpoint.parseRepository(name),
      (repository) => ({ ...request, endpoint: { ...endpoint, repository } })
    )
  }
}
