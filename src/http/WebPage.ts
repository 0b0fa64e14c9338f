/**
 * Recognition of web pages: hosts that are not registries answer every request with one, and so do login pages of
 * networks.
 */
import * as MediaType from "../MediaType.ts"

/** Returns true for a web page, by its `Content-Type` or by the beginning of its text. */
export const isWebPage = (contentType: string | undefined, text: string = ""): boolean =>
  /^(?:text\/html|application\/xhtml\+xml)$/.test(MediaType.fromContentType(contentType ?? "")) ||
  /^\s*<(?:!doctype html|html)\b/i.test(text)
