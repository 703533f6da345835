//! What goes in comes out: files of every kind, through every instruction that brings them in and
//! every exporter that takes them out.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use kiln_tests::archive::{self, Entry};
use kiln_tests::tree::{Facts, Tree, below, of_directory, of_layers, of_tar};
use kiln_tests::{
    Dockerd, Image, ImageConfig, Kiln, OciImage, Project, Registry, has_program, is_root, skip,
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};

/// A file, and how it is made in each way.
struct Row {
    name: &'static str,
    kind: Kind,
    mode: u32,
    owner: (u32, u32),
    /// Nanoseconds behind [`TIME`].
    nanoseconds: u32,
    xattrs: &'static [(&'static str, &'static [u8])],
    /// How a shell makes it; empty if none does.
    shell: &'static str,
}

#[derive(Clone, Copy)]
enum Kind {
    File(&'static [u8]),
    /// As long as [`LONG`], with something in the middle.
    Sparse,
    Directory,
    Link(&'static str),
    HardLink(&'static str),
    Fifo,
    Device(char, u32, u32),
}

use Kind::{Device, Directory, Fifo, HardLink, Link, Sparse};

/// When everything was changed.
const TIME: i64 = 1_500_000_000;
/// The length of a sparse file.
const LONG: u64 = 64 << 20;
const MIDDLE: u64 = 40 << 20;
/// `cap_net_bind_service=ep`, as the kernel keeps it.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// A zip file, as jars, wheels and documents are.
const ZIP: &[u8] = b"PK\x05\x06\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// A path longer than the fields of a header together.
const DEEP: &str = "a-directory-with-a-name-of-one-hundred-and-one-bytes-so-that-it-does-not-fit-into-the-old-field-for-it/another-directory-with-a-name-of-one-hundred-bytes-so-that-both-do-not-fit-into-the-field-for-prefixes/file";

const fn row(name: &'static str, kind: Kind, mode: u32, shell: &'static str) -> Row {
    Row { name, kind, mode, owner: (0, 0), nanoseconds: 0, xattrs: &[], shell }
}

/// In the order in which an archive can have them.
const ROWS: &[Row] = &[
    row("plain", Kind::File(b"plain\n"), 0o644, "echo plain > plain"),
    row("empty-file", Kind::File(b""), 0o600, ": > empty-file; chmod 600 empty-file"),
    row("app.jar", Kind::File(ZIP), 0o644, ""),
    row("setuid", Kind::File(b"u"), 0o4755, "printf u > setuid; chmod 4755 setuid"),
    row("setgid", Kind::File(b"g"), 0o2711, "printf g > setgid; chmod 2711 setgid"),
    row("sticky", Directory, 0o1777, "mkdir sticky; chmod 1777 sticky"),
    row("private", Directory, 0o2700, "mkdir private; chmod 2700 private"),
    row(
        "private/inside",
        Kind::File(b"i"),
        0o640,
        "printf i > private/inside; chmod 640 private/inside",
    ),
    row("symlink", Link("plain"), 0o777, "ln -s plain symlink"),
    row("dangling", Link("/no/where/at/all"), 0o777, "ln -s /no/where/at/all dangling"),
    row("hard", HardLink("plain"), 0o644, "ln plain hard"),
    row("fifo", Fifo, 0o620, "busybox mkfifo fifo; chmod 620 fifo"),
    row("null", Device('c', 1, 3), 0o666, "busybox mknod null c 1 3; chmod 666 null"),
    row("loop", Device('b', 7, 300), 0o660, "busybox mknod loop b 7 300; chmod 660 loop"),
    row("ümläut 名前", Kind::File(b"name"), 0o644, "printf name > 'ümläut 名前'"),
    row(DEEP, Kind::File(b"deep"), 0o644, ""),
    row(
        "sparse",
        Sparse,
        0o644,
        "printf middle | dd of=sparse bs=1048576 seek=40 2>&-; dd if=/dev/null of=sparse bs=1048576 seek=64 2>&-",
    ),
    Row {
        owner: (1234, 5678),
        ..row(
            "owned",
            Kind::File(b"o"),
            0o4750,
            "printf o > owned; chown 1234:5678 owned; chmod 4750 owned",
        )
    },
    Row {
        // The largest number of a user, and a group that does not fit seven octal digits.
        owner: (u32::MAX - 1, 3_000_000),
        ..row("odd", Kind::File(b"o"), 0o644, "printf o > odd; chown 4294967294:3000000 odd")
    },
    Row { nanoseconds: 123_456_789, ..row("times", Kind::File(b"t"), 0o644, "") },
    Row {
        xattrs: &[("user.note", b"with \0 in it"), ("user.more", b"=")],
        ..row("noted", Kind::File(b"x"), 0o644, "")
    },
    Row { xattrs: &[("user.note", b"d")], ..row("noted-directory", Directory, 0o755, "") },
    Row {
        xattrs: &[("security.capability", CAPABILITY)],
        ..row("capable", Kind::File(b"c"), 0o755, "")
    },
];

/// How files come into a build.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Add,
    Copy,
    CopyFrom,
    Run,
}

/// How they come out of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    Oci,
    Docker,
    Image,
    Tar,
    Local,
}

impl Row {
    fn is_made_by(&self, way: Way) -> bool {
        way != Way::Run || !self.shell.is_empty()
    }

