//! Programs for other machines: Debian's static busybox, fetched by `apt-get` with settings of its own,
//! so that the system of the tester knows nothing of another architecture.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::command::run;
use crate::debian::MIRROR;
use crate::{binaries, debian_mirror_is_reachable, has_program, skip};

const LIMIT: Duration = Duration::from_secs(180);
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Architectures in the words of images, in Debian's, and the first release that has them.
const ARCHITECTURES: &[(&str, &str, &str)] = &[
    ("arm64", "arm64", "bookworm"),
    ("arm", "armhf", "bookworm"),
    ("riscv64", "riscv64", "trixie"),
];

/// A static busybox for an architecture, such as `arm64`; `None`, and aloud, where it cannot be had.
///
/// It takes ten seconds to fetch, and is kept under `target/`.
///
/// # Panics
///
/// If `apt-get` fails although the mirror is there.
pub fn foreign_busybox(architecture: &str) -> Option<Vec<u8>> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let kept = binaries().cache().join(format!("busybox-{architecture}"));
    if let Ok(program) = fs::read(&kept) {
        return Some(program);
    }
    for program in ["apt-get", "dpkg-deb"] {
        if !has_program(program) {
            skip(program);
            return None;
        }
    }
    if !Path::new(KEYS).exists() || !debian_mirror_is_reachable() {
        skip(&format!("the mirror {MIRROR} and its keys"));
        return None;
    }
    let row = ARCHITECTURES.iter().find(|row| row.0 == architecture);
    let (_, architecture, suite) = row.expect("Debian has the architecture");
    let program = fetch(architecture, suite);
    fs::write(&kept, &program).expect("failed to write under target");
    Some(program)
}

fn fetch(architecture: &str, suite: &str) -> Vec<u8> {
    let place = tempfile::tempdir().expect("failed to make a directory");
    let path = |name: &str| place.path().join(name).display().to_string();
    for directory in ["lists/partial", "cache/archives/partial", "root"] {
        fs::create_dir_all(path(directory)).expect("failed to make a directory");
    }
    let source =
        format!("deb [arch={architecture} signed-by={KEYS}] http://{MIRROR}/debian {suite} main\n");
    fs::write(path("sources.list"), source).expect("failed to write a file");
    let settings = [
        format!("Dir::State::Lists={}", path("lists")),
        format!("Dir::Cache={}", path("cache")),
        format!("Dir::Etc::SourceList={}", path("sources.list")),
        "Dir::Etc::SourceParts=/dev/null".to_owned(),
        "Dir::State::status=/dev/null".to_owned(),
        format!("APT::Architecture={architecture}"),
        format!("APT::Architectures={architecture}"),
        "Acquire::Languages=none".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ];
    for words in [&["update"][..], &["download", "busybox-static"]] {
        let mut apt = Command::new("apt-get");
        apt.arg("--quiet").current_dir(place.path());
        for setting in &settings {
            apt.args(["-o", setting]);
        }
        apt.args(words);
        run(apt, b"", LIMIT).succeeds();
    }
    let mut found = fs::read_dir(place.path()).expect("the directory is there").flatten();
    let package = found.find(|it| it.path().extension().is_some_and(|it| it == "deb"));
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(package.expect("a package was fetched").path()).arg(path("root"));
    run(unpack, b"", LIMIT).succeeds();
    // Newer releases have no `/bin` of their own.
    let places = ["root/bin/busybox", "root/usr/bin/busybox"];
    let program = places.iter().find_map(|name| fs::read(path(name)).ok());
    program.expect("the package has a busybox")
}
