//! Stories of what differs.
