//! Writes a result somewhere: local directory, tar, OCI and Docker archives, images.
