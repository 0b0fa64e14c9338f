/**
 * Pages for browsers: one frame, one stylesheet, and headers with which a browser runs no script and loads nothing from
 * other sites.
 */
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { type Html, html, type Value } from "./Html.ts"

/** Headers of every response to a browser. */
export const headers: Readonly<Record<string, string>> = {
  "content-security-policy":
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "referrer-policy": "same-origin",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY"
}

/** Page of a server. */
export interface Page {
  readonly title: string
  /** Language of the texts, which are English. */
  readonly body: Value
  /** Seconds after which the browser loads the page again. */
  readonly refresh?: number | undefined
}

const document = ({ body, refresh, title }: Page): Html =>
  html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${title}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
${refresh !== undefined && html`<meta http-equiv="refresh" content="${refresh}">`}
<link rel="stylesheet" href="/style.css">
<link rel="icon" href="/icon.svg" type="image/svg+xml">
</head>
<body>
${body}
</body>
</html>
`

/** Returns the response with a page. */
export const response = (page: Page, status: number = 200): HttpServerResponse.HttpServerResponse =>
  HttpServerResponse.text(document(page).toString(), {
    status,
    contentType: "text/html; charset=utf-8",
    headers: { ...headers, "cache-control": "no-store" }
  })

const asset = (text: string, contentType: string) =>
  HttpServerResponse.text(text, { contentType, headers: { ...headers, "cache-control": "max-age=300" } })

/** Returns the stylesheet and the icon, by their paths. */
export const assets = (path: string): HttpServerResponse.HttpServerResponse | undefined => {
  if (path === "/style.css") return asset(style, "text/css; charset=utf-8")
  return path === "/icon.svg" ? asset(icon, "image/svg+xml") : undefined
}

const icon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">
<rect x="1" y="3" width="8" height="8" rx="1.5" fill="#2f6db5"/>
<rect x="6" y="6" width="9" height="9" rx="1.5" fill="#7fb0e6" stroke="#fff"/>
</svg>
`

