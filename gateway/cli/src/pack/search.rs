//! Where a machine's loader looks for libraries.
//!
//! `/etc/ld.so.conf` with its includes, the directories built into glibc's and musl's loaders, and the
//! tokens that search paths may hold.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Includes deeper than this are a loop.
const MAX_DEPTH: usize = 8;
/// A configuration longer than this is none.
const MAX_BYTES: u64 = 1 << 20;

/// Directories that loaders know without being told, for an architecture in Debian's spelling.
pub(crate) fn built_in(wide: bool, multiarch: &str) -> Vec<PathBuf> {
    let mut directories = vec![
        PathBuf::from(format!("/lib/{multiarch}")),
        PathBuf::from(format!("/usr/lib/{multiarch}")),
    ];
    let plain: &[&str] = match wide {
        true => &["/lib64", "/usr/lib64", "/lib", "/usr/lib"],
        false => &["/lib", "/usr/lib"],
    };
    directories.extend(plain.iter().map(PathBuf::from));
    directories
}

/// The name of an architecture in the directories of Debian and its children.
pub(crate) fn multiarch(architecture: &str) -> &'static str {
    match architecture {
        "386" => "i386-linux-gnu",
        "amd64" => "x86_64-linux-gnu",
        "arm" => "arm-linux-gnueabihf",
        "arm64" => "aarch64-linux-gnu",
        "loong64" => "loongarch64-linux-gnu",
        "mips64le" => "mips64el-linux-gnuabi64",
        "ppc64le" => "powerpc64le-linux-gnu",
        "riscv64" => "riscv64-linux-gnu",
        "s390x" => "s390x-linux-gnu",
        _ => "unknown",
    }
}

/// The directories `/etc/ld.so.conf` under `root` names, in its order.
pub(crate) fn configured(root: &Path) -> Vec<PathBuf> {
    let mut directories = Vec::new();
    let mut seen = BTreeSet::new();
    read(root, Path::new("/etc/ld.so.conf"), 0, &mut seen, &mut directories);
    directories
}

fn read(
    root: &Path,
    file: &Path,
    depth: usize,
    seen: &mut BTreeSet<PathBuf>,
    directories: &mut Vec<PathBuf>,
) {
    if depth > MAX_DEPTH || !seen.insert(file.to_owned()) {
        return;
    }
    // A machine without the file has no such directories.
    let Some(text) = read_text(&under(root, file)) else { return };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or("").trim();
        match line.strip_prefix("include").filter(|rest| rest.starts_with(char::is_whitespace)) {
            Some(patterns) => {
                for pattern in patterns.split_whitespace() {
                    let parent = file.parent().unwrap_or(Path::new("/"));
                    for included in expand(root, &parent.join(pattern)) {
                        read(root, &included, depth + 1, seen, directories);
                    }
                }
            }
            None if line.starts_with('/') => directories.push(PathBuf::from(line)),
            None => {}
        }
    }
}

fn read_text(path: &Path) -> Option<String> {
    let small = std::fs::metadata(path).ok()?.len() <= MAX_BYTES;
    if small { std::fs::read_to_string(path).ok() } else { None }
}

/// The files a pattern names; only the last part may hold a star.
fn expand(root: &Path, pattern: &Path) -> Vec<PathBuf> {
    let (Some(parent), Some(name)) = (pattern.parent(), pattern.file_name()) else { return vec![] };
    let name = name.to_string_lossy();
    let Some((before, after)) = name.split_once('*') else { return vec![pattern.to_owned()] };
    let entries = std::fs::read_dir(under(root, parent)).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.file_name())
        .filter(|name| {
            let name = name.to_string_lossy();
            name.len() >= before.len() + after.len()
                && name.starts_with(before)
                && name.ends_with(after)
        })
        .map(|name| parent.join(name))
        .collect();
    files.sort();
    files
}

/// A path of the machine whose root is `root`.
pub(crate) fn under(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// A search path with its tokens replaced, seen from the file at `requester`.
pub(crate) fn expand_tokens(
    path: &OsStr,
    requester: &Path,
    wide: bool,
    multiarch: &str,
) -> Option<PathBuf> {
    let origin = requester.parent().unwrap_or(Path::new("/")).to_string_lossy().into_owned();
    let mut text = std::str::from_utf8(path.as_bytes()).ok()?.to_owned();
    let library = if wide { "lib64" } else { "lib" };
    for (token, value) in
        [("ORIGIN", origin.as_str()), ("LIB", library), ("PLATFORM", platform(multiarch))]
    {
        text = text.replace(&format!("${{{token}}}"), value).replace(&format!("${token}"), value);
    }
    // What is relative depends on who starts the program, which is nobody yet.
    text.starts_with('/').then(|| PathBuf::from(text))
}

fn platform(multiarch: &str) -> &str {
    multiarch.split('-').next().unwrap_or(multiarch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn includes_are_read_once_and_in_order() {
        let root = tempfile::tempdir().unwrap();
        let etc = root.path().join("etc");
        std::fs::create_dir_all(etc.join("ld.so.conf.d")).unwrap();
        std::fs::write(
            etc.join("ld.so.conf"),
            "/first # why\ninclude ld.so.conf.d/*.conf\n/last\n",
        )
        .unwrap();
        std::fs::write(etc.join("ld.so.conf.d/b.conf"), "/b\n").unwrap();
        std::fs::write(etc.join("ld.so.conf.d/a.conf"), "/a\ninclude /etc/ld.so.conf\n").unwrap();
        std::fs::write(etc.join("ld.so.conf.d/c.txt"), "/c\n").unwrap();
        let expected = ["/first", "/a", "/b", "/last"].map(PathBuf::from);
        assert_eq!(configured(root.path()), expected);
    }

    #[test]
    fn tokens_depend_on_who_asks() {
        let expand = |path: &str| {
            expand_tokens(OsStr::new(path), Path::new("/opt/x/bin/front"), true, "x86_64-linux-gnu")
        };
        assert_eq!(expand("$ORIGIN/../lib"), Some("/opt/x/bin/../lib".into()));
        assert_eq!(expand("/a/${LIB}/$PLATFORM"), Some("/a/lib64/x86_64".into()));
        assert_eq!(expand("lib"), None);
    }
}
