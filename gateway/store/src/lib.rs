//! Blobs, snapshots, refs and leases of one machine; the only room that deletes bytes.
