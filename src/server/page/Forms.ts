/**
 * The forms that change tags and delete content. They need no script.
 */
import { type Html, html, type Value } from "../../web/Html.ts"
import * as Address from "./Address.ts"
import * as Frame from "./Frame.ts"

/** Forms that a viewer may use. */
export interface Forms {
  /** Token that shows that a form comes from this page. `undefined`: there are no forms. */
  readonly token: string | undefined
  readonly canTag: boolean
  readonly canDelete: boolean
}

export const none: Forms = { token: undefined, canTag: false, canDelete: false }

const hiddenFields = (fields: Readonly<Record<string, string>>): ReadonlyArray<Html> =>
  Object.entries(fields).map(([name, value]) => html`<input type="hidden" name="${name}" value="${value}">`)

const form = (change: Address.Change, fields: Readonly<Record<string, string>>, content: Value): Html =>
  html`<form class="change" method="post" action="${Address.ofChange(change)}">${hiddenFields(fields)}${content}</form>`

/** Returns a button that shows a form, which a second button sends. */
const deletion = (change: Address.Change, text: string, warning: string, fields: Readonly<Record<string, string>>) =>
  html`<details><summary>${text}</summary><p>${warning}</p>${
    form(change, fields, html`<button type="submit" class="danger" aria-label="${text} for good">${text}</button>`)
  }</details>
`

/** Returns the section of the forms. */
export const make = (
  { canDelete, canTag, token }: Forms,
  repository: string,
  tag: string | undefined,
  digest: string
): Value => {
  if (token === undefined || !canTag && !canDelete) return undefined
  const fields = { token, repository, digest }
  return Frame.section(
    "changes",
    "Change",
    html`${
      canTag && form(
        "tag",
        fields,
        html`<label>New tag <input name="tag" required maxlength="128" pattern="[A-Za-z0-9_][A-Za-z0-9._\-]*" autocomplete="off"></label>
<label class="check"><input type="checkbox" name="move" value="yes"> move the tag if it exists</label>
<button type="submit" aria-label="Add the tag">Add the tag</button>`
      )
    }${
      canDelete && tag !== undefined &&
      deletion(
        "delete-tag",
        "Delete the tag",
        `Removes ${tag} from ${repository}. The content stays until a collection.`,
        {
          ...fields,
          tag
        }
      )
    }${
      canDelete && deletion(
        "delete-manifest",
        "Delete the manifest",
        "Removes this manifest and every tag that points at it.",
        fields
      )
    }`
  )
}
