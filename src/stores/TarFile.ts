/**
 * Tar archives on disk, read in any order. Opening one reads all headers once, and no content.
 *
 * An archive that is cut off, or has names that lead out of it, is refused. Links are resolved to other members, and
 * never created as files.
 */
import * as Effect from "effect/Effect"
import * as Tar from "effect/encoding/Tar"
import type * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { ContentTooLarge, Storage } from "../RegistryError.ts"
import * as ArchiveFile from "./ArchiveFile.ts"
import { type OpenFile, readFrom, refusal } from "./Files.ts"

/** Maximum number of members. An archive with more is refused. */
const memberLimit = 1_000_000

/** Maximum number of links that are followed from one name. */
const linkLimit = 16

type Member =
  | { readonly _tag: "File"; readonly offset: number; readonly size: number }
  | { readonly _tag: "Link"; readonly target: string }

export interface TarFile {
  readonly path: string
  /** Names of all files, in the order of the archive. */
  readonly names: ReadonlyArray<string>
  /** Returns a file if it exists. */
  readonly open: (name: string) => OpenFile | undefined
  /** Reads a file if it exists. Fails with `ContentTooLarge` if it has more than `limit` bytes. */
  readonly read: (name: string, limit: number) => Effect.Effect<Uint8Array | undefined, Storage | ContentTooLarge>
}

const blockSize = 512
const zeros = new Uint8Array(1024 * 1024)

/** Resolves `.`, `..` and empty parts of a name. Returns `undefined` if the name leads out of the archive. */
const normalize = (name: string, from: ReadonlyArray<string> = []): string | undefined => {
  const parts = [...from]
  for (const part of name.split("/")) {
    if (part === "..") {
      if (parts.pop() === undefined) return undefined
    } else if (part !== "" && part !== ".") {
      parts.push(part)
    }
  }
  return name.startsWith("/") ? undefined : parts.join("/")
}

/** Opens an archive, and reads the headers of its members. */
export const open = Effect.fnUntraced(function*(
  path: string,
  whenCompressed: ArchiveFile.WhenCompressed = "unpack"
): Effect.fn.Return<TarFile, Storage | ContentTooLarge, FileSystem.FileSystem | Scope.Scope> {
  const { file, size: fileSize } = yield* ArchiveFile.open(path, whenCompressed)
  const readAt = (position: number, size: number) =>
    Effect.mapError(file.readAlloc(size, { position: BigInt(position) }), refusal(path))

  const members = new Map<string, Member>()
  const broken = (problem: string) => new Storage({ path, problem: `it is not a readable tar archive: ${problem}` })

  // position of the next header, and number of bytes of the body that are skipped before it
  let position = 0
  let body = 0
  let isEnding = false
  let window = { start: 0, bytes: new Uint8Array() }

  const nextBlock = Effect.fnUntraced(function*() {
    const inWindow = () => window.bytes.subarray(position - window.start, position - window.start + blockSize)
    if (position < window.start || inWindow().length < blockSize) {
      const bytes = Option.getOrElse(yield* readAt(position, 128 * blockSize), () => new Uint8Array())
      window = { start: position, bytes: new Uint8Array(bytes) }
    }
    const block = inWindow()
    position += block.length
    return block
  })

  /** The headers of the archive, with zeros in place of bodies. */
  const headers = Stream.fromEffectRepeat(Effect.gen(function*() {
    if (body > 0) {
      const size = Math.min(body, zeros.length)
      body -= size
      return Option.some(zeros.subarray(0, size))
    }
    const block = yield* nextBlock()
    const isZero = block.every((byte) => byte === 0)
    // two blocks of zeros are the end, whatever follows them
    const isEnd = block.length === 0 || isZero && isEnding
    isEnding = isZero
    return isEnd ? Option.none() : Option.some(block)
  })).pipe(Stream.takeWhile(Option.isSome), Stream.map(({ value }) => value))

  const note = Effect.fnUntraced(function*({ header }: Tar.Entry<unknown>) {
    const name = normalize(header.path)
    if (name === undefined || header.path.includes("\0")) {
      return yield* broken(`the name ${JSON.stringify(header.path.slice(0, 200))} leads out of it`)
    }
    if (members.size >= memberLimit) return yield* broken(`it has more than ${memberLimit} members`)
    const offset = position
    body = Math.ceil(header.size / blockSize) * blockSize
    position += body
    if (offset + header.size > fileSize) return yield* broken("it is cut off")
    members.delete(name)
    if (header.type === "File") {
      members.set(name, { _tag: "File", offset, size: header.size })
    } else if (header.type === "Symlink" || header.type === "Hardlink") {
      const folder = header.type === "Symlink" ? name.split("/").slice(0, -1) : []
      const target = normalize(header.linkTarget ?? "", folder)
      if (target === undefined) {
        return yield* broken(`the link ${JSON.stringify(name.slice(0, 200))} leads out of it`)
      }
      members.set(name, { _tag: "Link", target })
    }
  })
  yield* headers.pipe(
    Stream.pipeThroughChannel(Tar.decode()),
    Stream.runForEach(note),
    Effect.catchTag("TarError", ({ message }) => broken(message))
  )

  const find = (name: string, left: number = linkLimit): (Member & { readonly _tag: "File" }) | undefined => {
    const member = members.get(name)
    if (member?._tag !== "Link") return member
    return left === 0 ? undefined : find(member.target, left - 1)
  }
  const openMember = (name: string): OpenFile | undefined => {
    const member = find(name)
    return member === undefined ? undefined : { size: member.size, read: readFrom(path, file, member.offset) }
  }

  return {
    path,
    names: Array.from(members.keys()),
    open: openMember,
    read: Effect.fnUntraced(function*(name, limit) {
      const member = openMember(name)
      if (member === undefined) return undefined
      if (member.size > limit) return yield* new ContentTooLarge({ limit })
      return yield* Stream.mkUint8Array(member.read(0, member.size))
    })
  }
})
