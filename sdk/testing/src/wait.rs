//! Waiting for a future in a test that knows nothing about runtimes.

/// Runs a future to its end, on a runtime of its own.
///
/// Works anywhere, also inside another runtime, because it uses a thread of its own.
///
/// # Panics
///
/// If the future panics, or the machine has no thread or no descriptors left.
///
/// ```
/// assert_eq!(kiln_testing::block_on(async { 1 + 1 }), 2);
/// ```
pub fn block_on<F>(future: F) -> F::Output
where
    F: Future + Send,
    F::Output: Send,
{
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime needs descriptors").block_on(future)
    };
    std::thread::scope(|scope| match scope.spawn(run).join() {
        Ok(output) => output,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}
