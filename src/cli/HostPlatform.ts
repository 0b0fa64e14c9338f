/**
 * The platform of containers on this machine.
 */
import { arch } from "node:os"
import type { Platform } from "../Platform.ts"

/** Names of architectures of Go, by those of Node. */
const architectures: Readonly<Record<string, Pick<Platform, "architecture" | "variant">>> = {
  x64: { architecture: "amd64" },
  ia32: { architecture: "386" },
  arm: { architecture: "arm", variant: "v7" },
  ppc64: { architecture: "ppc64le" },
  loong64: { architecture: "loong64" }
}

/** The platform of containers on this machine: Linux, also on other systems, with the architecture of the machine. */
export const platform: Platform = { os: "linux", ...architectures[arch()] ?? { architecture: arch() } }