    /// What is known of it at the end.
    fn expected(&self, way: Way, exit: Exit) -> Facts {
        let content = self.content();
        let target = match self.kind {
            Link(target) => target.as_bytes().to_vec(),
            _ => Vec::new(),
        };
        let linked = match self.kind {
            HardLink(target) => Some(target.min(self.name)),
            _ => ROWS
                .iter()
                .find(|row| matches!(row.kind, HardLink(to) if to == self.name))
                .map(|row| row.name.min(self.name)),
        };
        let (kind, device) = match self.kind {
            Kind::File(_) | Sparse | HardLink(_) => ('-', (0, 0)),
            Directory => ('d', (0, 0)),
            Link(_) => ('l', (0, 0)),
            Fifo => ('p', (0, 0)),
            Device(kind, major, minor) => (kind, (major, minor)),
        };
        // What comes from a client is root's, and what goes to one is its own.
        let foreign = way == Way::Copy || exit == Exit::Local;
        let (user, group) = if foreign { (0, 0) } else { self.owner };
        // Archives of images have whole seconds.
        let nanoseconds = if exit == Exit::Local { self.nanoseconds } else { 0 };
        Facts {
            kind,
            mode: self.mode,
            owner: (user.into(), group.into()),
            mtime: if way == Way::Run { (0, 0) } else { (TIME, nanoseconds) },
            size: content.as_ref().map_or(0, |content| content.len() as u64),
            content: content.map(|content| kiln_tests::sha256(&content)).unwrap_or_default(),
            target,
            device,
            xattrs: self
                .xattrs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.to_vec()))
                .collect(),
            linked: linked.map(|name| name.as_bytes().to_vec()),
        }
    }

    fn content(&self) -> Option<Vec<u8>> {
        match self.kind {
            Kind::File(content) => Some(content.to_vec()),
            HardLink(target) => ROWS.iter().find(|row| row.name == target)?.content(),
            Sparse => {
                let mut content = vec![0; LONG as usize];
                content[MIDDLE as usize..][..6].copy_from_slice(b"middle");
                Some(content)
            }
            _ => None,
        }
    }
}

/// The rows as a directory.
fn write_tree(root: &Path) {
    for row in ROWS {
        let path = root.join(row.name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match row.kind {
            Kind::File(content) => fs::write(&path, content).unwrap(),
            Sparse => {
                let file = File::create(&path).unwrap();
                file.write_all_at(b"middle", MIDDLE).unwrap();
                file.set_len(LONG).unwrap();
            }
            Directory => fs::create_dir(&path).unwrap(),
            Link(target) => std::os::unix::fs::symlink(target, &path).unwrap(),
            HardLink(target) => fs::hard_link(root.join(target), &path).unwrap(),
            Fifo => make_node(&path, FileType::Fifo, 0),
            Device('c', major, minor) => {
                make_node(&path, FileType::CharacterDevice, rustix::fs::makedev(major, minor));
            }
            Device(_, major, minor) => {
                make_node(&path, FileType::BlockDevice, rustix::fs::makedev(major, minor));
            }
        }
        set_attributes(&path, row);
    }
    // Making entries has changed the times of directories.
    ROWS.iter().for_each(|row| set_time(&root.join(row.name), row));
}

fn make_node(path: &Path, kind: FileType, device: u64) {
    rustix::fs::mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device).unwrap();
}

