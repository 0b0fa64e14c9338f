/**
 * Headless Chromium, as Debian packages it, driven over its DevTools protocol.
 */
import { Context, Effect, Layer, Schema } from "effect"
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import type * as NodeStream from "node:stream"

const names = ["chromium", "chromium-browser", "google-chrome"]
const folders = [
  ...(process.env["PATH"] ?? "").split(Path.delimiter),
  "/usr/bin",
  "/usr/local/bin",
  "/opt/google/chrome"
]

const found = folders
  .flatMap((folder) => names.map((name) => Path.join(folder, name)))
  .find((file) => Fs.existsSync(file))

/** True if it is installed. In CI, tests that need it always run, and fail without it. */
export const available = process.env["CI"] !== undefined || found !== undefined

type Parameters = Readonly<Record<string, unknown>>
type Listener = (method: string, parameters: Parameters, session: string | undefined) => void

/** A page that is open in the browser. */
export interface Tab {
  /** Loads a page, and waits until it and its images are there. */
  readonly open: (url: string) => Effect.Effect<void>
  /** Clicks the middle of the first element that matches, and waits for the page that follows. */
  readonly click: (selector: string) => Effect.Effect<void>
  /** Clicks the middle of the first element that matches. No page follows. */
  readonly select: (selector: string) => Effect.Effect<void>
  /** Presses keys: `Tab`, `Enter`. A page may follow. */
  readonly press: (key: "Tab" | "Enter") => Effect.Effect<void>
  readonly evaluate: (expression: string) => Effect.Effect<unknown>
  /** Selects the colors. */
  readonly colors: (scheme: "light" | "dark") => Effect.Effect<void>
  /** Sets the width of the window. */
  readonly resize: (width: number) => Effect.Effect<void>
  /** Writes a picture of the whole page. */
  readonly screenshot: (file: string, width?: number) => Effect.Effect<void>
  /** Errors of the console, violations of the content security policy, and requests that failed. */
  readonly problems: ReadonlyArray<string>
  /** URLs that were requested. */
  readonly requested: ReadonlyArray<string>
}

/** The browser. */
export class Chromium extends Context.Service<Chromium, {
  /** Opens a tab whose pages run no scripts of their own. */
  readonly tab: Effect.Effect<Tab>
}>()("effect-oci/test/Chromium") {}

const flags = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-dev-shm-usage",
  "--disable-background-networking",
  "--disable-component-update",
  "--no-first-run",
  "--hide-scrollbars",
  "--remote-debugging-pipe"
]

const Message = Schema.fromJsonString(Schema.Struct({
  id: Schema.optionalKey(Schema.Number),
  method: Schema.optionalKey(Schema.String),
  params: Schema.optionalKey(Schema.Record(Schema.String, Schema.Unknown)),
  result: Schema.optionalKey(Schema.Unknown),
  error: Schema.optionalKey(Schema.Unknown),
  sessionId: Schema.optionalKey(Schema.String)
}))

const decode = Schema.decodeSync(Message)

/** Sends commands over the pipe, and receives results and events. */
const protocolOf = (input: NodeStream.Writable, output: NodeStream.Readable) => {
  let last = 0
  let received = ""
  const pending = new Map<number, (effect: Effect.Effect<unknown>) => void>()
  const listeners = new Set<Listener>()
  output.setEncoding("utf8").on("data", (text: string) => {
    const parts = (received + text).split("\0")
    received = parts.pop() ?? ""
    for (const part of parts) {
      const { error, id, method, params = {}, result, sessionId } = decode(part)
      if (id !== undefined) {
        pending.get(id)?.(error === undefined ? Effect.succeed(result) : Effect.die(error))
        pending.delete(id)
      } else if (method !== undefined) {
        for (const listener of listeners) listener(method, params, sessionId)
      }
    }
  })
  const send = (method: string, params: Parameters = {}, sessionId?: string): Effect.Effect<unknown> =>
    Effect.callback((resume) => {
      const id = ++last
      pending.set(id, resume)
      input.write(`${JSON.stringify({ id, method, params, ...sessionId === undefined ? {} : { sessionId } })}\0`)
    })
  const once = (session: string, event: string) =>
    Effect.callback<void>((resume) => {
      const listener: Listener = (method, _, sessionId) => {
        if (method !== event || sessionId !== session) return
        listeners.delete(listener)
        resume(Effect.void)
      }
      listeners.add(listener)
      return Effect.sync(() => listeners.delete(listener))
    })
  return { send, once, listeners }
}

/** Returns the value at a path of properties. */
const at = (value: unknown, ...path: ReadonlyArray<string | number>): unknown =>
  path.reduce<unknown>((value, key) => (value as Readonly<Record<string | number, unknown>> | undefined)?.[key], value)

const keyCodes = { Tab: 9, Enter: 13 } as const

