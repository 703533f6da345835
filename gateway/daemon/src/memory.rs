//! How the C library keeps memory that nobody uses.
//!
//! Left to itself, glibc takes a large block that is freed as a sign that such blocks are wanted again: up to
//! 32 MiB, it gets them no longer from the kernel but from its arenas, of which there are eight for each
//! processor, and these keep them. After some hundred builds that is several times what is in use. Besides
//! `listen/passed.rs`, this is the one file of the crate with unsafe code.

/// What is set, and to what.
#[cfg(target_env = "gnu")]
const PARAMETERS: [(libc::c_int, libc::c_int); 2] = [
    // Blocks of so many bytes and more are the kernel's again when they are freed. It is what glibc begins
    // with; once it is set it stays so.
    (libc::M_MMAP_THRESHOLD, 128 << 10),
    // Small blocks are cached by each thread besides, so that threads hardly wait for each other.
    (libc::M_ARENA_MAX, 4),
];

/// Has memory that is free given back to the kernel. Must be called before any thread is started.
pub fn give_back_free_memory() {
    #[cfg(target_env = "gnu")]
    for (parameter, value) in PARAMETERS {
        // SAFETY: it takes two numbers, and there is no other thread yet that may allocate meanwhile.
        let is_set = unsafe { libc::mallopt(parameter, value) } == 1;
        debug_assert!(is_set, "glibc knows parameter {parameter}");
    }
}
