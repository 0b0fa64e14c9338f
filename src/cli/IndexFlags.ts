/**
 * The arguments and flags that the verbs of `index` share.
 */
import * as Argument from "effect/cli/Argument"
import type * as CliError from "effect/cli/CliError"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import type * as Path from "effect/Path"
import * as Result from "effect/Result"
import type * as ImageIndex from "../artifact/ImageIndex.ts"
import * as Digest from "../Digest.ts"
import * as Platform from "../Platform.ts"
import type { Tag } from "../Reference.ts"
import * as Locations from "./Locations.ts"
import { misuse, readTag } from "./ReferenceInput.ts"

type Part = { readonly tag: Tag } | { readonly digest: Digest.Digest }

/** A manifest for an index: a place, or a tag or digest in the repository of the index. */
export type Member = Locations.Named | { readonly part: Part }

const read = (text: string): Effect.Effect<Member, CliError.ValidationError, Path.Path> => {
  const part: Result.Result<Part, { readonly message: string }> | undefined = text.startsWith(":")
    ? Result.map(readTag(text.slice(1)), (tag) => ({ tag }))
    : text.startsWith("@")
    ? Result.map(Digest.parse(text.slice(1)), (digest) => ({ digest }))
    : undefined
  if (part === undefined) return Locations.read(text)
  return Effect.mapBoth(Effect.fromResult(part), {
    onFailure: ({ message }) => misuse(message),
    onSuccess: (part) => ({ part })
  })
}

export const members: Argument.Argument<ReadonlyArray<Member>> = Argument.String("image").pipe(
  Argument.withMetavar("image"),
  Argument.withDescription(
    "Image: host/repository, oci:DIR, oci-archive:FILE or docker-archive:FILE; :TAG or @DIGEST names one in the " +
      "repository of the index"
  ),
  Argument.mapEffect(read),
  Argument.atLeast(1)
)

/** Reads a digest or a platform. */
const readSelection = (text: string): Result.Result<ImageIndex.Selection, { readonly message: string }> =>
  /^sha\d+:/.test(text)
    ? Result.map(Digest.parse(text), (digest) => ({ digest }))
    : Result.map(Platform.parse(text), (platform) => ({ platform }))

const selecting = (text: string) =>
  Effect.mapError(Effect.fromResult(readSelection(text)), ({ message }) => misuse(message))

export const selections: Argument.Argument<ReadonlyArray<ImageIndex.Selection>> = Argument.String("image").pipe(
  Argument.withMetavar("image"),
  Argument.withDescription("Digest or platform of an image that the index lists, such as linux/arm64"),
  Argument.mapEffect(selecting),
  Argument.atLeast(1)
)

export const selectionFlag: Flag.Flag<ReadonlyArray<ImageIndex.Selection>> = Flag.String("image").pipe(
  Flag.withMetavar("DIGEST|OS/ARCH"),
  Flag.withDescription("Annotate an image in the index, named by its digest or platform. May be repeated"),
  Flag.mapEffect(selecting),
  Flag.atLeast(0)
)

/** Opens the members of an index, and runs `work` on their ends. */
export const useMembers = <A, E, R>(
  place: Locations.Location,
  members: ReadonlyArray<Member>,
  work: (ends: ReadonlyArray<ImageIndex.Member>) => Effect.Effect<A, E, R>
) => {
  const named = members.flatMap((member) => "part" in member ? [] : [member])
  return Locations.useAll(named, Locations.image, (places) => {
    const opened = places.values()
    return work(members.flatMap((member) => {
      const end = "part" in member ? Locations.withPart(place, member.part).end : opened.next().value?.end
      return end === undefined ? [] : [{ source: end }]
    }))
  })
}
