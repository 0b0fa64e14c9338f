/**
 * Immutable sorted maps. A change returns another map, which shares all but a few hundred entries with the first. The
 * differences of two such maps are found without comparing the entries that they share.
 */

/** Maximum number of entries in a chunk. A change copies one chunk, and the list of chunks. */
const chunkSize = 256

interface Chunk<K, V> {
  readonly keys: ReadonlyArray<K>
  readonly values: ReadonlyArray<V>
}

type Key = string | number

export interface SortedMap<K extends Key, V> {
  readonly size: number
  /** Chunks in the order of their keys. None is empty. */
  readonly chunks: ReadonlyArray<Chunk<K, V>>
}

const none: SortedMap<never, never> = { size: 0, chunks: [] }

/** Returns a map without entries. */
export const empty = <K extends Key, V>(): SortedMap<K, V> => none

/** Returns the number of leading items that satisfy a condition, if no item after them does. */
const countWhile = <A>(items: ReadonlyArray<A>, condition: (item: A) => boolean): number => {
  let low = 0
  let high = items.length
  while (low < high) {
    const middle = (low + high) >>> 1
    // as: the index is below the length
    if (condition(items[middle] as A)) low = middle + 1
    else high = middle
  }
  return low
}

/** Returns the position of the chunk that has a key, or would have it. */
const chunkOf = <K extends Key, V>({ chunks }: SortedMap<K, V>, key: K): number =>
  // as: no chunk is empty
  Math.max(0, countWhile(chunks, ({ keys }) => (keys[0] as K) <= key) - 1)

const placeIn = <K extends Key>(keys: ReadonlyArray<K>, key: K): number => countWhile(keys, (other) => other < key)

/**
 * Splits a chunk if it is too large. A chunk that grew at its end is split before the last entry, so that it stays full
 * if keys are added in order.
 */
const split = <K extends Key, V>({ keys, values }: Chunk<K, V>, place: number): ReadonlyArray<Chunk<K, V>> => {
  if (keys.length <= chunkSize) return [{ keys, values }]
  const at = place === keys.length - 1 ? place : keys.length >>> 1
  return [
    { keys: keys.slice(0, at), values: values.slice(0, at) },
    { keys: keys.slice(at), values: values.slice(at) }
  ]
}

const replaceChunk = <K extends Key, V>(
  { chunks }: SortedMap<K, V>,
  position: number,
  ...replacement: ReadonlyArray<Chunk<K, V>>
): ReadonlyArray<Chunk<K, V>> => {
  const copy = chunks.slice()
  copy.splice(position, 1, ...replacement)
  return copy
}

/** Returns the value of a key. */
export const get = <K extends Key, V>(self: SortedMap<K, V>, key: K): V | undefined => {
  const chunk = self.chunks[chunkOf(self, key)]
  if (chunk === undefined) return undefined
  const place = placeIn(chunk.keys, key)
  return chunk.keys[place] === key ? chunk.values[place] : undefined
}

/** Adds an entry, or replaces the value of its key. */
export const set = <K extends Key, V>(self: SortedMap<K, V>, key: K, value: V): SortedMap<K, V> => {
  const position = chunkOf(self, key)
  const chunk = self.chunks[position]
  if (chunk === undefined) return { size: 1, chunks: [{ keys: [key], values: [value] }] }
  const place = placeIn(chunk.keys, key)
  const values = chunk.values.slice()
  if (chunk.keys[place] === key) {
    values[place] = value
    return { size: self.size, chunks: replaceChunk(self, position, { keys: chunk.keys, values }) }
  }
  const keys = chunk.keys.slice()
  keys.splice(place, 0, key)
  values.splice(place, 0, value)
  return { size: self.size + 1, chunks: replaceChunk(self, position, ...split({ keys, values }, place)) }
}

/** Collects entries for a map, without a copy for each entry. */
export interface Builder<K extends Key, V> {
  /** Adds an entry. Its key must be new. */
  readonly add: (key: K, value: V) => void
  /** Returns the map. The builder must not be used after that. */
  readonly build: () => SortedMap<K, V>
}

/** Creates a builder. */
export const builder = <K extends Key, V>(): Builder<K, V> => {
  const chunks: Array<{ readonly keys: Array<K>; readonly values: Array<V> }> = []
  let size = 0
  return {
    add: (key, value) => {
      size++
      const position = chunkOf({ size, chunks }, key)
      const chunk = chunks[position]
      if (chunk === undefined) {
        chunks.push({ keys: [key], values: [value] })
        return
      }
      const place = placeIn(chunk.keys, key)
      chunk.keys.splice(place, 0, key)
      chunk.values.splice(place, 0, value)
      if (chunk.keys.length <= chunkSize) return
      const at = place === chunkSize ? place : chunkSize >>> 1
      chunks.splice(position + 1, 0, { keys: chunk.keys.splice(at), values: chunk.values.splice(at) })
    },
    build: () => ({ size, chunks })
  }
}

/** Removes the entry of a key, if it exists. */
export const remove = <K extends Key, V>(self: SortedMap<K, V>, key: K): SortedMap<K, V> => {
  const position = chunkOf(self, key)
  const chunk = self.chunks[position]
  const place = chunk === undefined ? 0 : placeIn(chunk.keys, key)
  if (chunk === undefined || chunk.keys[place] !== key) return self
  if (chunk.keys.length === 1) return { size: self.size - 1, chunks: replaceChunk(self, position) }
  const keys = chunk.keys.slice()
  const values = chunk.values.slice()
  keys.splice(place, 1)
  values.splice(place, 1)
  return { size: self.size - 1, chunks: replaceChunk(self, position, { keys, values }) }
}

const entriesOf = function*<K extends Key, V>({ keys, values }: Chunk<K, V>, from: number): Generator<readonly [K, V]> {
  // as: both lists have the same length
  for (let place = from; place < keys.length; place++) yield [keys[place] as K, values[place] as V]
}

/** Returns the entries in order, from a key on. */
export const entries = function*<K extends Key, V>(self: SortedMap<K, V>, from?: K): Generator<readonly [K, V]> {
  const first = from === undefined ? 0 : chunkOf(self, from)
  for (let position = first; position < self.chunks.length; position++) {
    const chunk = self.chunks[position]
    if (chunk === undefined) return
    yield* entriesOf(chunk, from === undefined || position > first ? 0 : placeIn(chunk.keys, from))
  }
}

/** Returns the first entry from a key on. */
export const first = <K extends Key, V>(self: SortedMap<K, V>, from: K): readonly [K, V] | undefined => {
  const position = chunkOf(self, from)
  const chunk = self.chunks[position]
  if (chunk === undefined) return undefined
  const place = placeIn(chunk.keys, from)
  const [holder, at] = place < chunk.keys.length ? [chunk, place] : [self.chunks[position + 1], 0]
  // as: no chunk is empty, and both lists have the same length
  return holder === undefined ? undefined : [holder.keys[at] as K, holder.values[at] as V]
}

/** Returns the largest key. */
export const lastKey = <K extends Key, V>({ chunks }: SortedMap<K, V>): K | undefined => chunks.at(-1)?.keys.at(-1)

/** Returns the entries of `after` that `before` does not have, without comparing the chunks that they share. */
export const added = function*<K extends Key, V>(
  before: SortedMap<K, V>,
  after: SortedMap<K, V>
): Generator<readonly [K, V]> {
  if (before === after) return
  const shared = new Set(before.chunks)
  for (const chunk of after.chunks) {
    if (shared.has(chunk)) continue
    for (const entry of entriesOf(chunk, 0)) if (get(before, entry[0]) !== entry[1]) yield entry
  }
}
