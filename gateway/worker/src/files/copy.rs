//! Copying between file systems, with the rules of BuildKit's copy (`solver/llbsolver/file`).
//!
//! A directory is merged into one that exists; anything else replaces what has its name. Owners,
//! permissions, times, attributes, devices, holes and hard links come along unless the action says
//! otherwise. A directory that is only made so that something can be put into it has nothing of the
//! source: it is root's, or whose the copies are.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use kiln_container::scope;
use kiln_filesync::Patterns;
use kiln_filesync::glob::has_wildcard;
use kiln_graph::CopyAction;
use kiln_store::Copied;

use super::edit::{finish, make_parents};
use super::unpack::Archive;
use super::{Allocate, FileError, Ids, Implied, chmod, imply};
use crate::filter::Filter;
use crate::sys;

/// Copies from `from` to `to`. Directories that are made on the way to the
/// copies are added to `implied`.
pub(crate) fn copy(
    from: &Path,
    to: &Path,
    action: &CopyAction,
    owner: Option<Ids>,
    implied: &mut Implied,
    allocate: Allocate<'_>,
) -> Result<(), FileError> {
    let nothing = || FileError::Missing(scope::clean(&action.src));
    // Frontends allow empty wildcards for every copy; that says nothing about a plain path.
    let wildcard = action.allow_wildcard && has_wildcard(&action.src);
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
        let links = BTreeMap::new();
        let filter = &filter;
        let mut copy = Copy { from, to, action, owner, filter, links, implied, allocate };
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

/// Where an entry is copied to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is what the action names.
    Top,
    /// A directory that may have entries.
    Known,
    /// A directory that was made for this copy.
    New,
}

struct Copy<'a> {
    from: &'a Path,
    to: &'a Path,
    action: &'a CopyAction,
    owner: Option<Ids>,
    filter: &'a Filter,
    /// Where files with several names went first.
    links: BTreeMap<(u64, u64), PathBuf>,
    implied: &'a mut Implied,
    allocate: Allocate<'a>,
}

