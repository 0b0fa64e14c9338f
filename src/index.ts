/**
 * OCI registries for Effect programs.
 *
 * @since 0.1.0
 */
export * as Credentials from "./auth/Credentials.ts"
export * as DockerConfig from "./auth/DockerConfig.ts"
export * as BlobSource from "./BlobSource.ts"
export * as HttpRegistry from "./client/HttpRegistry.ts"
export * as HttpResolver from "./client/HttpResolver.ts"
export * as Copy from "./copy/Copy.ts"
export * as CopyError from "./copy/CopyError.ts"
export * as CopyReport from "./copy/CopyReport.ts"
export * as Descriptor from "./Descriptor.ts"
export * as Digest from "./Digest.ts"
export * as Hasher from "./Hasher.ts"
export * as Limiter from "./Limiter.ts"
export * as Manifest from "./Manifest.ts"
export * as MediaType from "./MediaType.ts"
export * as Namespace from "./Namespace.ts"
export * as Platform from "./Platform.ts"
export * as Reference from "./Reference.ts"
export * as Registry from "./Registry.ts"
export * as RegistryError from "./RegistryError.ts"
export * as Resolver from "./Resolver.ts"
export * as MemoryRegistry from "./stores/MemoryRegistry.ts"
export * as Upload from "./Upload.ts"
export * as UnionRegistry from "./views/UnionRegistry.ts"
export * as View from "./views/View.ts"
