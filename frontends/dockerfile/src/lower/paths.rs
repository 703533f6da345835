//! Paths inside images, for Unix and Windows images alike, whatever this program runs on.
//!
//! Pure text. Drive letters are checked and removed, backslashes become slashes, relative paths are
//! joined; what is absolute already stays as it was written, as at the reference. The messages are
//! the reference's.

/// Why a path is none of the image's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    /// Only a drive letter.
    #[error("No relative path specified in {0}")]
    OnlyDrive(String),
    /// `\\host\share`.
    #[error("UNC paths are not supported")]
    Unc,
    /// Another drive than `C:`.
    #[error("The specified path is not on the system drive (C:)")]
    OtherDrive,
}

/// The shortest spelling of a slash path: no `.`, no doubled slashes, `..` resolved.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            part => parts.push(part),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".into(),
        (false, false) => parts.join("/"),
    }
}

/// Parts put together and cleaned; empty parts do not count, and `""` is all that nothing gives.
pub(crate) fn join(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { String::new() } else { clean(&parts.join("/")) }
}

/// The last element of a slash path; `.` if there is none, `/` of the root.
pub(crate) fn base(path: &str) -> &str {
    if path.is_empty() {
        return ".";
    }
    let path = path.trim_end_matches('/');
    if path.is_empty() { "/" } else { path.rsplit('/').next().unwrap_or(path) }
}

/// The path with slashes, where the system has backslashes.
pub(crate) fn to_slash(path: &str, os: &str) -> String {
    if os == "windows" { path.replace('\\', "/") } else { path.to_owned() }
}

/// The path with the separators of the system.
fn from_slash(path: &str, os: &str) -> String {
    if os == "windows" { path.replace('/', "\\") } else { path.to_owned() }
}

/// The path without the drive letter, which must be that of the system.
pub(crate) fn without_drive(path: &str, os: &str, keep_slash: bool) -> Result<String, PathError> {
    if os != "windows" {
        return Ok(path.to_owned());
    }
    if path.len() == 2 && path.ends_with(':') {
        return Err(PathError::OnlyDrive(crate::quoting::quote(path)));
    }
    if path.get(..2).is_some_and(|start| to_slash(start, os) == "//") {
        return Err(PathError::Unc);
    }
    let rest = match path.split_once(':') {
        Some((drive, _)) if !drive.eq_ignore_ascii_case("c") => return Err(PathError::OtherDrive),
        Some((_, rest)) => rest,
        None => path,
    };
    let slashes = to_slash(rest, os);
    let mut cleaned = clean(&slashes);
    if keep_slash && cleaned.len() > 1 && slashes.ends_with('/') {
        cleaned.push('/');
    }
    Ok(cleaned)
}

/// Whether the path starts at the root.
pub(crate) fn is_absolute(path: &str, os: &str) -> bool {
    without_drive(path, os, false).is_ok_and(|path| path.starts_with('/'))
}

/// The path seen from `parent`, absolute and with slashes. With `keep_slash` a trailing `/` or `/.`
/// stays: it says that a directory is meant.
///
/// # Errors
///
/// A text with the reference's words in front.
pub(crate) fn normalize(
    parent: &str,
    path: &str,
    os: &str,
    keep_slash: bool,
) -> Result<String, String> {
    let without_drive = |path: &str| {
        without_drive(path, os, keep_slash)
            .map_err(|error| format!("removing drive letter: {error}"))
    };
    let (written, parent) = (to_slash(path, os), to_slash(parent, os));
    let mut parent = without_drive(if parent.is_empty() { "/" } else { &parent })?;
    if !is_absolute(&parent, os) {
        parent = join(&["/", &parent]);
    }
    let mut path = without_drive(if written.is_empty() { &parent } else { &written })?;
    if !is_absolute(&path, os) {
        path = join(&[&parent, &path]);
    }
    if keep_slash && written.ends_with('/') && !path.ends_with('/') {
        path.push('/');
    } else if keep_slash && written.ends_with("/.") {
        if path != "/" {
            path.push('/');
        }
        path.push('.');
    }
    Ok(to_slash(&path, os))
}

/// A new working directory, seen from the current one, with the separators of the system.
///
/// # Errors
///
/// As [`normalize`].
pub(crate) fn workdir(current: &str, path: &str, os: &str) -> Result<String, String> {
    let path = normalize(current, path, os, false)
        .map_err(|error| format!("normalizing working directory: {error}"))?;
    Ok(from_slash(&path, os))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "a count for who reads the test's output")]
    fn paths_agree_with_the_recorded_table() {
        let table = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/vectors/micro/paths.json");
        let table = std::fs::read(table).unwrap();
        let rows: Vec<serde_json::Value> = serde_json::from_slice(&table).unwrap();
        for row in &rows {
            let text = |key: &str| row[key].as_str().unwrap_or_default();
            let (os, parent, path) = (text("os"), text("parent"), text("path"));
            let made = match text("function") {
                "is_abs" => Ok(is_absolute(path, os).to_string()),
                "normalize_path" => normalize(parent, path, os, false),
                "normalize_path_keep_slash" => normalize(parent, path, os, true),
                "normalize_workdir" => workdir(parent, path, os),
                "remove_drive" => without_drive(path, os, false).map_err(|error| error.to_string()),
                other => panic!("no function is called {other}"),
            };
            let wanted = match row["error"].as_str() {
                Some(error) => Err(error.to_owned()),
                None => Ok(text("result").to_owned()),
            };
            assert_eq!(made, wanted, "{row}");
        }
        eprintln!("paths: {0} of {0}", rows.len());
    }

    #[test]
    fn windows_paths_lose_their_drive_and_backslashes() {
        let normal = |path: &str| normalize("\\app", path, "windows", true);
        assert_eq!(normal("C:\\a\\..\\b\\"), Ok("/b/".into()));
        assert_eq!(normal("sub\\dir"), Ok("/app/sub/dir".into()));
        assert_eq!(
            normal("d:\\x"),
            Err("removing drive letter: The specified path is not on the system drive (C:)".into())
        );
        assert_eq!(workdir("\\app", "x", "windows"), Ok("\\app\\x".into()));
    }

    #[test]
    fn absolute_unix_paths_stay_as_they_were_written() {
        assert_eq!(normalize("/w", "/a//b/../c", "linux", false), Ok("/a//b/../c".into()));
        assert_eq!(normalize("/w", "a/../b/", "linux", true), Ok("/w/b/".into()));
        assert_eq!(normalize("", "./", "linux", true), Ok("/".into()));
    }

    #[test]
    fn the_last_element_is_never_empty() {
        assert_eq!((base(""), base("/"), base("/a/b/")), (".", "/", "b"));
    }
}