fn set_attributes(path: &Path, row: &Row) {
    std::os::unix::fs::lchown(path, Some(row.owner.0), Some(row.owner.1)).unwrap();
    if !matches!(row.kind, Link(_)) {
        rustix::fs::chmod(path, Mode::from_raw_mode(row.mode)).unwrap();
    }
    for (name, value) in row.xattrs {
        rustix::fs::lsetxattr(path, *name, value, XattrFlags::empty()).unwrap();
    }
}

fn set_time(path: &Path, row: &Row) {
    let time = Timespec { tv_sec: TIME, tv_nsec: row.nanoseconds.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// The rows as an archive, with nothing but the records that a header cannot do without.
fn write_archive() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for row in ROWS {
        let mut records: Vec<(String, Vec<u8>)> = Vec::new();
        let mut header = tar::Header::new_ustar();
        let (kind, content, link) = match row.kind {
            Kind::File(content) => (b'0', content.to_vec(), ""),
            Sparse => {
                let record =
                    |key: &str, value: String| (format!("GNU.sparse.{key}"), value.into_bytes());
                records.push(record("size", LONG.to_string()));
                records.push(record("numblocks", "1".to_owned()));
                records.push(record("map", format!("{MIDDLE},6")));
                (b'0', b"middle".to_vec(), "")
            }
            Directory => (b'5', Vec::new(), ""),
            Link(target) => (b'2', Vec::new(), target),
            HardLink(target) => (b'1', Vec::new(), target),
            Fifo => (b'6', Vec::new(), ""),
            Device(kind, major, minor) => {
                header.set_device_major(major).unwrap();
                header.set_device_minor(minor).unwrap();
                (if kind == 'c' { b'3' } else { b'4' }, Vec::new(), "")
            }
        };
        if row.name.len() > 100 || !row.name.is_ascii() {
            records.push(("path".into(), row.name.into()));
        }
        if row.nanoseconds > 0 {
            records.push(("mtime".into(), format!("{TIME}.{:09}", row.nanoseconds).into_bytes()));
        }
        for (name, value) in row.xattrs {
            records.push((format!("SCHILY.xattr.{name}"), value.to_vec()));
        }
        if !records.is_empty() {
            let list = records.iter().map(|(key, value)| (key.as_str(), &value[..]));
            builder.append_pax_extensions(list).unwrap();
        }
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(row.mode);
        header.set_uid(row.owner.0.into());
        header.set_gid(row.owner.1.into());
        header.set_mtime(TIME as u64);
        header.set_size(content.len() as u64);
        let old = header.as_old_mut();
        let name = &row.name.as_bytes()[..row.name.len().min(100)];
        old.name[..name.len()].copy_from_slice(name);
        old.linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_cksum();
        builder.append(&header, &content[..]).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Everything the table is built with.
struct Scene {
    registry: Registry,
    project: Project,
    kiln: Kiln,
}

impl Scene {
    fn begin() -> Option<Self> {
        if !is_root() {
            skip("root, who can make devices");
            return None;
        }
        let registry = Registry::start()?;
        let base =
            Image::busybox(ImageConfig { env: vec!["PATH=/bin".into()], ..ImageConfig::default() });
        let base = base.push(&registry, "library/busybox:1");
        let project = Project::new(&[]);
        write_tree(&project.path().join("tree"));
        project.write("rows.tar", write_archive());
        let script: Vec<&str> =
            ROWS.iter().map(|row| row.shell).filter(|line| !line.is_empty()).collect();
        project.write("make.sh", script.join("\n"));
        project.write(
            "Dockerfile",
            format!(
                "FROM scratch AS Add\nADD rows.tar /in/\n\
                 FROM scratch AS Copy\nCOPY tree /in/\n\
                 FROM scratch AS CopyFrom\nCOPY --from=Add /in /in\n\
                 FROM {base} AS Run\nCOPY make.sh /\nRUN mkdir /in && cd /in && sh -e /make.sh\n"
            ),
        );
        Some(Self { registry, project, kiln: Kiln::new() })
    }

    /// Builds a stage, and takes it out in every way.
    fn trees(&self, way: Way) -> Vec<(Exit, Tree)> {
        let place = |name: &str| self.kiln.path(&format!("{way:?}.{name}"));
        let (oci, docker, tar, local) =
            (place("oci"), place("docker"), place("tar"), place("local"));
        let name =
            self.registry.reference(&format!("files/{}:1", format!("{way:?}").to_lowercase()));
        let build = self.kiln.build().of(&self.project).frontend("dockerfile.v0");
        build
            .opt("target", &format!("{way:?}"))
            .output("type=oci", &oci)
            .output("type=docker,name=e2e.test/files:1", &docker)
            .output("type=tar", &tar)
            .output("type=local", &local)
            .flag(format!("--output=type=image,name={name},push=true"))
            .run()
            .succeeds();
        let pulled = self.pulled(&name, &place("pulled"));
        vec![
            (Exit::Oci, layers(&oci)),
            (Exit::Docker, layers(&docker)),
            (Exit::Image, layers(&pulled)),
            (Exit::Tar, of_tar(File::open(tar).unwrap())),
            (Exit::Local, of_directory(&local)),
        ]
    }

    fn pulled(&self, name: &str, to: &Path) -> PathBuf {
        let mut command = std::process::Command::new("skopeo");
        command.args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]);
        command.arg(format!("docker://{name}")).arg(format!("oci-archive:{}:1", to.display()));
        command.env("HOME", self.kiln.home());
        kiln_tests::run(command, b"", std::time::Duration::from_secs(60)).succeeds();
        to.to_owned()
    }
}

/// The files of an image.
fn layers(archive: &Path) -> Tree {
    let image = OciImage::open(archive);
    let all = image.manifest["layers"].as_array().expect("a manifest has layers");
    of_layers(all.iter().map(|layer| {
        let digest = layer["digest"].as_str().unwrap().replace(':', "/");
        let file = File::open(image.layout().join("blobs").join(digest)).unwrap();
        let gzip = layer["mediaType"].as_str().unwrap().ends_with("gzip");
        let reader: Box<dyn Read> =
            if gzip { Box::new(flate2::read::MultiGzDecoder::new(file)) } else { Box::new(file) };
        of_tar(reader)
    }))
}

#[test]
fn every_kind_of_file_comes_out_as_it_went_in() {
    let Some(scene) = Scene::begin() else { return };
    for way in [Way::Add, Way::Copy, Way::CopyFrom, Way::Run] {
        for (exit, tree) in scene.trees(way) {
            let found = below(&tree, "in");
            let rows: Vec<&Row> = ROWS.iter().filter(|row| row.is_made_by(way)).collect();
            for row in &rows {
                let mut facts = found.get(row.name.as_bytes()).cloned().unwrap_or_default();
                if way == Way::Run {
                    facts.mtime = (0, 0);
                }
                assert_eq!(facts, row.expected(way, exit), "{} by {way:?} to {exit:?}", row.name);
            }
            // The directories of the deep file are in no row.
            let more = if way == Way::Run { 0 } else { 2 };
            assert_eq!(found.len(), rows.len() + more, "{way:?} to {exit:?}");
        }
    }
    // Four stages and a directory of the client, and none of them as large as the file with holes.
    assert!(on_disk(scene.kiln.root()) < LONG, "{} bytes", on_disk(scene.kiln.root()));
    let local = scene.kiln.path("Run.local").join("in/sparse");
    assert!(fs::metadata(local).unwrap().blocks() * 512 < 1 << 20);
}

/// What a directory takes.
fn on_disk(root: &Path) -> u64 {
    let entries = fs::read_dir(root).unwrap().map(Result::unwrap);
    let size = |entry: fs::DirEntry| {
        let metadata = entry.metadata().unwrap();
        let below = if metadata.is_dir() { on_disk(&entry.path()) } else { 0 };
        metadata.blocks() * 512 + below
    };
    entries.map(size).sum()
}

/// A project with this Dockerfile, built into a tar.
fn built(kiln: &Kiln, project: &Project, dockerfile: &str) -> (kiln_tests::Outcome, PathBuf) {
    project.write("Dockerfile", dockerfile);
    let out = kiln.path("out.tar");
    let build = kiln.build().of(project).frontend("dockerfile.v0");
    (build.output("type=tar", &out).run(), out)
}

#[test]
fn names_that_are_no_text_are_kept_where_they_can_be() {
    let project = Project::new(&[]);
    let mut archive = archive::tar(&[Entry::File("caf_", 0o644, 0, b"coffee")]);
    archive[3] = 0xe9;
    let header = tar::Header::from_byte_slice(&archive[..512]);
    let sum = header.cksum().unwrap() - u32::from(b'_') + 0xe9;
    archive[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    project.write("a.tar", archive);
    let kiln = Kiln::new();
    let text = "FROM scratch AS one\nADD a.tar /in/\nFROM scratch\nCOPY --from=one / /\n";
    let (outcome, out) = built(&kiln, &project, text);
    outcome.succeeds();
    let tree = of_tar(File::open(out).unwrap());
    assert_eq!(tree[&b"in/caf\xe9"[..]].content, kiln_tests::sha256(b"coffee"));
    let build = kiln.build().of(&project).frontend("dockerfile.v0");
    let local = build.output("type=local", &kiln.path("local")).run();
    local.fails().says(&["is not UTF-8 and cannot be sent"]);
}

#[test]
fn a_name_that_deletes_in_layers_stays_a_name_elsewhere() {
    let archive =
        archive::tar(&[Entry::File("x", 0o644, 0, b"x"), Entry::File(".wh.x", 0o644, 0, b"w")]);
    let project = Project::new(&[]);
    project.write("a.tar", archive);
    let kiln = Kiln::new();
    let (outcome, out) = built(&kiln, &project, "FROM scratch\nADD a.tar /in/\n");
    outcome.succeeds();
    let files = archive::files(&out);
    assert_eq!((&files["in/x"][..], &files["in/.wh.x"][..]), (&b"x"[..], &b"w"[..]));
    let build = kiln.build().of(&project).frontend("dockerfile.v0");
    let image = build.output("type=oci", &kiln.path("oci")).run();
    image.fails().says(&["`/in/.wh.x` cannot be stored in an image", "rename it"]);
}

#[test]
fn a_zip_file_is_unpacked_for_the_mockerfile_language_alone() {
    if !has_program("zip") {
        return skip("zip");
    }
    let project = Project::new(&[("inside", "in the zip\n")]);
    let mut zip = std::process::Command::new("zip");
    zip.current_dir(project.path()).args(["-q", "app.zip", "inside"]);
    kiln_tests::run(zip, b"", std::time::Duration::from_secs(10)).succeeds();
    fs::copy(project.path().join("app.zip"), project.path().join("app.jar")).unwrap();
    let kiln = Kiln::new();
    let (outcome, out) = built(&kiln, &project, "FROM scratch\nADD app.zip app.jar /o/\n");
    outcome.succeeds();
    let names: Vec<String> = archive::files(&out).into_keys().collect();
    assert_eq!(names, ["o/", "o/app.jar", "o/app.zip"]);
    let text = "apiVersion: v1alpha1\nimages:\n- name: a\n  from: scratch\n  external:\n  - {src: app.zip, dst: /o}\n";
    project.write("Mockerfile.yaml", text);
    let build = kiln.mockerfile(&project).output("type=tar", &out);
    build.run().succeeds();
    assert_eq!(archive::files(&out)["o/inside"], b"in the zip\n");
}

#[test]
fn a_copy_leaves_the_directories_it_goes_into_as_they_are() {
    let Some(scene) = Scene::begin() else { return };
    let base = scene.registry.reference("library/busybox:1");
    scene.project.write("a", "a\n");
    scene.project.write("b", "b\n");
    let text = format!(
        "FROM {base} AS base\n\
         RUN mkdir -p /home/u /src && chmod 1777 /tmp && chown 9:9 /home/u && chmod 700 /home/u && \
         chown 100:200 /src && chmod 750 /src && echo x > /src/x && chown 100:200 /src/x\n\
         FROM base AS work\n\
         COPY --link a /tmp/\n\
         COPY --link --chown=3:4 b /home/u/deep/\n\
         COPY --from=base /src /new\n\
         COPY --from=base --chmod=711 /src/x /p/q/x\n\
         COPY --from=base --chown=5:6 /src /owned/here\n\
         COPY --exclude=a a b /excluded/\n\
         RUN stat -c '%a %u:%g %n' /tmp /home/u > /seen\n"
    );
    let (outcome, out) = built(&scene.kiln, &scene.project, &text);
    outcome.succeeds();
    let build = scene.kiln.build().of(&scene.project).frontend("dockerfile.v0");
    let oci = scene.kiln.path("oci");
    build.output("type=oci", &oci).run().succeeds();
    for tree in [of_tar(File::open(&out).unwrap()), layers(&oci)] {
        let seen = |name: &str| tree.get(name.as_bytes()).map(|facts| (facts.mode, facts.owner));
        for (name, expected) in [
            ("tmp", (0o1777, (0, 0))),
            ("tmp/a", (0o644, (0, 0))),
            ("home/u", (0o700, (9, 9))),
            ("home/u/deep", (0o755, (3, 4))),
            ("home/u/deep/b", (0o644, (3, 4))),
            ("new", (0o755, (0, 0))),
            ("new/x", (0o644, (100, 200))),
            ("p", (0o711, (0, 0))),
            ("p/q", (0o711, (0, 0))),
            ("p/q/x", (0o711, (100, 200))),
            ("owned", (0o755, (5, 6))),
            ("owned/here", (0o755, (5, 6))),
            ("owned/here/x", (0o644, (5, 6))),
        ] {
            assert_eq!(seen(name), Some(expected), "{name}");
        }
        assert!(seen("excluded/a").is_none() && seen("excluded/b").is_some());
    }
    assert_eq!(archive::files(&out)["seen"], b"1777 0:0 /tmp\n700 9:9 /home/u\n");
}

/// Of what the BuildKit in Debian's daemon does as newer ones do: it gives archives no owner, and
/// directories no permissions that are said for the copies.
#[test]
fn copies_and_archives_are_what_they_are_on_dockers_buildkit() {
    let Some(scene) = Scene::begin() else { return };
    let Some(docker) = Dockerd::start() else { return };
    let project = &scene.project;
    project.write("dir/sub/f", "f\n");
    rustix::fs::chmod(project.path().join("dir"), Mode::from_raw_mode(0o700)).unwrap();
    project.write("one", "1\n");
    let base = scene.registry.reference("library/busybox:1");
    let text = format!(
        "FROM {base} AS base\n\
         RUN mkdir -p /usr/lib /run /var /dest /src/sub && ln -s usr/lib /lib && ln -s /run /var/run && \
         chmod 1777 /dest && echo x > /src/x && chown -R 100:200 /src && chmod 700 /src\n\
         FROM base\n\
         ADD rows.tar /added/\n\
         ADD links.tar /\n\
         ADD own.tar /dest\n\
         ADD fake.tar.gz tree/app.jar /plain/\n\
         COPY --from=base /src /new\n\
         COPY --from=base /src /dest\n\
         COPY --from=base --chown=7:8 /src /owned/new\n\
         COPY dir /ctx\n\
         COPY dir one /both/\n"
    );
    project.write("fake.tar.gz", "no archive\n");
    let inside = [Entry::File("lib/new", 0o644, 0, b"n"), Entry::File("var/run/x", 0o644, 0, b"x")];
    project.write("links.tar", archive::tar(&inside));
    let own = [Entry::Directory("./"), Entry::File("./in/side", 0o4755, 12, b"s")];
    project.write("own.tar", archive::tar(&own));
    let file = project.write("Dockerfile", &text);

    let theirs = scene.kiln.path("theirs.tar");
    let output = format!("type=tar,dest={}", theirs.display());
    let file = file.display().to_string();
    docker.build(&["--file", &file, "--output", &output], project.path()).succeeds();
    let (outcome, ours) = built(&scene.kiln, project, &text);
    outcome.succeeds();
    assert_eq!(archive::differences(&ours, &theirs), [""; 0]);
}

#[test]
fn a_layer_of_old_gzip_and_whiteouts_of_nothing_is_exported_as_files() {
    let Some(scene) = Scene::begin() else { return };
    let hides = [
        Entry::Directory("new/"),
        Entry::File("new/.wh.nothing", 0o644, 0, b""),
        Entry::File("new/there", 0o644, 0, b"t"),
    ];
    let image = Image::empty(ImageConfig::default())
        .layer(archive::tar(&[Entry::File("old", 0o644, 0, b"o")]))
        .layer(archive::tar(&hides));
    let image = image.push(&scene.registry, "library/hides:1");
    let (outcome, out) = built(&scene.kiln, &scene.project, &format!("FROM {image}\n"));
    outcome.succeeds();
    let names: Vec<String> = archive::files(&out).into_keys().collect();
    assert_eq!(names, ["new/", "new/there", "old"]);
    let copied = format!("FROM {image} AS a\nFROM scratch\nCOPY --from=a /new /copied\n");
    let (outcome, out) = built(&scene.kiln, &scene.project, &copied);
    outcome.succeeds();
    assert!(archive::files(&out).contains_key("copied/there"));
}
