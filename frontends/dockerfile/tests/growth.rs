//! What a file costs grows as the file does.
//!
//! The measure is the number of bytes that lowering asks the allocator for, which is the same on
//! every machine: whatever is copied once per instruction or once per stage shows as a square. A
//! file of twice the length may take twice as much, and the logarithm of looking things up.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use kiln_dockerfile::Dockerfile;
use kiln_testing::Fixture;

/// The system's allocator, and a count of what it is asked for.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

/// One test counts at a time: what others ask for, be it the text of a file, would be counted too.
static ALONE: Mutex<()> = Mutex::new(());

// SAFETY: every call is passed on to the system's allocator as it came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The bytes that are asked for to lower a file.
fn cost(text: String) -> usize {
    let fixture = Fixture::new().any_image().file("dockerfile", "Dockerfile", text);
    let before = ALLOCATED.load(Ordering::Relaxed);
    fixture.build(&Dockerfile::mainline()).unwrap();
    ALLOCATED.load(Ordering::Relaxed) - before
}

/// A file of a stage with `n` lines.
fn lines(n: usize, line: impl Fn(usize) -> String) -> String {
    let lines: Vec<String> = (0..n).map(line).collect();
    format!("FROM alpine\n{}\n", lines.join("\n"))
}

/// A file of `n` stages, each on top of the one before.
fn stages(n: usize, lines: impl Fn(usize) -> String) -> String {
    let mut text = String::from("FROM alpine AS s0\n");
    for stage in 1..n {
        // Writing to a string cannot fail.
        let _ = write!(text, "FROM s{} AS s{stage}\n{}\n", stage - 1, lines(stage));
    }
    text
}

#[track_caller]
fn check(what: &str, file: impl Fn(usize) -> String) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    // What is made once for all files is made now.
    cost(file(8));
    let [small, large] = [500, 2000].map(|n| cost(file(n)));
    assert!(
        large < small * 5,
        "{what}: {small} bytes grow to {large} when a file grows to four times"
    );
}

#[test]
fn instructions_cost_what_they_cost_in_a_short_file() {
    check("ARG", |n| lines(n, |i| format!("ARG NAME{i}=value-{i}")));
    check("ENV", |n| lines(n, |i| format!("ENV NAME{i}=value-{i}")));
    check("LABEL", |n| lines(n, |i| format!("LABEL name{i}=value-{i}")));
    check("EXPOSE", |n| lines(n, |i| format!("EXPOSE {}", i + 1)));
    check("VOLUME", |n| lines(n, |i| format!("VOLUME /v{i}")));
    check("COPY", |n| lines(n, |i| format!("COPY a{i} /b{i}")));
    check("RUN", |n| lines(n, |i| format!("RUN step {i}")));
    check("ARG again and again", |n| lines(n, |i| format!("ARG NAME{}={i}", i % 7)));
    check("global ARG", |n| {
        let arguments: String = (0..n).map(|i| format!("ARG NAME{i}=value-{i}\n")).collect();
        format!("{arguments}FROM alpine\nARG NAME1\n")
    });
}

#[test]
fn variables_of_one_instruction_cost_what_they_cost_alone() {
    let pairs = |n: usize| (0..n).map(|i| format!(" NAME{i}=value-{i}")).collect::<String>();
    for instruction in ["ENV", "ARG", "LABEL"] {
        check(instruction, |n| format!("FROM alpine\n{instruction}{}\n", pairs(n)));
    }
}

#[test]
fn stages_cost_what_they_add() {
    check("stages", |n| stages(n, |_| String::new()));
    check("stages with ENV", |n| stages(n, |i| format!("ENV NAME{i}=value-{i}")));
    check("stages with ARG", |n| stages(n, |i| format!("ARG NAME{i}=value-{i}")));
    check("stages with LABEL", |n| stages(n, |i| format!("LABEL name{i}=value-{i}")));
    check("stages with EXPOSE", |n| stages(n, |i| format!("EXPOSE {}", i + 1)));
    check("stages with VOLUME", |n| stages(n, |i| format!("VOLUME /v{i}")));
    check("stages with COPY", |n| stages(n, |i| format!("COPY a{i} /b{i}")));
    check("stages with RUN", |n| stages(n, |i| format!("RUN step {i}")));
    check("stages with CMD", |n| stages(n, |i| format!("CMD step {i}")));
    check("stages that copy", |n| {
        let stage = |i: usize| format!("FROM alpine AS s{i}\nCOPY --from=s{} /a /a\n", i - 1);
        format!("FROM alpine AS s0\n{}", (1..n).map(stage).collect::<String>())
    });
    check("stages that use global ARGs", |n| {
        let arguments: String = (0..n).map(|i| format!("ARG NAME{i}=value-{i}\n")).collect();
        let stage =
            |i: usize| format!("FROM alpine AS s{i}\nARG NAME{i}\nCOPY --from=s{} /a /a\n", i - 1);
        format!("{arguments}FROM alpine AS s0\n{}", (1..n).map(stage).collect::<String>())
    });
}
