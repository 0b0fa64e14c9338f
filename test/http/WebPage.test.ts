/**
 * Recognition of web pages.
 */
import { assert, describe, it } from "@effect/vitest"
import { isWebPage } from "../../src/http/WebPage.ts"

describe("isWebPage", () => {
  it.each<[contentType: string | undefined, text: string]>([
    ["text/html; charset=utf-8", ""],
    ["Application/XHTML+XML", ""],
    [undefined, "\n<!DOCTYPE html><title>Sign in</title>"],
    ["application/json", "<html lang=\"en\">"]
  ])("recognizes %j with %j", (contentType, text) => assert.isTrue(isWebPage(contentType, text)))

  it.each<[contentType: string | undefined, text: string]>([
    [undefined, ""],
    ["application/octet-stream", "<?xml version=\"1.0\"?><Error/>"],
    ["text/plain", "an <html> element"],
    ["application/vnd.oci.image.index.v1+json", "{}"],
    [undefined, "<html5>"]
  ])("passes %j with %j", (contentType, text) => assert.isFalse(isWebPage(contentType, text)))
})
