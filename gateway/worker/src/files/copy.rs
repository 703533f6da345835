//! Copying between file systems, with the rules of BuildKit's copy (`solver/llbsolver/file`).
//!
//! A directory is merged into one that exists; anything else replaces what has its name. Owners,
//! permissions, times, attributes, devices and hard links come along unless the action says
//! otherwise.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kiln_filesync::glob::has_wildcard;
use kiln_graph::CopyAction;

use super::edit::{finish, make_parents};
use super::{FileError, Ids, chmod, unpack};
use crate::filter::Filter;
use crate::{scope, sys};

/// Copies from `from` (an absent one is empty) to `to`.
pub(crate) fn copy(
    from: Option<&Path>,
    to: &Path,
    action: &CopyAction,
    owner: Option<Ids>,
) -> Result<(), FileError> {
    let nothing = || FileError::Missing(scope::clean(&action.src));
    // Frontends allow empty wildcards for every copy; that says nothing about a plain path.
    let wildcard = action.allow_wildcard && has_wildcard(&action.src);
    let Some(from) = from else {
        if scope::clean(&action.src) == "/" {
            let dest = scope::clean(&action.dest);
            let target =
                scope::resolve(to, &dest, true).map_err(FileError::io("resolve", &dest))?;
            make_parents(to, &target, 0o755, owner, action.timestamp)?;
            return Ok(());
        }
        let stands_for_nothing = wildcard && action.allow_empty_wildcard;
        return if stands_for_nothing { Ok(()) } else { Err(nothing()) };
    };
    for path in &action.required_paths {
        require(from, &action.src, path)?;
    }
    let sources = match wildcard {
        true => scope::expand(from, &action.src).map_err(FileError::io("find", &action.src))?,
        false => vec![scope::clean(&action.src)],
    };
    if sources.is_empty() && !action.allow_empty_wildcard {
        return Err(nothing());
    }
    let filter = Filter::of(&action.include_patterns, &action.exclude_patterns)
        .map_err(|pattern| FileError::Invalid(format!("invalid pattern: {pattern}")))?;
    for source in sources {
        let copy = Copy { from, to, action, owner, filter: &filter, links: BTreeMap::new() };
        copy.one(&source)?;
    }
    Ok(())
}

/// Fails unless a path is among what is copied from `src`: there, symbolic links are copied as such and
/// lead nowhere.
fn require(from: &Path, src: &str, path: &str) -> Result<(), FileError> {
    let missing = || FileError::NotFound(path.to_owned());
    let (src, clean) = (scope::clean(src), scope::clean(path));
    let below = clean.strip_prefix(src.trim_end_matches('/')).ok_or_else(missing)?;
    let mut found = scope::resolve(from, &src, false).map_err(FileError::io("resolve", path))?;
    for name in below.split('/').filter(|name| !name.is_empty()) {
        // A link at the end is what was asked for, one on the way is not.
        if found.is_symlink() {
            return Err(missing());
        }
        found.push(name);
    }
    fs::symlink_metadata(&found).map(drop).map_err(|_| missing())
}

struct Copy<'a> {
    from: &'a Path,
    to: &'a Path,
    action: &'a CopyAction,
    owner: Option<Ids>,
    filter: &'a Filter,
    /// Where files with several names went first.
    links: BTreeMap<(u64, u64), PathBuf>,
}

