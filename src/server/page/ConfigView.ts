/**
 * The config and the history of an image.
 */
import * as Result from "effect/Result"
import type * as ImageConfig from "../../ImageConfig.ts"
import { excerpt } from "../../Text.ts"
import * as Format from "../../web/Format.ts"
import { type Html, html, type Value } from "../../web/Html.ts"
import { column, table } from "../../web/Parts.ts"
import * as Frame from "./Frame.ts"

/** The config of an image, or the reason why it cannot be shown. */
export type Config = Result.Result<ImageConfig.Config, string>

/** Maximum number of entries of the history that are shown, and of the characters of each. */
const historyLimit = 200
const stepLength = 400

/** Returns the command of an entry without what every shell command of docker begins with. */
const commandOf = ({ comment, created_by }: ImageConfig.History): string | undefined => {
  const text = created_by ?? comment
  if (text === undefined || text.trim() === "") return undefined
  const start = text.slice(0, 4 * stepLength).replace(/^\/bin\/sh -c #\(nop\)\s+/, "").replace(
    /^\/bin\/sh -c\s+/,
    "RUN "
  )
  return Frame.shortened(start, stepLength)
}

/** Returns the commands that made the layers, if the history has as many entries with a layer as there are layers. */
export const layerCommands = (
  config: Config | undefined,
  layers: number
): ReadonlyArray<string | undefined> => {
  const history = config === undefined || Result.isFailure(config) ? [] : config.success.history ?? []
  const steps = history.filter(({ empty_layer }) => empty_layer !== true)
  return steps.length === layers ? steps.map(commandOf) : []
}

const historyRow = (entry: ImageConfig.History, index: number, { at }: Frame.Context): Html =>
  html`<tr>
<td class="number">${index + 1}</td>
<td class="text"><code class="step">${commandOf(entry) ?? ""}</code>${
    entry.created_by !== undefined && entry.comment !== undefined && entry.comment !== "" &&
    html`<small>${excerpt(entry.comment)}</small>`
  }</td>
<td class="nowrap">${entry.empty_layer === true ? html`<span class="quiet">no layer</span>` : "layer"}</td>
<td class="nowrap">${Frame.created(entry.created, at)}</td>
</tr>
`

const history = (context: Frame.Context, entries: ReadonlyArray<ImageConfig.History>): Html =>
  Frame.section(
    "history",
    "History",
    html`${
      table(
        "History",
        [column("#", "number"), column("Step"), column("Makes"), column("Created")],
        html`<tbody>${entries.slice(0, historyLimit).map((entry, index) => historyRow(entry, index, context))}</tbody>`
      )
    }${
      entries.length > historyLimit &&
      html`<p class="quiet">and ${Format.number(entries.length - historyLimit)} more</p>`
    }`
  )

const words = (list: ReadonlyArray<string> | undefined): string | undefined =>
  list === undefined || list.length === 0 ? undefined : JSON.stringify(list.slice(0, 50))

const keys = (record: Readonly<Record<string, unknown>> | undefined): string | undefined =>
  record === undefined || Object.keys(record).length === 0 ? undefined : Object.keys(record).slice(0, 50).join(", ")

const factsOf = (
  { architecture, author, config = {}, created, os, variant }: ImageConfig.Config
): ReadonlyArray<readonly [string, string]> =>
  Object.entries({
    Platform: os === undefined || architecture === undefined
      ? undefined
      : [os, architecture, ...variant === undefined ? [] : [variant]].join("/"),
    Created: created,
    Author: author,
    User: config.User,
    Entrypoint: words(config.Entrypoint),
    Command: words(config.Cmd),
    "Working folder": config.WorkingDir,
    "Exposed ports": keys(config.ExposedPorts),
    Volumes: keys(config.Volumes),
    "Stop signal": config.StopSignal
  }).flatMap(([name, value]) => value === undefined || value === "" ? [] : [[name, value] as const])

const pairOf = (text: string): readonly [string, string] => {
  const at = text.indexOf("=")
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)]
}

/** Returns the sections of a config. */
export const make = (context: Frame.Context, config: Config | undefined): Value => {
  if (config === undefined) return undefined
  if (Result.isFailure(config)) {
    return Frame.section("config", "Config", html`<p class="quiet">It cannot be shown: ${excerpt(config.failure)}.</p>`)
  }
  const { config: execution = {}, history: entries = [] } = config.success
  const { Env = [], Labels = {} } = execution
  return html`${
    Frame.section(
      "config",
      "Config",
      html`${Frame.facts(factsOf(config.success))}${
        Env.length > 0 && html`<h3>Environment</h3>${Frame.facts(Env.map(pairOf))}`
      }${Object.keys(Labels).length > 0 && html`<h3>Labels</h3>${Frame.facts(Object.entries(Labels))}`}`
    )
  }${entries.length > 0 && history(context, entries)}`
}
