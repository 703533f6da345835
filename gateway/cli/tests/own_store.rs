//! Images in kiln's own store: packed there by one process, built from by the next, no registry.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use kiln_llb::{Marshal, State};

/// A name that no registry answers for.
const NAME: &str = "localhost:1/tools/kiln:test";

/// Runs kiln with a state directory of its own.
fn kiln(root: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kiln"))
        .arg("--root")
        .arg(root)
        .args(arguments)
        .env_remove("BUILDKIT_HOST")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A kiln that fails early does not read it.
    child.stdin.take().unwrap().write_all(input).ok();
    child.wait_with_output().unwrap()
}

/// Packs a file as an executable's companion; `None` where no daemon can be embedded.
fn pack(root: &Path, file: &Path) -> Option<String> {
    let companion = format!("{}=/companion", file.display());
    let arguments = ["frontend", "pack", "/bin/true", "--name", NAME, "--file", &companion];
    let output = kiln(root, &arguments, b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.contains("user namespace, which kiln needs") {
        skipped("root or user namespaces");
        return None;
    }
    assert!(output.status.success(), "{said}");
    Some(String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// Builds what is in an image, as a tar.
fn build(root: &Path, image: &str, more: &[&str]) -> Output {
    let state = State::image(image);
    let platform = kiln_oci::Platform::host();
    let definition = state.marshal(&Marshal::on(platform)).unwrap().to_bytes();
    let arguments = ["build", "--progress=plain", "--output=type=tar,dest=-"];
    kiln(root, &[&arguments, more].concat(), &definition)
}

/// The content of one file of a tar.
fn file_of(tar: &[u8], name: &str) -> String {
    let mut archive = tar::Archive::new(tar);
    let mut entries = archive.entries().unwrap().map(Result::unwrap);
    let mut entry = entries.find(|entry| entry.path().unwrap() == Path::new(name)).unwrap();
    let mut text = String::new();
    entry.read_to_string(&mut text).unwrap();
    text
}

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn skipped(needs: &str) {
    eprintln!("skipped: needs {needs}");
}

#[test]
fn a_packed_image_is_built_from_without_a_registry() {
    let directory = tempfile::tempdir().unwrap();
    let (root, file) = (directory.path().join("state"), directory.path().join("companion"));
    fs::write(&file, "first").unwrap();
    let Some(first) = pack(&root, &file) else { return };
    assert!(first.starts_with(&format!("{NAME}@sha256:")), "{first}");

    let began = Instant::now();
    let output = build(&root, NAME, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(file_of(&output.stdout, "companion"), "first");
    assert!(said.contains(&format!("use {NAME} from the store")), "{said}");

    // The name moves on.
    fs::write(&file, "second").unwrap();
    let second = pack(&root, &file).unwrap();
    assert_ne!(first, second);
    for image in [NAME, &second] {
        let output = build(&root, image, &[]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(file_of(&output.stdout, "companion"), "second");
    }
}

#[test]
fn an_image_that_a_build_names_is_built_from_too() {
    let directory = tempfile::tempdir().unwrap();
    let (root, file) = (directory.path().join("state"), directory.path().join("companion"));
    fs::write(&file, "of a build").unwrap();
    if pack(&root, &file).is_none() {
        return;
    }
    let other = "localhost:1/other:1";
    let output = build(&root, NAME, &["--output", &format!("type=image,name={other}")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let output = build(&root, other, &[]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(file_of(&output.stdout, "companion"), "of a build");
}

#[test]
fn a_name_that_nobody_knows_is_an_error_about_the_registry() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("state");
    let file = directory.path().join("companion");
    fs::write(&file, "").unwrap();
    if pack(&root, &file).is_none() {
        return;
    }
    let output = build(&root, "localhost:1/tools/other:test", &[]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("cannot reach registry localhost:1"), "{said}");
}
