//! The Debian package: made of the programs under test, looked into, installed and removed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kiln_tests::{Outcome, binaries, has_program, run, skip};
use tempfile::TempDir;

const LIMIT: Duration = Duration::from_secs(60);

/// A package, and what is in it.
struct Package {
    home: TempDir,
    file: PathBuf,
}

impl Package {
    /// Makes it; what would take long, and is the same with every package, is left out.
    fn make() -> Option<Self> {
        if !["dpkg", "dpkg-deb", "man"].iter().all(|program| has_program(program)) {
            skip("dpkg and man");
            return None;
        }
        let home = tempfile::tempdir().unwrap();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/deb.sh");
        let mut command = Command::new(script);
        command
            .arg(binaries().path("kiln").parent().unwrap())
            .arg(home.path())
            .env("COMPRESSION", "none")
            .env("DEBUG_PACKAGE", "no")
            .env("SOURCE_DATE_EPOCH", "1700000000");
        run(command, b"", LIMIT).succeeds();
        let mut files = std::fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path());
        let file = files.find(|path| path.extension().is_some_and(|end| end == "deb")).unwrap();
        let package = Self { home, file };
        let unpacked = package.dpkg_deb(&["--extract"], &[&package.root()]);
        unpacked.succeeds();
        Some(package)
    }

    /// Where it is unpacked.
    fn root(&self) -> PathBuf {
        self.home.path().join("root")
    }

    fn path(&self, name: &str) -> PathBuf {
        let path = self.root().join(name);
        assert!(path.is_file(), "{name} is not in the package");
        path
    }

    fn dpkg_deb(&self, words: &[&str], paths: &[&Path]) -> Outcome {
        let mut command = Command::new("dpkg-deb");
        command.args(words).arg(&self.file).args(paths);
        run(command, b"", LIMIT)
    }

    /// Installs or removes it below a directory; its scripts learn that this is not the machine.
    fn dpkg(&self, root: &Path, words: &[&str]) -> Outcome {
        let mut command = Command::new("dpkg");
        command
            .arg(format!("--root={}", root.display()))
            .args([
                "--force-script-chrootless",
                "--force-depends",
                "--force-not-root",
                "--no-triggers",
            ])
            .args(["--log=/dev/null"])
            .args(words);
        run(command, b"", LIMIT)
    }
}

#[test]
fn the_package_has_what_a_package_needs_and_its_units_are_sound() {
    let Some(package) = Package::make() else { return };
    let control = package.dpkg_deb(&["--field"], &[]).succeeds().text();
    for line in ["Package: kiln", "Depends: libc6 (>= 2.", "Installed-Size: "] {
        assert!(control.contains(line), "{line}: {control}");
    }
    for file in [
        "usr/bin/kiln",
        "usr/bin/kilnd",
        "etc/kiln/kilnd.toml",
        "usr/share/kiln/kilnd.json",
        "usr/share/bash-completion/completions/kiln",
        "usr/share/zsh/vendor-completions/_kilnd",
        "usr/share/fish/vendor_completions.d/kiln.fish",
        "usr/share/doc/kiln/copyright",
        "usr/share/doc/kiln/changelog.gz",
    ] {
        package.path(file);
    }

    // The units start the program where it is, and every word in them means something.
    if has_program("systemd-analyze") {
        let mut verify = Command::new("systemd-analyze");
        verify
            .args(["verify", "--man=no", "--recursive-errors=no", "--root"])
            .arg(package.root())
            .args(["kilnd.socket", "kilnd.service"]);
        let verified = run(verify, b"", LIMIT).succeeds();
        let about_ours = verified.stderr.lines().any(|line| line.contains("kilnd"));
        assert!(!about_ours, "{verified}");
    }

    // The configuration that is installed is one.
    let mut daemon = Command::new(package.path("usr/bin/kilnd"));
    daemon.arg("--config").arg(package.path("etc/kiln/kilnd.toml")).arg("--help");
    assert!(run(daemon, b"", LIMIT).succeeds().text().contains("--addr"));

    // `man kiln-build` finds its page, which has no mistake that man sees.
    let page = |name: &str, section: &str| {
        let mut man = Command::new("man");
        man.arg("--manpath").arg(package.root().join("usr/share/man"));
        man.args(["--warnings", section, name]).env("MANWIDTH", "100").env("LC_ALL", "C.UTF-8");
        run(man, b"", LIMIT).succeeds()
    };
    let build = page("kiln-build", "1");
    assert_eq!(build.stderr, "", "{build}");
    assert!(build.text().contains("Where the result goes"), "{build}");
    assert!(page("kilnd", "8").text().contains("--stop-timeout"));
}

#[test]
fn the_package_is_installed_and_removed() {
    let Some(package) = Package::make() else { return };
    let root = tempfile::tempdir().unwrap();
    for directory in ["var/lib/dpkg/updates", "var/lib/dpkg/info", "var/lib/dpkg/triggers"] {
        std::fs::create_dir_all(root.path().join(directory)).unwrap();
    }
    for file in ["var/lib/dpkg/status", "var/lib/dpkg/available"] {
        std::fs::write(root.path().join(file), "").unwrap();
    }
    let file = package.file.display().to_string();
    package.dpkg(root.path(), &["--install", &file]).succeeds();
    let configuration = root.path().join("etc/kiln/kilnd.toml");
    let mut kiln = Command::new(root.path().join("usr/bin/kiln"));
    kiln.arg("--version");
    assert!(run(kiln, b"", LIMIT).succeeds().text().starts_with("kiln "));

    // What was built stays until all is to go.
    let state = root.path().join("var/lib/kiln");
    std::fs::create_dir_all(&state).unwrap();
    package.dpkg(root.path(), &["--remove", "kiln"]).succeeds();
    assert!(configuration.is_file() && state.is_dir());
    assert!(!root.path().join("usr/bin/kiln").exists());
    package.dpkg(root.path(), &["--purge", "kiln"]).succeeds();
    assert!(!configuration.exists() && !state.exists());
}
