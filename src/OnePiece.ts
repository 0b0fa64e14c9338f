/**
 * Streams of exactly one piece, such as the body of a small response, whose effect can be run instead of the stream.
 * For a small blob, the machinery of a stream costs more than the blob.
 *
 * A stream that is derived from such a stream is an ordinary one, unless it is derived by a function of this module. So
 * nothing that wraps a stream is bypassed.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"

type Bytes<E> = Stream.Stream<Uint8Array, E>

/** How to read a stream without its machinery. */
type Content<E> =
  | { readonly _tag: "Piece"; readonly piece: Effect.Effect<Uint8Array, E> }
  /** A stream that shows whether it has one piece when it is opened. */
  | { readonly _tag: "Opening"; readonly opening: Effect.Effect<Bytes<E>, E, Scope.Scope> }

const TypeId = "~effect-oci/OnePiece"

const contentOf = <E>(self: Bytes<E> & { readonly [TypeId]?: Content<E> | undefined }): Content<E> | undefined =>
  self[TypeId]

/** Creates a stream of the piece that an effect returns. */
export const make = <E>(piece: Effect.Effect<Uint8Array, E>): Bytes<E> => {
  const content: Content<E> = { _tag: "Piece", piece }
  return Object.assign(Stream.fromEffect(piece), { [TypeId]: content })
}

/** Creates the stream that an effect opens, which may be of one piece. */
export const unwrap = <E>(opening: Effect.Effect<Bytes<E>, E, Scope.Scope>): Bytes<E> => {
  const content: Content<E> = { _tag: "Opening", opening }
  return Object.assign(Stream.unwrap(opening), { [TypeId]: content })
}

/** Returns true if a stream has one piece, or may turn out to have one when it is opened. */
export const isPossible = <E>(self: Bytes<E>): boolean => contentOf(self) !== undefined

/** Returns the effect of a stream of one piece. */
export const of = <E>(self: Bytes<E>): Effect.Effect<Uint8Array, E> | undefined => {
  const content = contentOf(self)
  return content?._tag === "Piece" ? content.piece : undefined
}

/** Transforms a stream: its piece if it has one, and its chunks otherwise. Both have to be transformed alike. */
export const transform = <E>(
  self: Bytes<E>,
  piece: (piece: Effect.Effect<Uint8Array, E>) => Effect.Effect<Uint8Array, E>,
  chunks: (chunks: Bytes<E>) => Bytes<E>
): Bytes<E> => {
  const content = contentOf(self)
  if (content === undefined) return chunks(self)
  return content._tag === "Piece"
    ? make(piece(content.piece))
    : unwrap(Effect.map(content.opening, (opened) => transform(opened, piece, chunks)))
}

/** Converts the error of a stream. */
export const mapError = <E, E2>(self: Bytes<E>, f: (error: E) => E2): Bytes<E2> => {
  const content = contentOf(self)
  if (content === undefined) return Stream.mapError(self, f)
  return content._tag === "Piece"
    ? make(Effect.mapError(content.piece, f))
    : unwrap(Effect.mapBoth(content.opening, { onFailure: f, onSuccess: (opened) => mapError(opened, f) }))
}

/** Collects a stream in memory, until it ends or exceeds `limit` bytes. */
export const collect = <E>(self: Bytes<E>, limit: number): Effect.Effect<Uint8Array, E> => {
  const content = contentOf(self)
  if (content?._tag === "Piece") return content.piece
  if (content?._tag === "Opening") {
    return Effect.scoped(Effect.flatMap(content.opening, (opened) => collect(opened, limit)))
  }
  return Effect.suspend(() => {
    let size = 0
    return Stream.mkUint8Array(Stream.takeUntil(self, ({ length }) => (size += length) > limit))
  })
}
