//! Programs of the host by their names.
//!
//! A name and a search path come in, the files that may be started go out.

use std::path::{Path, PathBuf};

/// The executables that `name` may mean, best first: itself where it is a path, else those of this name in the
/// directories of `path`, which is written as in `PATH`. Each is looked at when it is asked for.
pub fn programs_called<'a>(name: &'a Path, path: &'a str) -> impl Iterator<Item = PathBuf> + 'a {
    let is_path = name.components().count() > 1;
    let itself = is_path.then(|| name.to_owned()).into_iter();
    // An empty path would be whatever directory this was started in.
    let wanted = move |directory: &PathBuf| !is_path && !directory.as_os_str().is_empty();
    let found =
        std::env::split_paths(path).filter(wanted).map(move |directory| directory.join(name));
    itself.chain(found).filter(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.is_file() && rustix::fs::access(file, rustix::fs::Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_for_and_paths_are_what_they_are() {
        let first = |name: &str, path: &str| programs_called(Path::new(name), path).next();
        assert_eq!(first("sh", "/nonexistent:/bin"), Some("/bin/sh".into()));
        assert_eq!(first("/bin/sh", "/nonexistent"), Some("/bin/sh".into()));
        assert_eq!(first("sh", "/nonexistent"), None);
        assert_eq!(first("passwd", "/etc"), None, "it cannot be started");
        assert_eq!(first("/nonexistent/sh", "/bin"), None);
    }
}
