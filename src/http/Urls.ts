/**
 * Addresses that others gave us are used to the letter: parsing them and writing them again would change some, and break
 * what is signed. Only parameters are added.
 */

/** An address with parameters added to its query. */
export const withParameters = (
  url: string,
  parameters: ReadonlyArray<[name: string, value: string]>
): string => {
  const query = new URLSearchParams(parameters).toString()
  return query === "" ? url : url + (url.includes("?") ? "&" : "?") + query
}

/** An address resolved against the one that it came from, without a character changed that need not be. */
export const resolve = (address: string, base: string): string =>
  /^https?:\/\//i.test(address)
    ? address
    : address.startsWith("/") && !address.startsWith("//")
    ? new URL(base).origin + address
    : new URL(address, base).href