const style = `:root {
  color-scheme: light dark;
  --back: #fbfbfa; --panel: #ffffff; --text: #1d2125; --quiet: #59616a; --line: #dfe2e5;
  --link: #1f5fa8; --bar: #3f7fc4; --shared: #b8761f; --good: #1c7a3d; --bad: #b3261e;
  --bad-back: #fcebea; --note-back: #eaf2fb;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #15181b; --panel: #1c2024; --text: #e6e8ea; --quiet: #a2abb4; --line: #343a40;
    --link: #86b7ee; --bar: #6ba3e0; --shared: #d9a253; --good: #6fcf8e; --bad: #ff9a90;
    --bad-back: #3a2220; --note-back: #1d2b3a;
  }
}
* { box-sizing: border-box }
body {
  margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 90rem;
  background: var(--back); color: var(--text);
  font: 1rem/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; font-variant-numeric: tabular-nums;
}
h1 { font-size: 1.5rem; font-weight: 600; margin: 0 }
h2 { font-size: 1.15rem; font-weight: 600; margin: 2.5rem 0 .5rem }
p { margin: .5rem 0; max-width: 70ch }
a { color: var(--link) }
header p, .quiet, small { color: var(--quiet) }
header p { max-width: none }
small { font-size: .875rem; font-weight: 400; display: block }
.skip { position: absolute; left: -100vw }
.skip:focus { left: 1rem; top: .25rem; background: var(--panel); padding: .25rem .5rem }
.scroll { overflow-x: auto; background: var(--panel); border: 1px solid var(--line); border-radius: .5rem }
table { border-collapse: collapse; width: 100% }
caption { text-align: left; padding: .5rem .75rem; color: var(--quiet) }
th, td { text-align: left; vertical-align: top; padding: .5rem .75rem; border-top: 1px solid var(--line) }
thead th { border-top: 0; font-weight: 500; color: var(--quiet); font-size: .875rem; white-space: nowrap }
caption + thead th { border-top: 1px solid var(--line) }
tbody th { font-weight: 600 }
.group { background: var(--back) }
.number { text-align: right; white-space: nowrap }
.name { overflow-wrap: anywhere; min-width: 12rem }
.text { overflow-wrap: anywhere; min-width: 16rem; max-width: 40rem }
.nowrap { white-space: nowrap }
.good { color: var(--good) }
.bad { color: var(--bad) }
span.bad { font-weight: 600 }
.notice { border: 1px solid var(--line); border-radius: .5rem; padding: .5rem .75rem; background: var(--note-back) }
.notice.problem { background: var(--bad-back); border-color: var(--bad) }
form { display: inline }
button {
  font: inherit; font-size: .875rem; padding: .2rem .7rem; cursor: pointer; white-space: nowrap;
  color: var(--link); background: transparent; border: 1px solid currentColor; border-radius: .4rem;
}
button:hover { background: var(--note-back) }
:focus-visible { outline: 3px solid var(--bar); outline-offset: 2px }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1rem }
figure { margin: 0; padding: .75rem; background: var(--panel); border: 1px solid var(--line); border-radius: .5rem }
figcaption { color: var(--quiet); font-size: .875rem }
svg { display: block; width: 100%; height: auto }
svg .bar { fill: var(--bar) }
svg .axis { stroke: var(--line) }
svg text { fill: var(--quiet); font-size: 11px }
svg .shared { fill: var(--shared) }
svg.stack { height: .875rem; min-width: 8rem; margin-top: .3rem }
code { font: .875em/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; overflow-wrap: anywhere }
small code { font-size: 1em }
code[title] { white-space: nowrap }
h1 { overflow-wrap: anywhere }
h1 code { font-size: .8em }
h3 { font-size: 1rem; font-weight: 600; margin: 1.25rem 0 .5rem }
header nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin-bottom: 1rem }
header nav > :last-child:not([href="/ui/-/space"]) { margin-left: auto }
a[aria-current] { color: var(--text); font-weight: 600; text-decoration: none }
.pager { display: flex; gap: 1rem; margin: .75rem 0 }
.search { display: flex; gap: .5rem; max-width: 32rem; margin: 1.25rem 0 1rem }
input:not([type=checkbox]) {
  font: inherit; padding: .25rem .6rem; min-width: 0; flex: 1; color: inherit;
  background: var(--panel); border: 1px solid var(--line); border-radius: .4rem;
}
.wide { width: 35% }
.type { overflow-wrap: anywhere }
.chip {
  display: inline-block; padding: 0 .5rem; border: 1px solid var(--line); border-radius: 1rem;
  font-size: .875rem; white-space: nowrap;
}
.legend { font-size: .875rem }
.legend span { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem; vertical-align: -.05rem }
.legend span + span { margin-left: 1rem }
.legend .own { background: var(--bar) }
.legend .shared { background: var(--shared) }
.facts, .commands {
  margin: 1rem 0 0; padding: .25rem .75rem; background: var(--panel); border: 1px solid var(--line); border-radius: .5rem;
}
.facts > div, .commands > div {
  display: grid; grid-template-columns: minmax(7rem, 21rem) 1fr; gap: 0 1rem; padding: .35rem 0;
}
.facts > div + div, .commands > div + div { border-top: 1px solid var(--line) }
.commands > div { grid-template-columns: 6rem 1fr }
dt { color: var(--quiet); overflow-wrap: anywhere }
dd { margin: 0; overflow-wrap: anywhere }
.commands code, code.all { user-select: all }
.step { white-space: pre-wrap }
.change { display: flex; flex-wrap: wrap; align-items: center; gap: .5rem 1rem; margin: .5rem 0 }
details { margin: .5rem 0 }
summary { cursor: pointer; color: var(--link) }
button.danger { color: var(--bad) }
@media (max-width: 40rem) {
  .facts > div, .commands > div { grid-template-columns: 1fr }
  .wide { min-width: 9rem }
}
`
