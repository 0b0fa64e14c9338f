/**
 * Tar archives, made byte by byte, so that they can be wrong.
 */
export interface Member {
  readonly name: string
  readonly content?: string | Uint8Array
  /** Size in the header, in bytes. Default: the size of the content. */
  readonly size?: number
  /** The type, as in the header: `0` for a file. */
  readonly type?: string
  readonly link?: string
}

const blockSize = 512

const padded = (bytes: Uint8Array): Buffer => {
  const block = Buffer.alloc(Math.ceil(bytes.length / blockSize) * blockSize)
  block.set(bytes)
  return block
}

/** A header as POSIX has it, with GNU's numbers where octal ones are too short. */
export const header = ({ content = "", link = "", name, size, type = "0" }: Member): Buffer => {
  const block = Buffer.alloc(blockSize)
  const length = size ?? Buffer.from(content).length
  block.write(name, 0, 100)
  block.write("0000644\0", 100)
  if (length < 8 ** 11) {
    block.write(length.toString(8).padStart(11, "0"), 124)
  } else {
    block.writeUInt8(0x80, 124)
    block.writeBigUInt64BE(BigInt(length), 128)
  }
  block.write("00000000000\0", 136)
  block.fill(" ", 148, 156)
  block.write(type, 156)
  block.write(link, 157, 100)
  block.write("ustar\x0000", 257)
  const sum = block.reduce((sum, byte) => sum + byte, 0)
  block.write(sum.toString(8).padStart(6, "0") + "\0 ", 148)
  return block
}

export const end = Buffer.alloc(2 * blockSize)

/** The bytes of an archive. */
export const tar = (...members: ReadonlyArray<Member>): Buffer =>
  Buffer.concat([
    ...members.flatMap((member) => [header(member), padded(Buffer.from(member.content ?? ""))]),
    end
  ])
