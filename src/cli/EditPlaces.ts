/**
 * The arguments of verbs that change an image in place, or make another one.
 */
import * as Argument from "effect/cli/Argument"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Flags from "./Flags.ts"
import * as Locations from "./Locations.ts"

export const places = {
  source: Flags.place("source", "Image: host/repository, oci:DIR or an archive, with a tag or a digest"),
  destinations: Flags.place(
    "destination",
    "Destination: host/repository, oci:DIR or an archive, with a tag. Default: the repository of the source, by digest"
  ).pipe(
    Argument.optional,
    Argument.map((destination) => Option.toArray(destination))
  )
}

/** Opens the source and the destination. Without a destination, it is the repository of the source. */
export const use = <A, E, R>(
  { destinations, source }: {
    readonly source: Locations.Named
    readonly destinations: ReadonlyArray<Locations.Named>
  },
  work: (source: Locations.Location, destination: Locations.Location) => Effect.Effect<A, E, R>
) =>
  destinations.length === 0
    ? source.use(Locations.tagged, (source) => work(source, Locations.withPart(source, {})))
    : source.use(Locations.image, (source) =>
      Locations.useAll(destinations, Locations.destination, ([destination]) =>
        destination === undefined ? Effect.die("there is a destination") : work(source, destination)))
