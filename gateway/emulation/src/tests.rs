//! What is decided about machines that are made up, and that the tables are right.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use kiln_oci::Platform;

use super::*;

const ARM64: &str = "enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
";

fn machine() -> Machine {
    let emulator = |name: &str, chosen| Emulator { path: PathBuf::from(name), chosen };
    Machine {
        own: "linux/amd64".parse().unwrap(),
        variants: vec!["v2", "v3"],
        older: vec!["386"],
        registered: Vec::new(),
        emulators: BTreeMap::from([
            ("arm64", emulator("/usr/bin/qemu-aarch64-static", false)),
            ("arm", emulator("/opt/qemu-arm", true)),
        ]),
    }
}

fn way(machine: &Machine, platform: &str) -> Way {
    machine.way(&platform.parse().unwrap())
}

fn emulated(path: &str) -> Way {
    Way::Emulated { emulator: PathBuf::from(path) }
}

#[test]
fn what_the_machine_runs_itself_needs_no_emulator() {
    for platform in ["linux/amd64", "linux/amd64/v3", "linux/386", "linux/x86_64"] {
        assert_eq!(way(&machine(), platform), Way::Own, "{platform}");
    }
    assert_eq!(way(&machine(), "linux/amd64/v4"), Way::Lacking(Lack::Processor));
    assert_eq!(way(&machine(), "windows/amd64"), Way::Lacking(Lack::System));
    assert_eq!(way(&machine(), "linux/wasm"), Way::Lacking(Lack::System));
    assert_eq!(way(&machine(), "linux/s390x"), Way::Lacking(Lack::Emulator));
}

#[test]
fn what_the_kernel_hands_on_already_stays_so_unless_an_emulator_was_named() {
    let mut machine = machine();
    assert_eq!(way(&machine, "linux/arm64/v8"), emulated("/usr/bin/qemu-aarch64-static"));
    machine.registered = vec![Registered::parse("qemu-aarch64", ARM64).unwrap()];
    let interpreter = PathBuf::from("/usr/libexec/qemu-binfmt/aarch64-binfmt-P");
    assert_eq!(way(&machine, "linux/arm64"), Way::Registered { interpreter });
    assert_eq!(way(&machine, "linux/arm/v6"), emulated("/opt/qemu-arm"));
    let arm = ARM64.replace("0200b700", "02002800").replace("0201", "0101");
    machine.registered.push(Registered::parse("qemu-arm", &arm).unwrap());
    assert_eq!(way(&machine, "linux/arm/v7"), emulated("/opt/qemu-arm"), "it was named");
}

#[test]
fn an_entry_counts_if_it_is_in_force_and_keeps_its_interpreter_open() {
    let arm64 = Architecture::named("arm64").unwrap();
    let runs = |text: &str| Registered::parse("entry", text).is_some_and(|it| it.runs(arm64));
    assert!(runs(ARM64));
    assert!(!runs(&ARM64.replace("POF", "PO")), "the interpreter is not in images");
    assert!(!runs(&ARM64.replace("enabled", "disabled")));
    assert!(!runs(&ARM64.replace("b700", "2800")), "another machine");
    assert!(!runs("enabled\ninterpreter /usr/bin/jexec\nflags: \nextension .jar\n"));
    assert!(!runs("enabled\n"));
}

#[test]
fn all_that_runs_is_listed_with_its_variants() {
    let listed: Vec<String> = machine().platforms().iter().map(Platform::format).collect();
    let expected = [
        "linux/amd64",
        "linux/amd64/v2",
        "linux/amd64/v3",
        "linux/arm64",
        "linux/386",
        "linux/arm/v7",
        "linux/arm/v6",
        "linux/arm/v5",
    ];
    assert_eq!(listed, expected);
}

#[test]
fn the_kernel_is_told_of_every_emulator_once() {
    let registrations = machine().registrations();
    let names: Vec<&str> = registrations.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["qemu-aarch64", "qemu-arm"]);
    let line = registrations[0].line();
    assert_eq!(
        String::from_utf8(line).unwrap(),
        ":qemu-aarch64:M::\\x7f\\x45\\x4c\\x46\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\
         \\x02\\x00\\xb7\\x00:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\
         \\xfe\\xff\\xff\\xff:/usr/bin/qemu-aarch64-static:POCF"
    );
}

