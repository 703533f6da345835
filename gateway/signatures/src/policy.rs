//! What a signature has to be besides right.

/// What a signature has to be besides right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// What time it is, in seconds since 1970.
    pub now: u64,
    /// The key must not have expired until now. Otherwise it must not have when it signed: what was
    /// signed long ago stays signed.
    pub reject_expired_keys: bool,
}
