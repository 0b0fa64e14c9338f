/**
 * Commands that pull an image or artifact, to copy from the page.
 */
import { type Html, html } from "../../web/Html.ts"
import { isLoopback } from "../../web/SameSite.ts"

interface Target {
  /** Host of the registry, with its port. */
  readonly host: string
  readonly isSecure: boolean
  readonly repository: string
  readonly tag: string | undefined
  readonly digest: string
  /** True if it is an image, and not another artifact. */
  readonly isRunnable: boolean
}

const nameOf = (host: string): string => host.replace(/:\d+$/, "")

/** Returns the commands of each tool. All their parts are from the grammar of references, without quotes or spaces. */
const commands = (target: Target): ReadonlyArray<readonly [tool: string, command: string]> => {
  const { digest, host, isRunnable, isSecure, repository, tag } = target
  const reference = `${host}/${repository}${tag === undefined ? `@${digest}` : `:${tag}`}`
  const local = isLoopback(nameOf(host))
  const crane = isSecure || local ? "" : " --insecure"
  const oras = isSecure || nameOf(host) === "localhost" ? "" : " --plain-http"
  const own = isSecure || local ? "" : ` --plain-http ${host}`
  const folder = repository.slice(repository.lastIndexOf("/") + 1)
  return isRunnable
    ? [
      ["docker", `docker pull ${reference}`],
      ["crane", `crane pull${crane} ${reference} ${folder}.tar`],
      [
        "oras",
        `oras copy${oras === "" ? "" : " --from-plain-http"} ${reference} --to-oci-layout ${folder}:${tag ?? "latest"}`
      ],
      ["effect-oci", `effect-oci copy${own} ${reference} oci:${folder}:${tag ?? "latest"}`]
    ]
    : [
      ["oras", `oras pull${oras} ${reference}`],
      ["crane", `crane manifest${crane} ${reference}`],
      ["effect-oci", `effect-oci pull${own} ${reference}`]
    ]
}

/** Returns the commands as a list. A click selects one of them. */
export const make = (target: Target): Html =>
  html`<dl class="commands">${
    commands(target).map(([tool, command]) =>
      html`<div><dt>${tool}</dt><dd><code tabindex="0">${command}</code></dd></div>
`
    )
  }</dl>`
