import { Images } from "effect-oci/testing"

export const { bytesOf, pushBlob, pushImage, pushIndex, pushManifest, pushReferrer, pushSample, repository, tag } =
  Images