const tabOf = Effect.fnUntraced(function*({ listeners, once, send }: ReturnType<typeof protocolOf>) {
  const targetId = at(yield* send("Target.createTarget", { url: "about:blank" }), "targetId")
  const session = String(at(yield* send("Target.attachToTarget", { targetId, flatten: true }), "sessionId"))
  const problems: Array<string> = []
  const requested: Array<string> = []
  listeners.add((method, params, sessionId) => {
    if (sessionId !== session) return
    if (method === "Network.requestWillBeSent") requested.push(String(at(params, "request", "url")))
    if (method === "Network.loadingFailed") problems.push(`failed: ${String(params["errorText"])}`)
    if (method === "Log.entryAdded") problems.push(String(at(params, "entry", "text")))
    if (method === "Audits.issueAdded") problems.push(JSON.stringify(params))
    if (method === "Runtime.exceptionThrown" || method === "Runtime.consoleAPICalled") {
      problems.push(JSON.stringify(params))
    }
  })
  const run = (method: string, params?: Parameters) => send(method, params, session)
  for (const domain of ["Page", "Network", "Log", "Audits", "Runtime", "DOM"]) yield* run(`${domain}.enable`)
  yield* run("Emulation.setScriptExecutionDisabled", { value: true })
  const loaded = once(session, "Page.loadEventFired")
  const followed = (action: Effect.Effect<unknown>) => Effect.asVoid(Effect.all([loaded, action], { concurrency: 2 }))
  const evaluate = (expression: string) =>
    Effect.map(run("Runtime.evaluate", { expression, returnByValue: true }), (result) => at(result, "result", "value"))
  const middleOf = Effect.fnUntraced(function*(selector: string) {
    const root = at(yield* run("DOM.getDocument"), "root", "nodeId")
    const nodeId = at(yield* run("DOM.querySelector", { nodeId: root, selector }), "nodeId")
    yield* run("DOM.scrollIntoViewIfNeeded", { nodeId })
    const quad = at(yield* run("DOM.getBoxModel", { nodeId }), "model", "content")
    const middle = (first: number) => (Number(at(quad, first)) + Number(at(quad, first + 4))) / 2
    return { x: middle(0), y: middle(1) }
  })
  const pressed = Effect.fnUntraced(function*(selector: string) {
    const mouse = { ...yield* middleOf(selector), button: "left", clickCount: 1 }
    yield* run("Input.dispatchMouseEvent", { ...mouse, type: "mousePressed" })
    return mouse
  })
  const resize = (width: number) =>
    Effect.asVoid(
      run("Emulation.setDeviceMetricsOverride", { width, height: 800, deviceScaleFactor: 1, mobile: false })
    )
  const tab: Tab = {
    open: (url) => followed(run("Page.navigate", { url })),
    evaluate,
    click: Effect.fnUntraced(function*(selector) {
      const mouse = yield* pressed(selector)
      yield* followed(run("Input.dispatchMouseEvent", { ...mouse, type: "mouseReleased" }))
    }),
    select: Effect.fnUntraced(function*(selector) {
      const mouse = yield* pressed(selector)
      yield* run("Input.dispatchMouseEvent", { ...mouse, type: "mouseReleased" })
    }),
    press: Effect.fnUntraced(function*(key) {
      const event = { key, code: key, windowsVirtualKeyCode: keyCodes[key], ...key === "Enter" ? { text: "\r" } : {} }
      yield* run("Input.dispatchKeyEvent", { ...event, type: "keyDown" })
      yield* run("Input.dispatchKeyEvent", { ...event, type: "keyUp" })
    }),
    colors: (value) =>
      Effect.asVoid(
        run("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value }] })
      ),
    screenshot: Effect.fnUntraced(function*(file, width = 1200) {
      yield* resize(width)
      const { data } = (yield* run("Page.captureScreenshot", { captureBeyondViewport: true })) as { data: string }
      Fs.writeFileSync(file, Buffer.from(data, "base64"))
    }),
    resize,
    problems,
    requested
  }
  return tab
})

/** Starts the browser, which ends with the scope. */
const make = Effect.gen(function*() {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "chromium-"))),
    (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 }))
  )
  const child = yield* Effect.acquireRelease(
    Effect.sync(() =>
      ChildProcess.spawn(found ?? "chromium", [...flags, `--user-data-dir=${folder}`, "about:blank"], {
        stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"]
      })
    ),
    (child) =>
      Effect.callback<void>((resume) => {
        if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
        child.once("exit", () => resume(Effect.void))
        child.kill("SIGKILL")
      })
  )
  const [, , , input, output] = child.stdio
  const protocol = protocolOf(input as NodeStream.Writable, output as NodeStream.Readable)
  return Chromium.of({ tab: tabOf(protocol) })
})

export const layer = Layer.effect(Chromium, make)

/** Expression of the lowest contrast of texts with their backgrounds in the stylesheet (WCAG 2, 1.4.3). */
export const lowestContrast = `(() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number)
  const light = (color) => {
    const [r, g, b] = channels(color).slice(0, 3).map((value) => value / 255)
      .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const backOf = (element) => {
    for (let at = element; at !== null; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor
      if (channels(color)[3] !== 0) return color
    }
    return "rgb(255, 255, 255)"
  }
  const texts = [...document.querySelectorAll("body *")].filter((element) =>
    element.namespaceURI.endsWith("xhtml") &&
    [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim() !== ""))
  return Math.min(...texts.map((element) => {
    const [a, b] = [light(getComputedStyle(element).color), light(backOf(element))].sort((a, b) => b - a)
    return (a + 0.05) / (b + 0.05)
  }))
})()`