impl Copy<'_> {
    fn one(&mut self, source: &str) -> Result<(), FileError> {
        let shown = scope::clean(source);
        let path = scope::resolve(self.from, source, self.action.follow_symlink);
        let path = path.map_err(FileError::io("resolve", &shown))?;
        let metadata = fs::symlink_metadata(&path).map_err(FileError::io("find", &shown))?;
        if !metadata.is_dir() && is_excluded(&self.action.exclude_patterns, &shown)? {
            return Ok(());
        }
        let dest = scope::clean(&self.action.dest);
        let into = scope::is_directory_path(&self.action.dest);
        let target =
            scope::resolve(self.to, &dest, true).map_err(FileError::io("resolve", &dest))?;
        if self.action.unpack && metadata.is_file() && self.unpack(&path, &shown, &target)? {
            return Ok(());
        }
        self.prepare(&target, into)?;
        let name = scope::base_name(&shown);
        let exists = target.is_dir();
        let target = match name {
            Some(name) if metadata.is_dir() && exists && !self.action.dir_contents => {
                target.join(name)
            }
            Some(name) if !metadata.is_dir() && (exists || into) => target.join(name),
            _ => target,
        };
        if metadata.is_dir() && self.action.dir_contents {
            // It is made for what is copied into it, and has nothing of the source's own directory.
            self.make_missing(&target)?;
        }
        self.entry(&path, &target, "", &metadata, Place::Top)
    }

    /// Makes the directory that is copied to or into.
    fn prepare(&mut self, target: &Path, into: bool) -> Result<(), FileError> {
        let needed = if into { target } else { target.parent().unwrap_or(self.to) };
        if needed.is_dir() {
            return Ok(());
        }
        self.check_parent(target)?;
        self.make_missing(needed)
    }

    /// What is copied to may be missing only together with its parent if the action says so.
    fn check_parent(&self, target: &Path) -> Result<(), FileError> {
        let parent = target.parent().filter(|_| target != self.to).unwrap_or(self.to);
        if !self.action.create_dest_path && fs::symlink_metadata(parent).is_err() {
            return Err(FileError::Missing(scope::shown(self.to, parent)));
        }
        Ok(())
    }

    /// Makes a directory and those above it where there is nothing. A number for the permissions of
    /// the copies is theirs too, words are not.
    fn make_missing(&mut self, target: &Path) -> Result<(), FileError> {
        if fs::symlink_metadata(target).is_ok() {
            return Ok(());
        }
        let words = !self.action.mode_text.is_empty();
        let mode = self.action.mode.filter(|_| !words).map_or(0o755, |mode| mode & 0o777);
        let made = make_parents(self.to, target, mode, self.owner, self.action.timestamp)?;
        imply(self.implied, self.to, &made);
        Ok(())
    }

    /// Unpacks a file into `target` if it is an archive; says whether it was.
    fn unpack(&mut self, file: &Path, shown: &str, target: &Path) -> Result<bool, FileError> {
        let Some(archive) = Archive::open(file, shown, self.action.unpack_zip)? else {
            return Ok(false);
        };
        self.check_parent(target)?;
        let made = make_parents(self.to, target, 0o755, self.owner, self.action.timestamp)?;
        imply(self.implied, self.to, &made);
        // What is in it takes at least as much, as a rule.
        (self.allocate)(file.metadata().map_or(0, |found| found.len()));
        self.implied.extend(archive.unpack(self.to, target, self.owner)?);
        Ok(true)
    }

    fn entry(
        &mut self,
        source: &Path,
        target: &Path,
        name: &str,
        metadata: &Metadata,
        place: Place,
    ) -> Result<(), FileError> {
        if metadata.is_dir() {
            return self.directory(source, target, name, metadata, place == Place::Top);
        }
        if place != Place::Top && !self.filter.passes(name) {
            return Ok(());
        }
        if place != Place::New {
            self.clear(target, false)?;
        }
        let shown = scope::shown(self.from, source);
        let key = (metadata.dev(), metadata.ino());
        if metadata.is_symlink() {
            let link = fs::read_link(source).map_err(FileError::io("read", &shown))?;
            std::os::unix::fs::symlink(link, target).map_err(FileError::io("copy", &shown))?;
        } else if let Some(first) = self.links.get(&key) {
            fs::hard_link(first, target).map_err(FileError::io("link", &shown))?;
            return Ok(());
        } else if metadata.is_file() {
            (self.allocate)(metadata.blocks() * 512);
            let copied = kiln_store::copy_file(source, target);
            let copied = copied.map_err(FileError::io("copy", &shown))?;
            if metadata.nlink() > 1 {
                self.links.insert(key, target.to_owned());
            }
            return self.file_attributes(source, target, &copied, metadata);
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
        let wanted = top || self.filter.passes_all() || self.filter.passes(name);
        let mut made = existed;
        if wanted && !made {
            self.make_directory(target, &shown)?;
            made = true;
        }
        for child in children(source).map_err(FileError::io("list", &shown))? {
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
                let place = if existed { Place::Known } else { Place::New };
                self.entry(&path, &target.join(&child), &below, &child_metadata, place)?;
            }
        }
        match existed {
            // What is copied to stays what it is, but for its time.
            true if top => self.set_time(target, metadata),
            true if wanted => self.attributes(source, target, metadata),
            false if made => self.attributes(source, target, metadata),
            _ => Ok(()),
        }
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

    /// Whose a copy is.
    fn owner_of(&self, source: &Path, metadata: &Metadata) -> Ids {
        let (uid, gid) = kiln_store::owner::owner_of(source, metadata);
        self.owner.unwrap_or(Ids { uid, gid })
    }

    /// The permissions of a copy that is no link. Words win over the number beside them, which is 0 then.
    fn mode_of(&self, metadata: &Metadata) -> Result<u32, FileError> {
        match self.action.mode {
            _ if !self.action.mode_text.is_empty() => {
                chmod::apply(&self.action.mode_text, metadata.mode(), metadata.is_dir())
            }
            Some(mode) => Ok(mode),
            None => Ok(metadata.permissions().mode() & 0o7777),
        }
    }

    /// The same as [`Copy::attributes`] of regular files, of which there are many: they are open.
    fn file_attributes(
        &self,
        source: &Path,
        target: &Path,
        copied: &Copied,
        metadata: &Metadata,
    ) -> Result<(), FileError> {
        let failed = |what| move |error| FileError::io(what, scope::shown(self.to, target))(error);
        let (Ids { uid, gid }, file) = (self.owner_of(source, metadata), &copied.target);
        kiln_store::owner::set_owner_of(file, uid, gid).map_err(failed("change owner of"))?;
        let permissions = fs::Permissions::from_mode(self.mode_of(metadata)?);
        file.set_permissions(permissions).map_err(failed("change permissions of"))?;
        if kiln_store::has_xattrs(&copied.source) {
            kiln_store::copy_xattrs(source, target)
                .map_err(FileError::io("read", scope::shown(self.from, source)))?;
        }
        sys::set_time_of(file, self.time_of(metadata)).map_err(failed("change time of"))
    }

    fn attributes(
        &mut self,
        source: &Path,
        target: &Path,
        metadata: &Metadata,
    ) -> Result<(), FileError> {
        let owner = self.owner_of(source, metadata);
        let mode = match metadata.is_symlink() {
            true => None,
            false => Some(self.mode_of(metadata)?),
        };
        finish(self.to, target, mode, Some(owner), None)?;
        kiln_store::copy_xattrs(source, target)
            .map_err(FileError::io("read", scope::shown(self.from, source)))?;
        if metadata.is_dir() {
            self.implied.remove(target.strip_prefix(self.to).unwrap_or(target));
        }
        self.set_time(target, metadata)
    }

    /// When a copy was changed, in nanoseconds since 1970.
    fn time_of(&self, metadata: &Metadata) -> i128 {
        let own = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        self.action.timestamp.map_or(own, i128::from)
    }

    fn set_time(&self, target: &Path, metadata: &Metadata) -> Result<(), FileError> {
        sys::set_time(target, self.time_of(metadata))
            .map_err(FileError::io("change time of", scope::shown(self.to, target)))
    }
}

