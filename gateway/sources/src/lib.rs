//! Identifiers to refs: image, local, http, git and oci-layout.