#[test]
fn programs_are_told_apart() {
    for one in ARCHITECTURES {
        for other in ARCHITECTURES {
            assert_eq!(one.is_of(&other.program()), one == other, "{} {}", one.name, other.name);
        }
        assert!(!one.is_of(b"#!/bin/sh\n"));
        assert_eq!(one.program()[..20], one.magic());
    }
}

/// Debian's own tables, where they are installed, say what ours say.
#[test]
fn the_tables_agree_with_those_of_the_emulators_package() {
    for architecture in ARCHITECTURES {
        let path = format!("/usr/lib/binfmt.d/qemu-{}.conf", architecture.qemu);
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let fields: Vec<&str> = text.trim().split(':').collect();
        let magic = unescaped(fields[4]);
        let mask = unescaped(fields[5]);
        for (index, (theirs, ours)) in mask.iter().zip(architecture.mask()).enumerate() {
            let both = theirs & ours;
            assert_eq!(magic[index] & both, architecture.magic()[index] & both, "{path} {index}");
        }
        assert_eq!(magic[16..20], architecture.magic()[16..20], "{path}");
    }
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        match rest.strip_prefix("\\x") {
            Some(more) => {
                bytes.push(u8::from_str_radix(&more[..2], 16).unwrap());
                rest = &more[2..];
            }
            None => {
                bytes.push(letter as u8);
                rest = &rest[letter.len_utf8()..];
            }
        }
    }
    bytes
}

#[test]
fn an_emulator_is_found_by_its_name_if_it_needs_no_other_file() {
    let directory = tempfile::tempdir().unwrap();
    let own = Platform::host();
    let Some(own) = Architecture::named(&own.architecture) else { return };
    let put = |name: &str, bytes: &[u8]| fs::write(directory.path().join(name), bytes).unwrap();
    let found = |search: &SearchPath| {
        let machine = Machine::inspect(search);
        let emulator = machine.emulators.get("s390x").map(|it| it.path.clone())?;
        Some(emulator.strip_prefix(directory.path()).ok()?.to_owned())
    };
    let search = SearchPath { chosen: Vec::new(), directories: vec![directory.path().into()] };
    assert_eq!(found(&search), None);
    // The program is whole, though it does nothing.
    put("qemu-s390x", &own.program());
    assert_eq!(found(&search), Some("qemu-s390x".into()));
    put("qemu-s390x-static", b"#!/bin/sh\n");
    assert_eq!(found(&search), Some("qemu-s390x".into()), "a script is passed over");
    let shared = fs::read("/proc/self/exe").unwrap();
    put("qemu-s390x", &shared[..4096]);
    assert_eq!(found(&search), None, "this needs libraries");
    put("buildkit-qemu-s390x", &own.program());
    assert_eq!(found(&search), Some("buildkit-qemu-s390x".into()));
    let chosen = vec![directory.path().join("buildkit-qemu-s390x")];
    let search = SearchPath { chosen, directories: Vec::new() };
    assert!(Machine::inspect(&search).emulators["s390x"].chosen);
}

/// Runs the smallest program of every architecture with the emulator that this machine has for it.
#[test]
#[expect(clippy::print_stderr, reason = "it says what was not tried")]
fn the_smallest_programs_run() {
    let directory = tempfile::tempdir().unwrap();
    let machine = Machine::inspect(&SearchPath::new(Vec::new(), ""));
    let mut run = Vec::new();
    for architecture in ARCHITECTURES {
        let path = directory.path().join(architecture.name);
        fs::write(&path, architecture.program()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs::set_permissions(&path, mode).unwrap();
        let mut command = match machine.emulators.get(architecture.name) {
            Some(emulator) => Command::new(&emulator.path),
            None if architecture.name == machine.own.architecture => Command::new("/usr/bin/env"),
            None => continue,
        };
        let status = command.arg(&path).status().unwrap();
        assert!(status.success(), "{} {status}", architecture.name);
        run.push(architecture.name);
    }
    eprintln!("{run:?} run; others need qemu-user-static");
}