impl Copy<'_> {
    fn one(mut self, source: &str) -> Result<(), FileError> {
        let shown = scope::clean(source);
        let path = scope::resolve(self.from, source, self.action.follow_symlink);
        let path = path.map_err(FileError::io("resolve", &shown))?;
        let metadata = fs::symlink_metadata(&path).map_err(FileError::io("find", &shown))?;
        let dest = scope::clean(&self.action.dest);
        let into = scope::is_directory_path(&self.action.dest);
        let target =
            scope::resolve(self.to, &dest, true).map_err(FileError::io("resolve", &dest))?;
        self.prepare(&target, into)?;
        if self.action.unpack
            && metadata.is_file()
            && unpack::unpack(&path, &shown, self.to, &dest, self.owner, self.action.timestamp)?
        {
            return Ok(());
        }
        let name = scope::base_name(&shown);
        let exists = target.is_dir();
        let target = match name {
            Some(name) if metadata.is_dir() && exists && !self.action.dir_contents => {
                target.join(name)
            }
            Some(name) if !metadata.is_dir() && (exists || into) => target.join(name),
            _ => target,
        };
        self.entry(&path, &target, "", &metadata, true)
    }

    /// Makes the directory that is copied to or into.
    fn prepare(&self, target: &Path, into: bool) -> Result<(), FileError> {
        let needed = if into { target } else { target.parent().unwrap_or(self.to) };
        if needed.is_dir() {
            return Ok(());
        }
        if !self.action.create_dest_path {
            return Err(FileError::Missing(scope::shown(self.to, needed)));
        }
        make_parents(self.to, needed, 0o755, self.owner, self.action.timestamp)
    }

    fn entry(
        &mut self,
        source: &Path,
        target: &Path,
        name: &str,
        metadata: &Metadata,
        top: bool,
    ) -> Result<(), FileError> {
        if metadata.is_dir() {
            return self.directory(source, target, name, metadata, top);
        }
        if !top && !self.filter.passes(name) {
            return Ok(());
        }
        self.clear(target, false)?;
        let shown = scope::shown(self.from, source);
        let key = (metadata.dev(), metadata.ino());
        if metadata.is_symlink() {
            let link = fs::read_link(source).map_err(FileError::io("read", &shown))?;
            std::os::unix::fs::symlink(link, target).map_err(FileError::io("copy", &shown))?;
        } else if let Some(first) = self.links.get(&key) {
            fs::hard_link(first, target).map_err(FileError::io("link", &shown))?;
            return Ok(());
        } else if metadata.is_file() {
            fs::copy(source, target).map_err(FileError::io("copy", &shown))?;
        } else if let Some(kind) = sys::special(metadata.mode()) {
            let made = sys::make_node(target, kind, metadata.mode(), metadata.rdev());
            made.map_err(FileError::io("copy", &shown))?;
        } else {
            // Sockets are not files; whoever listens on one is not copied either.
            return Ok(());
        }
        if metadata.nlink() > 1 {
            self.links.insert(key, target.to_owned());
        }
        self.attributes(source, target, metadata)
    }

    fn directory(
        &mut self,
        source: &Path,
        target: &Path,
        name: &str,
        metadata: &Metadata,
        top: bool,
    ) -> Result<(), FileError> {
        let existed = target.is_dir() && !target.is_symlink();
        let shown = scope::shown(self.from, source);
        let mut children: Vec<_> = fs::read_dir(source)
            .and_then(|entries| {
                entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()
            })
            .map_err(FileError::io("list", &shown))?;
        children.sort();
        let wanted = top || self.filter.passes_all() || self.filter.passes(name);
        let mut made = existed;
        if wanted && !made {
            self.make_directory(target, &shown)?;
            made = true;
        }
        for child in children {
            let path = source.join(&child);
            let child_metadata =
                fs::symlink_metadata(&path).map_err(FileError::io("find", &shown))?;
            let below = match name {
                "" => child.to_string_lossy().into_owned(),
                name => format!("{name}/{}", child.to_string_lossy()),
            };
            if !made
                && (child_metadata.is_dir() || self.filter.passes(&below))
                && self.holds(&path, &below, &child_metadata)?
            {
                self.make_directory(target, &shown)?;
                made = true;
            }
            if made {
                self.entry(&path, &target.join(&child), &below, &child_metadata, false)?;
            }
        }
        // The directory that contents are copied into keeps what it is.
        if made && !(top && existed && self.action.dir_contents) {
            self.attributes(source, target, metadata)?;
        }
        Ok(())
    }

    /// Whether anything at or below a path passes the filter.
    fn holds(&self, path: &Path, name: &str, metadata: &Metadata) -> Result<bool, FileError> {
        if self.filter.passes(name) {
            return Ok(true);
        }
        if !metadata.is_dir() {
            return Ok(false);
        }
        let failed = || FileError::io("list", scope::shown(self.from, path));
        for entry in fs::read_dir(path).map_err(failed())? {
            let entry = entry.map_err(failed())?;
            let below = format!("{name}/{}", entry.file_name().to_string_lossy());
            if self.holds(&entry.path(), &below, &entry.metadata().map_err(failed())?)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn make_directory(&self, target: &Path, shown: &str) -> Result<(), FileError> {
        self.clear(target, true)?;
        fs::create_dir(target).map_err(FileError::io("copy", shown))
    }

    /// Makes room for a copy: what is of another kind is only replaced if the action says so.
    fn clear(&self, target: &Path, for_directory: bool) -> Result<(), FileError> {
        let Ok(metadata) = fs::symlink_metadata(target) else { return Ok(()) };
        let shown = || scope::shown(self.to, target);
        let in_the_way = metadata.is_dir() != for_directory || for_directory;
        if in_the_way && !self.action.always_replace {
            let what = if metadata.is_dir() { "a directory" } else { "no directory" };
            return Err(FileError::InTheWay(format!("cannot copy to {}: it is {what}", shown())));
        }
        let removed =
            if metadata.is_dir() { fs::remove_dir_all(target) } else { fs::remove_file(target) };
        removed.map_err(FileError::io("replace", shown()))
    }

    fn attributes(
        &self,
        source: &Path,
        target: &Path,
        metadata: &Metadata,
    ) -> Result<(), FileError> {
        let (uid, gid) = kiln_store::owner::owner_of(source, metadata);
        let owner = self.owner.unwrap_or(Ids { uid, gid });
        // Words win over the number beside them, which is 0 then; a link has no permissions.
        let mode = match self.action.mode {
            _ if metadata.is_symlink() => None,
            _ if !self.action.mode_text.is_empty() => {
                Some(chmod::apply(&self.action.mode_text, metadata.mode(), metadata.is_dir())?)
            }
            Some(mode) => Some(mode),
            None => Some(metadata.permissions().mode() & 0o7777),
        };
        let attributes =
            sys::xattrs(source).map_err(FileError::io("read", scope::shown(self.from, source)))?;
        finish(self.to, target, mode, Some(owner), None)?;
        for (name, value) in attributes {
            sys::set_xattr(target, &name, &value);
        }
        let own = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        let time = self.action.timestamp.map_or(own, i128::from);
        sys::set_time(target, time)
            .map_err(FileError::io("change time of", scope::shown(self.to, target)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, tempfile::TempDir) {
        let from = tempfile::tempdir().unwrap();
        fs::create_dir_all(from.path().join("src/deep")).unwrap();
        fs::write(from.path().join("src/a.c"), "a").unwrap();
        fs::hard_link(from.path().join("src/a.c"), from.path().join("src/same.c")).unwrap();
        fs::write(from.path().join("src/deep/b.o"), "b").unwrap();
        std::os::unix::fs::symlink("a.c", from.path().join("src/link")).unwrap();
        (from, tempfile::tempdir().unwrap())
    }

    fn action(src: &str, dest: &str) -> CopyAction {
        CopyAction {
            src: src.into(),
            dest: dest.into(),
            create_dest_path: true,
            ..CopyAction::default()
        }
    }

    #[test]
    fn a_directory_becomes_its_name_or_its_contents() {
        let (from, to) = tree();
        copy(Some(from.path()), to.path(), &action("/src", "/new"), None).unwrap();
        assert!(to.path().join("new/deep/b.o").is_file());
        copy(Some(from.path()), to.path(), &action("/src", "/new"), None).unwrap();
        assert!(to.path().join("new/src/deep/b.o").is_file());
        let contents = CopyAction { dir_contents: true, ..action("/src", "/all") };
        copy(Some(from.path()), to.path(), &contents, None).unwrap();
        copy(Some(from.path()), to.path(), &contents, None).unwrap();
        let names = |path: &str| fs::metadata(to.path().join(path)).unwrap().ino();
        assert_eq!(names("all/a.c"), names("all/same.c"));
        assert_eq!(fs::read_link(to.path().join("all/link")).unwrap(), Path::new("a.c"));
    }

    #[test]
    fn a_file_goes_into_a_directory_or_takes_a_name() {
        let (from, to) = tree();
        copy(Some(from.path()), to.path(), &action("/src/a.c", "/dir/"), None).unwrap();
        copy(
            Some(from.path()),
            to.path(),
            &CopyAction { mode: Some(0o755), ..action("/src/a.c", "/bin/tool") },
            None,
        )
        .unwrap();
        assert!(to.path().join("dir/a.c").is_file());
        assert_eq!(fs::metadata(to.path().join("bin/tool")).unwrap().mode() & 0o777, 0o755);
        let missing = copy(Some(from.path()), to.path(), &action("/none", "/x"), None).unwrap_err();
        assert_eq!(missing.to_string(), "/none: no such file or directory");
    }

    #[test]
    fn patterns_pick_what_is_copied() {
        let (from, to) = tree();
        let only = CopyAction {
            include_patterns: vec!["**/*.o".into()],
            dir_contents: true,
            ..action("/src", "/o")
        };
        copy(Some(from.path()), to.path(), &only, None).unwrap();
        assert!(to.path().join("o/deep/b.o").is_file() && !to.path().join("o/a.c").exists());
        let without = CopyAction {
            exclude_patterns: vec!["deep".into()],
            dir_contents: true,
            ..action("/src", "/c")
        };
        copy(Some(from.path()), to.path(), &without, None).unwrap();
        assert!(to.path().join("c/a.c").is_file() && !to.path().join("c/deep").exists());
        let wildcard = CopyAction { allow_wildcard: true, ..action("/src/*.c", "/w/") };
        copy(Some(from.path()), to.path(), &wildcard, None).unwrap();
        assert!(to.path().join("w/a.c").is_file() && to.path().join("w/same.c").is_file());
    }

    #[test]
    fn only_a_wildcard_may_stand_for_nothing() {
        let (from, to) = tree();
        let any = |src: &str| CopyAction {
            allow_wildcard: true,
            allow_empty_wildcard: true,
            ..action(src, "/any/")
        };
        let copied = |from: Option<&Path>, src: &str| {
            copy(from, to.path(), &any(src), None).map_err(|error| error.to_string())
        };
        let missing = |path: &str| Err(format!("{path}: no such file or directory"));
        let full = Some(from.path());
        assert_eq!(copied(full, "/src/*.h"), Ok(()));
        assert_eq!(copied(full, "/src/a.h"), missing("/src/a.h"));
        assert_eq!(copied(full, "/src/a\\*"), missing("/src/a\\*"));
        assert_eq!(copied(None, "/src/*.h"), Ok(()));
        assert_eq!(copied(None, "/src/a.h"), missing("/src/a.h"));
        assert!(!to.path().join("any").exists());
        assert_eq!(copied(None, "/"), Ok(()));
        assert!(to.path().join("any").is_dir());
    }

    #[test]
    fn what_is_required_is_not_looked_for_behind_links() {
        let (from, to) = tree();
        std::os::unix::fs::symlink("src", from.path().join("via")).unwrap();
        let only = |src: &str, pattern: &str, path: &str| {
            let copy_action = CopyAction {
                include_patterns: vec![pattern.into()],
                required_paths: vec![path.into()],
                dir_contents: true,
                follow_symlink: true,
                ..action(src, "/")
            };
            copy(Some(from.path()), to.path(), &copy_action, None).map_err(|e| e.to_string())
        };
        let missing = |path: &str| Err(format!("\"{path}\": not found"));
        assert_eq!(only("/", "src/a.c", "/src/a.c"), Ok(()));
        assert_eq!(only("/", "src/link", "/src/link"), Ok(()));
        assert_eq!(only("/", "none", "/none"), missing("/none"));
        assert_eq!(only("/", "via/a.c", "/via/a.c"), missing("/via/a.c"));
        assert_eq!(only("/via", "a.c", "/via/a.c"), missing("/via/a.c"));
        assert_eq!(only("/via/deep", "b.o", "/via/deep/b.o"), Ok(()));
    }

    #[test]
    fn what_is_in_the_way_is_named() {
        let (from, to) = tree();
        fs::create_dir_all(to.path().join("x/a.c")).unwrap();
        let error =
            copy(Some(from.path()), to.path(), &action("/src/a.c", "/x/"), None).unwrap_err();
        assert_eq!(error.to_string(), "cannot copy to /x/a.c: it is a directory");
        let replace = CopyAction { always_replace: true, ..action("/src/a.c", "/x/") };
        copy(Some(from.path()), to.path(), &replace, None).unwrap();
        assert!(to.path().join("x/a.c").is_file());
    }
}
