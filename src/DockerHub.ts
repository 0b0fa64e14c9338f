/**
 * Names of Docker Hub.
 *
 * One registry has several names. References name it `docker.io`, its registry answers at `registry-1.docker.io`, and
 * docker stores its credentials under the address of an API that it no longer uses.
 *
 * @since 0.1.0
 */
import { Host } from "./Reference.ts"

/**
 * Host of Docker Hub in references, and its canonical name: `docker.io`.
 *
 * @category constants
 * @since 0.1.0
 */
export const host: Host = Host.make("docker.io")

/**
 * Host at which the registry of Docker Hub answers requests: `registry-1.docker.io`.
 *
 * @category constants
 * @since 0.1.0
 */
export const apiHost: Host = Host.make("registry-1.docker.io")

/**
 * Key under which docker and podman store the credentials of Docker Hub: `https://index.docker.io/v1/`.
 *
 * @category constants
 * @since 0.1.0
 */
export const configKey = "https://index.docker.io/v1/"

const names: ReadonlySet<string> = new Set([host, "index.docker.io", apiHost])

/**
 * Returns true if a host is Docker Hub under one of its names: `docker.io`, `index.docker.io` or
 * `registry-1.docker.io`. Case does not matter.
 *
 * **Example** (Recognizing Docker Hub)
 *
 * ```ts import.meta.vitest
 * import * as DockerHub from "effect-oci/DockerHub"
 *
 * DockerHub.isHost("index.docker.io") // => true
 * DockerHub.isHost("mirror.gcr.io") // => false
 * ```
 *
 * @category guards
 * @since 0.1.0
 */
export const isHost = (name: string): boolean => names.has(name.toLowerCase())

const official = /^library\/(?=[^/]+$)/

/**
 * Returns the name of a repository of Docker Hub as people write it: `alpine` instead of `library/alpine`. Other names
 * stay as they are.
 *
 * **Example** (Showing an official image)
 *
 * ```ts import.meta.vitest
 * import * as DockerHub from "effect-oci/DockerHub"
 *
 * DockerHub.familiarName("library/alpine") // => "alpine"
 * DockerHub.familiarName("grafana/loki") // => "grafana/loki"
 * ```
 *
 * @category conversions
 * @since 0.1.0
 */
export const familiarName = (repository: string): string => repository.replace(official, "")

/**
 * Returns the repository that a familiar name stands for: a name of one part is an official image, below `library`.
 *
 * **Example** (Naming an official image in full)
 *
 * ```ts import.meta.vitest
 * import * as DockerHub from "effect-oci/DockerHub"
 *
 * DockerHub.fullName("alpine") // => "library/alpine"
 * DockerHub.fullName("grafana/loki") // => "grafana/loki"
 * ```
 *
 * @category conversions
 * @since 0.1.0
 */
export const fullName = (repository: string): string => repository.includes("/") ? repository : `library/${repository}`
