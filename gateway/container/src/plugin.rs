//! How a plugin is confined: what of the machine it sees.
//!
//! The rule, which the guide for authors repeats: a plugin sees the programs and libraries of the system
//! (`/usr`, `/bin`, `/sbin`, `/lib…`, the list of the dynamic loader), itself, and if it is a script
//! the directory it lies in, which holds its modules; all read-only. Its root is memory. It has no
//! network, no capability and no way to gain one, and limits on what it may use.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use kiln_executor::{Mount, MountSource, Resources};
use kiln_graph::{Exec, NetworkMode, Ulimit};
use kiln_oci::Platform;

use crate::ProcessSpec;

/// What every plugin sees of the system, as far as it is there.
const SYSTEM: &[&str] = &[
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/etc/alternatives",
    "/etc/ld.so.cache",
];
/// Where a plugin sees itself.
const PLACE: &str = "/plugin";
/// Memory that a plugin may use, in bytes.
const MEMORY: i64 = 4 << 30;
/// Processes and threads that a plugin may have.
const PIDS: u64 = 512;
/// Files that a plugin may have open.
const FILES: i64 = 4096;

/// What a plugin needs, and nothing else: it sees nothing that it need not see.
///
/// # Errors
///
/// If its first bytes cannot be read.
pub(crate) fn confined(plugin: &Path, env: Vec<String>) -> std::io::Result<ProcessSpec> {
    let name = plugin.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (own, source) = match (is_script(plugin)?, plugin.parent()) {
        (true, Some(directory)) => (PathBuf::from(PLACE), directory),
        _ => (Path::new(PLACE).join(&name), plugin),
    };
    let limit = |name: &str, most: i64| Ulimit { name: name.to_owned(), soft: most, hard: most };
    let exec = Exec {
        args: vec![format!("{PLACE}/{name}")],
        env,
        cwd: "/".to_owned(),
        network: NetworkMode::None,
        ulimits: vec![limit("nofile", FILES), limit("core", 0)],
        ..Exec::default()
    };
    let host_mounts = SYSTEM
        .iter()
        .map(Path::new)
        .filter(|path| path.exists())
        .map(|path| shown(path, path))
        .chain([
            shown(&own, source),
            Mount::new("/tmp", MountSource::Tmpfs { size: None, mode: 0o1777 }),
        ])
        .collect();
    let resources = Resources {
        memory: Some(MEMORY),
        pids: Some(PIDS),
        best_effort: true,
        ..Resources::default()
    };
    let spec = ProcessSpec::new("frontend", exec, Platform::host());
    Ok(ProcessSpec { resources, host_mounts, restricted: true, ..spec })
}

fn shown(dest: &Path, source: &Path) -> Mount {
    Mount {
        nosuid: true,
        nodev: true,
        ..Mount::new(dest, MountSource::Bind(source.to_owned())).readonly()
    }
}

fn is_script(plugin: &Path) -> std::io::Result<bool> {
    let mut start = [0; 2];
    match File::open(plugin)?.read_exact(&mut start) {
        // A program shorter than that is none; the kernel will say so.
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
        Ok(()) => Ok(&start == b"#!"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sees(content: &str) -> Vec<(PathBuf, MountSource)> {
        let directory = tempfile::tempdir().unwrap();
        let plugin = directory.path().join("kiln-frontend-x");
        std::fs::write(&plugin, content).unwrap();
        let spec = confined(&plugin, Vec::new()).unwrap();
        assert!(
            spec.host_mounts.iter().all(|mount| mount.readonly || mount.dest == Path::new("/tmp"))
        );
        let own = spec.host_mounts.into_iter().filter(|mount| mount.dest.starts_with(PLACE));
        own.map(|mount| {
            let MountSource::Bind(path) = mount.source else { panic!("{:?}", mount.source) };
            let path = path.strip_prefix(directory.path()).unwrap().to_owned();
            (mount.dest, MountSource::Bind(path))
        })
        .collect()
    }

    #[test]
    fn a_program_sees_itself_and_a_script_its_directory() {
        let program =
            (PathBuf::from("/plugin/kiln-frontend-x"), MountSource::Bind("kiln-frontend-x".into()));
        assert_eq!(sees("\x7fELF"), [program]);
        assert_eq!(sees("#!/bin/sh\n"), [(PathBuf::from("/plugin"), MountSource::Bind("".into()))]);
        assert_eq!(sees("").len(), 1);
    }
}
