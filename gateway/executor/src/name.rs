//! Names of processes, after which their control groups and containers are called.
//!
//! Daemons of one machine share the tree of control groups, so that a name must not be another
//! daemon's: it would remove a group while a process enters it.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// A name that no other process of any daemon on this machine has, beginning with a word.
pub fn unique_id(word: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Two daemons in different namespaces may have the same number, but not since the same moment.
    static DAEMON: LazyLock<String> = LazyLock::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{:x}{:x}", std::process::id(), since.as_nanos())
    });
    format!("{word}-{}-{}", *DAEMON, NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_given_twice() {
        let (one, other) = (unique_id("step"), unique_id("step"));
        assert_ne!(one, other);
        assert!(one.starts_with("step-"));
    }
}