/// The names in a directory, sorted.
fn children(directory: &Path) -> io::Result<Vec<OsString>> {
    let names = fs::read_dir(directory)?.map(|entry| entry.map(|entry| entry.file_name()));
    let mut names: Vec<OsString> = names.collect::<io::Result<_>>()?;
    names.sort();
    Ok(names)
}

/// Whether a file that is copied by its own name is excluded. Patterns are about what is below the
/// directory that is copied; for a single file that is the one it is in, or the whole source.
fn is_excluded(patterns: &[String], source: &str) -> Result<bool, FileError> {
    let whole = source.trim_start_matches('/');
    let name = whole.rsplit('/').next().unwrap_or(whole);
    let mut excluded = false;
    for pattern in patterns {
        let pattern = pattern.trim();
        let (negated, positive) =
            pattern.strip_prefix('!').map_or((false, pattern), |positive| (true, positive));
        let parsed = Patterns::parse([positive])
            .map_err(|error| FileError::Invalid(format!("invalid pattern: {error}")))?;
        if parsed.matches(name) || parsed.matches(whole) {
            excluded = !negated;
        }
    }
    Ok(excluded)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn tree() -> (TempDir, TempDir) {
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

    fn copied(from: &TempDir, to: &TempDir, action: &CopyAction) -> Result<Implied, FileError> {
        let mut implied = Implied::new();
        copy(from.path(), to.path(), action, None, &mut implied, &|_| {})?;
        Ok(implied)
    }

    #[test]
    fn a_directory_becomes_its_name_or_its_contents() {
        let (from, to) = tree();
        copied(&from, &to, &action("/src", "/new")).unwrap();
        assert!(to.path().join("new/deep/b.o").is_file());
        copied(&from, &to, &action("/src", "/new")).unwrap();
        assert!(to.path().join("new/src/deep/b.o").is_file());
        let contents = CopyAction { dir_contents: true, ..action("/src", "/all") };
        copied(&from, &to, &contents).unwrap();
        copied(&from, &to, &contents).unwrap();
        let names = |path: &str| fs::metadata(to.path().join(path)).unwrap().ino();
        assert_eq!(names("all/a.c"), names("all/same.c"));
        assert_eq!(fs::read_link(to.path().join("all/link")).unwrap(), Path::new("a.c"));
    }

    #[test]
    fn nothing_can_be_copied_as_a_whole_and_has_no_parts() {
        let (from, to) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        copied(&from, &to, &action("/", "/")).unwrap();
        copied(&from, &to, &action("/", "/d")).unwrap();
        assert!(to.path().join("d").is_dir());
        let missing = copied(&from, &to, &action("/foo", "/")).unwrap_err();
        assert_eq!(missing.to_string(), "/foo: no such file or directory");
    }

    #[test]
    fn a_file_goes_into_a_directory_or_takes_a_name() {
        let (from, to) = tree();
        copied(&from, &to, &action("/src/a.c", "/dir/")).unwrap();
        let tool = CopyAction { mode: Some(0o755), ..action("/src/a.c", "/bin/tool") };
        copied(&from, &to, &tool).unwrap();
        assert!(to.path().join("dir/a.c").is_file());
        assert_eq!(fs::metadata(to.path().join("bin/tool")).unwrap().mode() & 0o777, 0o755);
        let missing = copied(&from, &to, &action("/none", "/x")).unwrap_err();
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
        copied(&from, &to, &only).unwrap();
        assert!(to.path().join("o/deep/b.o").is_file() && !to.path().join("o/a.c").exists());
        let without = CopyAction {
            exclude_patterns: vec!["deep".into()],
            dir_contents: true,
            ..action("/src", "/c")
        };
        copied(&from, &to, &without).unwrap();
        assert!(to.path().join("c/a.c").is_file() && !to.path().join("c/deep").exists());
        let wildcard = CopyAction { allow_wildcard: true, ..action("/src/*.c", "/w/") };
        copied(&from, &to, &wildcard).unwrap();
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
        let copied = |from: &Path, src: &str| {
            let copied = copy(from, to.path(), &any(src), None, &mut Implied::default(), &|_| {});
            copied.map_err(|error| error.to_string())
        };
        let missing = |path: &str| Err(format!("{path}: no such file or directory"));
        let empty = tempfile::tempdir().unwrap();
        let (full, empty) = (from.path(), empty.path());
        assert_eq!(copied(full, "/src/*.h"), Ok(()));
        assert_eq!(copied(full, "/src/a.h"), missing("/src/a.h"));
        assert_eq!(copied(full, "/src/a\\*"), missing("/src/a\\*"));
        assert_eq!(copied(empty, "/src/*.h"), Ok(()));
        assert_eq!(copied(empty, "/src/a.h"), missing("/src/a.h"));
        assert!(!to.path().join("any").exists());
        assert_eq!(copied(empty, "/"), Ok(()));
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
            let copied =
                copy(from.path(), to.path(), &copy_action, None, &mut Implied::default(), &|_| {});
            copied.map_err(|error| error.to_string())
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
        let error = copied(&from, &to, &action("/src/a.c", "/x/")).unwrap_err();
        assert_eq!(error.to_string(), "cannot copy to /x/a.c: it is a directory");
        let replace = CopyAction { always_replace: true, ..action("/src/a.c", "/x/") };
        copied(&from, &to, &replace).unwrap();
        assert!(to.path().join("x/a.c").is_file());
    }

    #[test]
    fn what_is_made_for_the_copies_has_nothing_of_the_source() {
        use std::os::unix::fs::chown;
        let (from, to) = tree();
        let root = rustix::process::geteuid().is_root();
        fs::set_permissions(from.path().join("src"), fs::Permissions::from_mode(0o700)).unwrap();
        if root {
            chown(from.path().join("src"), Some(100), Some(200)).unwrap();
        }
        let stat = |path: &str| {
            let metadata = fs::metadata(to.path().join(path)).unwrap();
            (metadata.mode() & 0o7777, metadata.uid(), metadata.gid())
        };
        let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let contents = CopyAction { dir_contents: true, ..action("/src", "/new/deep") };
        let implied = copied(&from, &to, &contents).unwrap();
        assert_eq!(implied, ["new".into(), "new/deep".into()].into());
        assert_eq!(stat("new"), (0o755, own.0, own.1));
        assert_eq!(stat("new/deep"), (0o755, own.0, own.1));
        let time = |path: &Path| fs::metadata(path).unwrap().modified().unwrap();
        assert_eq!(time(&to.path().join("new/deep")), time(&from.path().join("src")));
        let mode = CopyAction { mode: Some(0o4750), ..action("/src/a.c", "/p/q/a.c") };
        let implied = copied(&from, &to, &mode).unwrap();
        assert_eq!(implied, ["p".into(), "p/q".into()].into());
        assert_eq!((stat("p").0, stat("p/q").0, stat("p/q/a.c").0), (0o750, 0o750, 0o4750));
        let words =
            CopyAction { mode: Some(0), mode_text: "a=rwx".into(), ..action("/src/a.c", "/w/a.c") };
        copied(&from, &to, &words).unwrap();
        assert_eq!((stat("w").0, stat("w/a.c").0), (0o755, 0o777));
        let whole = action("/src", "/whole");
        assert!(copied(&from, &to, &whole).unwrap().is_empty());
        assert_eq!(stat("whole").0, 0o700);
        assert!(!root || stat("whole") == (0o700, 100, 200));
    }

    #[test]
    fn a_directory_that_is_there_keeps_its_permissions_but_where_the_copy_brings_it() {
        let (from, to) = tree();
        fs::create_dir_all(to.path().join("all/deep")).unwrap();
        for path in ["all", "all/deep"] {
            let mode = fs::Permissions::from_mode(0o1777);
            fs::set_permissions(to.path().join(path), mode).unwrap();
        }
        let mode = |path: &str| fs::metadata(to.path().join(path)).unwrap().mode() & 0o7777;
        let only = CopyAction {
            include_patterns: vec!["deep/b.o".into()],
            dir_contents: true,
            ..action("/src", "/all")
        };
        copied(&from, &to, &only).unwrap();
        assert_eq!((mode("all"), mode("all/deep")), (0o1777, 0o1777));
        let contents = CopyAction { dir_contents: true, ..action("/src", "/all") };
        copied(&from, &to, &contents).unwrap();
        assert_eq!((mode("all"), mode("all/deep")), (0o1777, 0o755));
    }

    #[test]
    fn a_file_that_is_named_and_excluded_is_not_copied() {
        for (patterns, expected) in [
            (&["a.c"][..], false),
            (&["src/a.c"], false),
            (&["*.c"], false),
            (&["**/*.c"], false),
            (&["*.c", "!a.c"], true),
            (&["*", "!src/a.c"], true),
            (&["b.c", "deep"], true),
        ] {
            let (from, to) = tree();
            let exclude_patterns = patterns.iter().map(|pattern| (*pattern).into()).collect();
            let one = CopyAction { exclude_patterns, ..action("/src/a.c", "/d/") };
            copied(&from, &to, &one).unwrap();
            assert_eq!(to.path().join("d/a.c").exists(), expected, "{patterns:?}");
        }
    }
}
