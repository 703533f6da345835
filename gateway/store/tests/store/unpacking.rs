//! Archives become files of a file system that is there.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink as link};
use std::path::{Path, PathBuf};

use kiln_store::{UnpackError, Unpacking};
use tempfile::TempDir;

use crate::support::*;

/// A file system with links in every direction.
fn system() -> TempDir {
    let root = TempDir::new().unwrap();
    let path = |name: &str| root.path().join(name);
    for name in ["usr/lib", "run", "var", "opt/app/share", "tmp"] {
        fs::create_dir_all(path(name)).unwrap();
    }
    fs::set_permissions(path("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    link("usr/lib", path("lib")).unwrap();
    link("/run", path("var/run")).unwrap();
    link("../../../../../usr/lib", path("opt/app/far")).unwrap();
    link("/usr/lib", path("opt/app/lib")).unwrap();
    root
}

fn unpack(root: &Path, base: &str, items: &[Item]) -> Result<Vec<PathBuf>, UnpackError> {
    let mut unpacking = Unpacking::begin(root, Path::new(base), None)?;
    unpacking.tar(&archive(items)[..])?;
    Ok(unpacking.finish()?.into_iter().collect())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn links_on_the_way_lead_to_places_inside_the_root() {
    let root = system();
    let items = [
        file("lib/a", ""),
        file("var/run/b", ""),
        file("opt/app/far/c", ""),
        file("opt/app/lib/d", ""),
        symlink("own", "/usr/lib"),
        file("own/e", ""),
        symlink("dangling", "/new/place"),
        file("dangling/f", ""),
        hard_link("usr/lib/g", "/var/run/b"),
    ];
    unpack(root.path(), "", &items).unwrap();
    for name in
        ["usr/lib/a", "run/b", "usr/lib/c", "usr/lib/d", "usr/lib/e", "usr/lib/g", "new/place/f"]
    {
        assert!(root.path().join(name).is_file(), "{name}");
    }
    assert!(root.path().join("lib").is_symlink() && root.path().join("var/run").is_symlink());
    let below = system();
    unpack(below.path(), "opt/app", &[file("lib/a", ""), file("far/b", "")]).unwrap();
    assert!(below.path().join("usr/lib/a").is_file() && below.path().join("usr/lib/b").is_file());
}

#[test]
fn nothing_leads_out() {
    let outside = TempDir::new().unwrap();
    let root = system();
    let target = outside.path().display().to_string();
    let up = format!("../../../../../../../..{target}");
    let items = [
        file(&format!("{up}/a"), ""),
        file(&format!("{target}/b"), ""),
        symlink("out", &target),
        file("out/c", ""),
        symlink("up", &up),
        file("up/d", ""),
        hard_link("e", &format!("{up}/a")),
    ];
    unpack(root.path(), "opt", &items).unwrap();
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    for (name, base) in [("a", "opt"), ("b", "opt"), ("c", ""), ("d", "")] {
        let inside = root.path().join(base).join(target.trim_start_matches('/')).join(name);
        assert!(inside.is_file(), "{}", inside.display());
    }
    assert!(root.path().join("opt/e").is_file());
}

#[test]
fn the_directory_that_is_unpacked_into_stays_what_it_is() {
    let root = system();
    let own = Item { mode: 0o700, ..directory("./") };
    unpack(root.path(), "tmp", &[own, Item { mode: 0o750, ..directory("./d/") }]).unwrap();
    assert_eq!(mode(&root.path().join("tmp")), 0o1777);
    assert_eq!(mode(&root.path().join("tmp/d")), 0o750);
}

#[test]
fn names_are_only_names() {
    let root = system();
    let items =
        [file("x", "1"), item(b'0', ".wh.x"), item(b'0', "d/.wh..wh..opq"), directory(".wh.d/")];
    unpack(root.path(), "tmp", &items).unwrap();
    let found = names(&root.path().join("tmp"));
    assert_eq!(found, [".wh.d", ".wh.x", "d", "d/.wh..wh..opq", "x"]);
}

#[test]
fn what_has_the_name_of_an_entry_is_replaced_unless_both_are_directories() {
    let root = system();
    let items = [
        Item { mode: 0o711, ..directory("usr/lib/") },
        directory("lib/"),
        file("run", "a file now"),
        file("x", "1"),
        file("x", "2"),
        symlink("x", "lib"),
        hard_link("y", "x"),
    ];
    unpack(root.path(), "", &items).unwrap();
    let path = |name: &str| root.path().join(name);
    assert_eq!(mode(&path("usr/lib")), 0o711);
    assert!(path("lib").is_dir() && !path("lib").is_symlink());
    assert!(path("run").is_file());
    assert_eq!(fs::read_link(path("y")).unwrap(), Path::new("lib"), "a link to a link is the link");
    assert_eq!(
        fs::symlink_metadata(path("x")).unwrap().ino(),
        fs::symlink_metadata(path("y")).unwrap().ino()
    );
}

#[test]
fn directories_that_no_entry_is_about_are_told() {
    let root = system();
    let items = [file("a/b/c", ""), file("usr/lib/x", ""), file("d/e", ""), directory("d/")];
    let implied = unpack(root.path(), "", &items).unwrap();
    assert_eq!(implied, [Path::new("a"), Path::new("a/b")]);
    assert_eq!(mode(&root.path().join("a/b")), 0o755);
}

#[test]
fn an_owner_that_is_given_is_everybodys() {
    let root = system();
    let own = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let mut unpacking = Unpacking::begin(root.path(), Path::new(""), Some(own)).unwrap();
    let item = Item { owner: (12, 34), ..file("f", "") };
    unpacking.tar(&archive(&[item])[..]).unwrap();
    unpacking.finish().unwrap();
    let metadata = fs::metadata(root.path().join("f")).unwrap();
    assert_eq!((metadata.uid(), metadata.gid()), own);
}

#[test]
fn what_cannot_be_written_is_named() {
    for (items, problem) in [
        (vec![item(b'V', "label")], "entry `label`: entries of type 'V' (a GNU volume label)"),
        (
            vec![file("f", ""), file("f/g", "")],
            "entry `f/g`: one of its parents is not a directory",
        ),
        (vec![hard_link("h", "nothing")], "entry `h`: its target `nothing` does not exist"),
        (vec![item(b'3', "white")], "entry `white`: the character device 0:0"),
    ] {
        let error = unpack(system().path(), "", &items).unwrap_err().to_string();
        assert!(error.starts_with(problem), "{error}");
    }
    let whole = archive(&[file("f", &"x".repeat(2000))]);
    let root = system();
    let mut unpacking = Unpacking::begin(root.path(), Path::new(""), None).unwrap();
    let error = unpacking.tar(&whole[..1000]).unwrap_err();
    assert!(matches!(error, UnpackError::Read(_)), "{error}");
}
