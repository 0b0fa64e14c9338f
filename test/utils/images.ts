import { Images } from "effect-oci/testing"

export const { bytesOf, pushBlob, pushImage, pushManifest, pushReferrer, pushSample, repository, tag } = Images
