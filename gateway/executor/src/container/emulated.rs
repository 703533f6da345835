//! The last resort for programs of another architecture: an emulator before the program.
//!
//! The kernel would find the program and its interpreter by itself; here that is done beforehand,
//! inside the root, and the emulator is called in the program's place.

use std::fs::File;
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, OFlags};

use super::launch::environment;
use super::stubs::open_inside;
use crate::emulation::Emulation;
use crate::process::{ExecProcess, Mount, MountSource, Process};
use crate::spawner::Failure;

/// Where the emulator is in a container: in its `/dev`, so that nothing of it stays in a layer.
const PLACE: &str = "/dev/.buildkit_qemu_emulator";
/// How many scripts may run one another, as in the kernel.
const MAX_SCRIPTS: usize = 5;
/// How much of a file says what it is, as in the kernel.
const HEAD_BYTES: u64 = 256;

/// `process` with the emulator among its mounts, if it is run so.
pub(crate) fn with_emulator(mut process: Process) -> Process {
    if let Some(Emulation::Explicit(emulator)) = &process.emulation {
        let mount = Mount::new(PLACE, MountSource::File(emulator.clone()));
        process.mounts.push(Mount { nosuid: true, nodev: true, ..mount.readonly() });
    }
    process
}

/// The arguments of a process as they are executed.
pub(crate) fn of_process(root: BorrowedFd<'_>, process: &Process) -> Result<Vec<String>, Failure> {
    let emulation = process.emulation.as_ref();
    arguments(root, emulation, &process.args, &process.env, &process.cwd())
}

/// The arguments of a process that joins a container as they are executed.
pub(crate) fn of_joining(
    root: BorrowedFd<'_>,
    process: &ExecProcess,
) -> Result<Vec<String>, Failure> {
    let (emulation, cwd) = (process.emulation.as_ref(), Path::new("/").join(&process.cwd));
    arguments(root, emulation, &process.args, &process.env, &cwd)
}

/// `args` as they are executed: with the emulator in front, if the program needs one.
fn arguments(
    root: BorrowedFd<'_>,
    emulation: Option<&Emulation>,
    args: &[String],
    env: &[String],
    cwd: &Path,
) -> Result<Vec<String>, Failure> {
    let Some(Emulation::Explicit(_)) = emulation else { return Ok(args.to_vec()) };
    let Some(name) = args.first().filter(|name| !name.is_empty()) else { return Ok(args.to_vec()) };
    let Some(program) = find(root, name, env, cwd) else {
        // The search that fails says it in the usual words.
        return Ok(args.to_vec());
    };
    let mut called = vec![text(&program)];
    called.extend(args.iter().skip(1).cloned());
    let mut own_name = name.clone();
    for _ in 0..MAX_SCRIPTS {
        let head = head(root, Path::new(&called[0]));
        if is_own(&head) {
            return Ok(called);
        }
        let Some((interpreter, argument)) = interpreter(&head) else {
            let mut emulated = vec![PLACE.to_owned(), "-0".to_owned(), own_name];
            emulated.extend(called);
            return Ok(emulated);
        };
        own_name.clone_from(&interpreter);
        called.splice(0..0, [Some(interpreter), argument].into_iter().flatten());
    }
    Ok(called)
}

/// The file of a program, by the rules of the launch.
fn find(root: BorrowedFd<'_>, name: &str, env: &[String], cwd: &Path) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(cwd.join(name));
    }
    let environment = environment(env, None);
    let path = environment.iter().find_map(|entry| entry.strip_prefix("PATH="))?;
    let mut candidates = path.split(':').filter(|it| it.starts_with('/'));
    candidates.find_map(|directory| {
        let candidate = Path::new(directory).join(name);
        is_program(root, &candidate).then_some(candidate)
    })
}

fn is_program(root: BorrowedFd<'_>, path: &Path) -> bool {
    let Ok(file) = open_inside(root, path, OFlags::PATH) else { return false };
    rustix::fs::fstat(&file).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_mode & 0o111 != 0
    })
}

/// How a file begins; empty if it cannot be read, which the emulator then says.
fn head(root: BorrowedFd<'_>, path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Ok(file) = open_inside(root, path, OFlags::RDONLY | OFlags::NONBLOCK) {
        File::from(file).take(HEAD_BYTES).read_to_end(&mut bytes).ok();
    }
    bytes
}

/// Whether a file is a program of this machine: for the same class, order and processor as this one.
fn is_own(head: &[u8]) -> bool {
    let mut own = [0; 20];
    let read = File::open("/proc/self/exe").and_then(|mut file| file.read_exact(&mut own));
    let same = |range: std::ops::Range<usize>| head.get(range.clone()) == own.get(range);
    // What lies between is the system it was made for, and whether it can be loaded anywhere.
    read.is_ok() && same(0..6) && same(18..20)
}

/// The program that a script names, and its argument.
fn interpreter(head: &[u8]) -> Option<(String, Option<String>)> {
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line);
    let line = line.trim();
    let (program, argument) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let argument = argument.trim();
    (!program.is_empty())
        .then(|| (program.to_owned(), (!argument.is_empty()).then(|| argument.to_owned())))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsFd;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// What is called in a root with these files, for these arguments.
    fn called(args: &[&str]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let foreign: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xff\x01";
        let own = fs::read("/proc/self/exe").unwrap();
        for (path, content) in [
            ("bin/sh", foreign),
            ("bin/plain", b"#! /bin/sh  -e \necho\n".as_slice()),
            ("bin/deep", b"#!/bin/plain\n"),
            ("bin/own", &own[..64]),
            ("srv/tool", foreign),
        ] {
            let path = directory.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let root = rustix::fs::open(directory.path(), OFlags::PATH, rustix::fs::Mode::empty());
        let emulation = Emulation::Explicit("/usr/bin/qemu".into());
        let args: Vec<String> = args.iter().map(|it| (*it).to_owned()).collect();
        let env = ["PATH=/none:/bin".to_owned()];
        arguments(root.unwrap().as_fd(), Some(&emulation), &args, &env, Path::new("/srv"))
            .unwrap()
            .join(" ")
            .replace(PLACE, "EMULATOR")
    }

    #[test]
    fn programs_are_put_behind_the_emulator_as_the_kernel_would() {
        for (args, expected) in [
            (&["sh", "-c", "x"][..], "EMULATOR -0 sh /bin/sh -c x"),
            (&["/bin/sh"], "EMULATOR -0 /bin/sh /bin/sh"),
            (&["./tool", "1"], "EMULATOR -0 ./tool /srv/./tool 1"),
            (&["plain", "1"], "EMULATOR -0 /bin/sh /bin/sh -e /bin/plain 1"),
            (&["deep"], "EMULATOR -0 /bin/sh /bin/sh -e /bin/plain /bin/deep"),
            (&["own", "1"], "/bin/own 1"),
            (&["missing"], "missing"),
        ] {
            assert_eq!(called(args), expected);
        }
    }
}
