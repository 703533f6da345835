//! Debian itself, made by `debootstrap`: the base image of builds that install packages for real.

use std::fs;
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use crate::command::run;
use crate::{Image, ImageConfig, binaries, has_program, is_root, skip};

/// Where packages come from.
pub(crate) const MIRROR: &str = "deb.debian.org";
const SUITE: &str = "bookworm";
const LIMIT: Duration = Duration::from_secs(300);

/// Whether packages can be fetched.
pub fn debian_mirror_is_reachable() -> bool {
    let addresses = (MIRROR, 80).to_socket_addrs().into_iter().flatten();
    let mut addresses = addresses.filter(std::net::SocketAddr::is_ipv4);
    addresses.any(|address| TcpStream::connect_timeout(&address, Duration::from_secs(3)).is_ok())
}

/// Makes images of Debian.
#[derive(Debug)]
pub struct Debian;

impl Debian {
    /// A minimal Debian; `None`, and aloud, where none can be made.
    ///
    /// Making it takes half a minute; it is kept under `target/`.
    ///
    /// # Panics
    ///
    /// If `debootstrap` fails although the mirror is there.
    pub fn image(config: ImageConfig) -> Option<Image> {
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        if !is_root() || !has_program("debootstrap") {
            skip("root and debootstrap");
            return None;
        }
        if !debian_mirror_is_reachable() {
            skip(&format!("the mirror {MIRROR}"));
            return None;
        }
        let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let layer = fs::read(tar_file()).expect("the archive of Debian can be read");
        Some(Image::empty(config).layer(layer))
    }
}

/// The archive of the system, made unless it is there.
fn tar_file() -> PathBuf {
    let finished = binaries().cache().join(format!("debian-{SUITE}.tar"));
    if finished.exists() {
        return finished;
    }
    let directory = tempfile::tempdir().expect("failed to make a directory");
    let root = directory.path().join("root");
    let mut bootstrap = Command::new("debootstrap");
    bootstrap.args(["--variant=minbase", SUITE]).arg(&root).arg(format!("http://{MIRROR}/debian"));
    run(bootstrap, b"", LIMIT).succeeds();
    let unfinished = finished.with_extension("part");
    let mut pack = Command::new("tar");
    // Device nodes belong to who runs the image, packages to the mirror.
    pack.args(["--exclude=./dev/*", "--exclude=./var/cache/apt/archives/*.deb"]);
    pack.args(["--exclude=./var/lib/apt/lists/*", "--numeric-owner", "--sort=name"]);
    pack.arg("--directory").arg(&root).arg("--create").arg("--file").arg(&unfinished).arg(".");
    run(pack, b"", LIMIT).succeeds();
    fs::rename(unfinished, &finished).expect("failed to rename the archive");
    finished
}
