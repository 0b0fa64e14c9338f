/**
 * A token service for CNCF distribution. It signs its tokens with a key that the registry is configured to trust.
 */
import { Effect } from "effect"
import * as Crypto from "node:crypto"
import { listen } from "./ScriptedServer.ts"

/** Whose tokens the registry takes, and for whom they are. */
export const issuer = "effect-oci test"
export const service = "registry under test"

/** A public key pair, which protects nothing. */
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgpbYjUwjg7QAMx2Xq
arG1cUC/uUijcauQ+4nItysPm1KhRANCAAS9I9IsbMb642WJF5ZI/zL4PG2Va3Dc
hclsfr8zpv25lqr9QD/3MOjYEuaIsGCf75M9NBsd7FsTxldmz2ejfy9T
-----END PRIVATE KEY-----`

/** The certificate of that key, valid from 2020 to 2120. */
export const certificate = `-----BEGIN CERTIFICATE-----
MIIBVzCB/aADAgECAgEBMAoGCCqGSM49BAMCMBoxGDAWBgNVBAMMD2VmZmVjdC1v
Y2kgdGVzdDAgFw0yMDAxMDEwMDAwMDBaGA8yMTIwMDEwMTAwMDAwMFowGjEYMBYG
A1UEAwwPZWZmZWN0LW9jaSB0ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
vSPSLGzG+uNliReWSP8y+DxtlWtw3IXJbH6/M6b9uZaq/UA/9zDo2BLmiLBgn++T
PTQbHexbE8ZXZs9no38vU6MyMDAwDwYDVR0TAQH/BAUwAwEB/zAdBgNVHQ4EFgQU
ylGtGbu+s8PJQoMPk6RZY1oeRWkwCgYIKoZIzj0EAwIDSQAwRgIhALTMVvT5XpKS
ss7ADTRUnVoWyqC3Y7yLoKXDXUbz3edDAiEA9rv37mYEpFLHLo/NtVCSIY4czvBb
vNNqZ17+SJuXwRw=
-----END CERTIFICATE-----
`

interface Access {
  readonly type: string
  readonly name: string
  readonly actions: ReadonlyArray<string>
}

const base64url = (text: string) => Buffer.from(text).toString("base64url")

const sign = (subject: string, access: ReadonlyArray<Access>): string => {
  const der = certificate.replaceAll(/-----[A-Z ]+-----|\s/g, "")
  const now = Math.floor(Date.now() / 1000)
  const claims = {
    iss: issuer,
    sub: subject,
    aud: service,
    nbf: now - 60,
    iat: now,
    exp: now + 300,
    jti: Crypto.randomUUID(),
    access
  }
  const signed = `${base64url(JSON.stringify({ typ: "JWT", alg: "ES256", x5c: [der] }))}.${
    base64url(JSON.stringify(claims))
  }`
  const signature = Crypto.sign("sha256", Buffer.from(signed), { key, dsaEncoding: "ieee-p1363" })
  return `${signed}.${signature.toString("base64url")}`
}

// distribution names scopes and their actions in the order of a Go map: in any
const inOrder = (scope: string): string => scope.replace(/[^:]*$/, (actions) => actions.split(",").sort().join(","))

/**
 * Starts one, on the loopback interface. Who has the password gets what is asked for; others may pull what is public.
 */
export const make = Effect.fnUntraced(function*(user: { readonly username: string; readonly password: string }) {
  const asked: Array<{ readonly authorization: string | undefined; readonly scopes: ReadonlyArray<string> }> = []
  const known = `Basic ${Buffer.from(`${user.username}:${user.password}`).toString("base64")}`
  const host = yield* listen((request, response) => {
    const { authorization } = request.headers
    const scopes = new URL(request.url ?? "", "http://localhost").searchParams.getAll("scope")
    asked.push({ authorization, scopes: scopes.map(inOrder).sort() })
    if (authorization !== undefined && authorization !== known) return response.writeHead(401).end()
    const granted = scopes.flatMap((scope): ReadonlyArray<Access> => {
      const [type = "", name = "", actions = ""] = scope.split(":")
      const all = actions.split(",")
      if (authorization !== undefined) return [{ type, name, actions: all }]
      return name.startsWith("public/") ? [{ type, name, actions: all.filter((action) => action === "pull") }] : []
    })
    response.writeHead(200, { "content-type": "application/json" })
    response.end(JSON.stringify({ token: sign(authorization === undefined ? "" : user.username, granted) }))
  })
  return { asked, realm: `http://${host}/token` }
})
