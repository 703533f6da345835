//! The words of OCI images: digests, platforms, references, descriptors, manifests and configs.
