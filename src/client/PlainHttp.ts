/**
 * Detection of ports that expect TLS, for a registry that is addressed in plain HTTP.
 *
 * Servers answer plain HTTP at such a port with 400 and a sentence, or close the connection. In the second case, and if
 * the sentence is missing, one request in HTTPS shows whether the port speaks TLS.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as TransportFailure from "../http/TransportFailure.ts"
import * as RegistryError from "../RegistryError.ts"

/** Knowledge about the scheme of one registry, from its responses and failures. */
export interface PlainHttp {
  /** Records the status of a response of the registry. */
  readonly answered: (status: number) => void
  /** Returns the reason for a request that got no response: `SchemeMismatch` if the port expects TLS. */
  readonly reasonOf: (failure: RegistryError.Reason) => Effect.Effect<RegistryError.Reason>
  /** Returns true if an error response of the registry means that its port expects TLS. */
  readonly isRefusal: (status: number, text: string, length: number) => Effect.Effect<boolean>
}

/** Returns true for the codes of a connection that a server closed without a response in HTTP. */
const isMute = (code: string): boolean => /^(?:UND_ERR_SOCKET|ECONNRESET|EPIPE)$|^HPE_/.test(code)

/** Sentences with which Go, nginx and Apache refuse plain HTTP at a port for TLS. */
const expectsTls = /\bhttp request (?:was sent )?to (?:an )?https (?:server|port)|plain http to an ssl-enabled server/i

// limit of the request that shows whether a port speaks TLS
const probeTimeout = Duration.seconds(5)

const overHttps: PlainHttp = {
  answered: () => {},
  reasonOf: Effect.succeed,
  isRefusal: () => Effect.succeed(false)
}

export const make = (client: HttpClient.HttpClient, registry: URL): PlainHttp => {
  if (registry.protocol !== "http:") return overHttps
  let hasAnswered = false

  const speaksTls = client.execute(HttpClientRequest.get(`${registry.origin.replace(/^http:/, "https:")}/v2/`)).pipe(
    Effect.as(true),
    // a certificate that is refused is one of TLS
    Effect.catch((cause) => {
      const reason = TransportFailure.transport(cause)
      return Effect.succeed(reason._tag === "Transport" && !reason.isRetryable)
    }),
    Effect.timeout(probeTimeout),
    Effect.orElseSucceed(() => false),
    Effect.scoped
  )

  return {
    answered: (status) => {
      // servers refuse plain HTTP with 400
      if (status !== 400) hasAnswered = true
    },
    reasonOf: (failure) =>
      hasAnswered || failure._tag !== "Transport" || !isMute(failure.code ?? "")
        ? Effect.succeed(failure)
        : Effect.map(speaksTls, (isTls) => isTls ? new RegistryError.SchemeMismatch({ used: "http" }) : failure),
    isRefusal: (status, text, length) =>
      status !== 400
        ? Effect.succeed(false)
        : expectsTls.test(text)
        ? Effect.succeed(true)
        // a response to HEAD has no text
        : hasAnswered || length > 0
        ? Effect.succeed(false)
        : speaksTls
  }
}
