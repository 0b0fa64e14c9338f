/**
 * Identifiers of upload sessions that the stores and the server create.
 */

const pattern = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/

/** Returns true for a UUID in lower case (RFC 9562), as `SecureRandom` of Effect creates it. */
export const isUuid = (text: string): boolean => pattern.test(text)
