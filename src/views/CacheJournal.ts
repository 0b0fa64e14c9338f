/**
 * Memory of a cache across restarts besides its content: when content was used, and when tags were checked.
 *
 * It is in memory, and saved as a whole from time to time, so that a read of cached content writes nothing.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import { Digest } from "../Digest.ts"
import { Repository, Tag } from "../Reference.ts"
import { Observer } from "../Registry.ts"

/**
 * Place where a cache saves a text, and reads it after a restart.
 *
 * @category models
 * @since 0.1.0
 */
export interface Journal {
  /** Returns the text that was saved last, or `undefined` if there is none. */
  readonly load: Effect.Effect<string | undefined>
  /** Replaces the text. */
  readonly save: (text: string) => Effect.Effect<void>
}

/** Content, its size in bytes, and the time of its last use: in milliseconds since 1970, or before it. */
const Used = Schema.Tuple([Repository, Digest, Schema.Natural, Schema.Int])

/** A tag, and the time at which upstream was last asked for it. */
const Checked = Schema.Tuple([Repository, Tag, Schema.Natural])

const Snapshot = Schema.Struct({
  version: Schema.Literal(1),
  content: Schema.Array(Used),
  tags: Schema.Array(Checked)
})

/** The text of a journal, decoded. */
export type Snapshot = typeof Snapshot.Type

const decode = Schema.decodeUnknownOption(Schema.fromJsonString(Snapshot))

/** A journal without content. */
export const nothing: Snapshot = { version: 1, content: [], tags: [] }

/** Reads a journal. One that is damaged counts as empty, because it only helps to decide what goes first. */
export const read = (journal: Journal): Effect.Effect<Snapshot> =>
  Effect.map(journal.load, (text) => text === undefined ? nothing : Option.getOrElse(decode(text), () => nothing))

/** Time between two saves. */
const interval = Duration.minutes(1)

/** Saves what a function returns every minute, and when the scope closes, if it has changed. */
export const keep = Effect.fnUntraced(function*(
  journal: Journal,
  current: () => Omit<Snapshot, "version">
): Effect.fn.Return<void, never, Scope.Scope> {
  let saved = ""
  const save = Effect.suspend(() => {
    // not by the schema, which takes long for many entries
    const text = JSON.stringify({ version: 1, ...current() } satisfies Snapshot)
    if (text === saved) return Effect.void
    saved = text
    return journal.save(text)
  })
  yield* Effect.addFinalizer(() => save)
  yield* Effect.forkScoped(Effect.forever(Effect.delay(save, interval)))
})

/**
 * Creates a journal in a file, which is replaced as a whole. A failure is reported to the `Observer`, and does not stop
 * the cache.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fileJournal = Effect.fnUntraced(function*(
  file: string
): Effect.fn.Return<Journal, never, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const report = (verb: string) => (error: { readonly reason: { readonly _tag: string } }) =>
    Effect.flatMap(
      Observer,
      (observe) =>
        observe({ _tag: "Warning", registry: file, text: `cannot ${verb} the journal: ${error.reason._tag}` })
    )
  return {
    load: fs.readFileString(file).pipe(
      Effect.catchIf(
        ({ reason }) => reason._tag === "NotFound",
        () => Effect.undefined
      ),
      Effect.catch((error) => Effect.as(report("read")(error), undefined))
    ),
    save: (text) =>
      Effect.gen(function*() {
        const draft = `${file}.new`
        yield* fs.makeDirectory(path.dirname(file), { recursive: true })
        yield* fs.writeFileString(draft, text)
        yield* fs.rename(draft, file)
      }).pipe(Effect.catch(report("save")))
  }
})
