//! The Debian package: made of the programs under test, installed, looked into, started by systemd, and
//! removed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use kiln_tests::{Outcome, binaries, has_program, is_root, run, skip};
use tempfile::TempDir;

/// What is done with the package on a machine that systemd has booted, as its administrator would.
const ADMINISTRATION: &str = r#"
systemd() { echo "$1: $(systemctl is-active kilnd.socket kilnd.service | paste -sd ' ')"; }
client() { kiln --addr unix:///run/kiln/kilnd.sock "$@"; }
member() { setpriv --reuid 65534 --regid 65534 --groups "$1" kiln --addr unix:///run/kiln/kilnd.sock debug workers; }
# Who asks is answered a moment before systemd hears that the daemon is ready.
ready() { until systemctl is-active --quiet kilnd.service; do sleep 0.1; done; }
install() { dpkg --install --force-depends --force-unsafe-io --no-triggers /mnt/*.deb; }

install
systemd installed

# Who connects starts the daemon.
client debug workers && ready
systemd used
mkdir context
echo hello > context/greeting
printf 'FROM scratch\nCOPY greeting /\n' > context/Dockerfile
client build context --output type=local,dest=made
cat made/greeting

# Who is in the group may, and nobody else.
member "$(getent group kiln | cut -d: -f3)"
if member 65534; then echo anybody; fi

# The socket outlives the daemon.
systemctl stop kilnd.service
systemd stopped
client debug workers && ready
systemd 'used again'

# A new version leaves closed what was closed, and goes on with what was open.
systemctl disable --quiet --now kilnd.socket kilnd.service
install
systemd 'closed and upgraded'
systemctl enable --quiet --now kilnd.socket
client debug workers && ready
install
systemd upgraded

dpkg --remove --no-triggers kiln
systemd removed
dpkg --purge --no-triggers kiln
systemctl --failed --no-legend --plain
for left in /run/kiln /etc/kiln /var/lib/kiln /etc/systemd/system/sockets.target.wants/*; do
    if [ -e "$left" ]; then echo "left: $left"; fi
done
"#;

const LIMIT: Duration = Duration::from_secs(120);

/// A package, and a machine that it is installed on: a directory.
struct Package {
    file: PathBuf,
    machine: PathBuf,
    _home: TempDir,
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
        let machine = home.path().join("machine");
        for directory in ["updates", "info", "triggers"] {
            std::fs::create_dir_all(machine.join("var/lib/dpkg").join(directory)).unwrap();
        }
        for file in ["status", "available"] {
            std::fs::write(machine.join("var/lib/dpkg").join(file), "").unwrap();
        }
        Some(Self { file, machine, _home: home })
    }

    /// A file that the package has brought.
    fn path(&self, name: &str) -> PathBuf {
        let path = self.machine.join(name);
        assert!(path.is_file(), "{name} is not in the package");
        path
    }

    /// Installs or removes it; its scripts learn that this is not the machine they run on.
    fn dpkg(&self, action: &str, package: &str) {
        let mut command = Command::new("dpkg");
        command
            .arg(format!("--root={}", self.machine.display()))
            .args(["--force-script-chrootless", "--force-depends", "--force-not-root"])
            .args(["--no-triggers", "--log=/dev/null", action, package]);
        run(command, b"", LIMIT).succeeds();
    }

    /// A page of the manual, as it is shown.
    fn page(&self, section: &str, name: &str) -> Outcome {
        let mut man = Command::new("man");
        man.arg("--manpath").arg(self.machine.join("usr/share/man"));
        man.args(["--warnings", section, name]).env("MANWIDTH", "100").env("LC_ALL", "C.UTF-8");
        run(man, b"", LIMIT).succeeds()
    }
}

#[test]
fn the_package_brings_all_that_belongs_to_a_program_and_takes_it_away_again() {
    let Some(package) = Package::make() else { return };
    let mut field = Command::new("dpkg-deb");
    field.arg("--field").arg(&package.file);
    let control = run(field, b"", LIMIT).succeeds().text();
    for line in ["Package: kiln", "Depends: libc6 (>= 2.", "Installed-Size: "] {
        assert!(control.contains(line), "{line}: {control}");
    }
    package.dpkg("--install", &package.file.display().to_string());
    for file in [
        "usr/bin/kilnd",
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
        verify.args(["verify", "--man=no", "--recursive-errors=no", "--root"]);
        verify.arg(&package.machine).args(["kilnd.socket", "kilnd.service"]);
        let verified = run(verify, b"", LIMIT).succeeds();
        assert!(!verified.stderr.contains("kilnd"), "{verified}");
    }

    // The configuration is one: reading it is what comes before this refusal.
    let configuration = package.path("etc/kiln/kilnd.toml");
    let text = std::fs::read_to_string(&configuration).unwrap();
    let says = text.lines().find(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(says, None, "what is installed changes nothing");
    assert!(package.path("usr/share/doc/kiln/kilnd.example.toml").is_file());
    let mut daemon = Command::new(package.path("usr/bin/kilnd"));
    daemon.arg("--config").arg(&configuration).args(["--log-level", "loud"]);
    run(daemon, b"", LIMIT).fails().says(&["loud"]);

    // `man kiln-build` finds its page, in which man sees no mistake.
    let build = package.page("1", "kiln-build");
    assert_eq!(build.stderr, "", "{build}");
    assert!(build.text().to_uppercase().contains("WHERE THE RESULT GOES"), "{build}");
    assert!(package.page("8", "kilnd").text().contains("--stop-timeout"));

    for (program, says) in [("kiln", "kiln "), ("kilnd", "kilnd ")] {
        let mut version = Command::new(package.path(&format!("usr/bin/{program}")));
        version.arg("--version");
        assert!(run(version, b"", LIMIT).succeeds().text().starts_with(says));
    }

    // What was built stays until all is to go.
    let state = package.machine.join("var/lib/kiln");
    std::fs::create_dir_all(&state).unwrap();
    package.dpkg("--remove", "kiln");
    assert!(configuration.is_file() && state.is_dir());
    assert!(!package.machine.join("usr/bin/kiln").exists());
    package.dpkg("--purge", "kiln");
    assert!(!configuration.exists() && !state.exists());
}

#[test]
fn a_connection_starts_the_daemon_that_the_package_has_brought() {
    let boots = ["systemd-analyze", "unshare", "nsenter", "setpriv"];
    if !is_root() || !boots.iter().all(|program| has_program(program)) {
        return skip("root and systemd");
    }
    let Some(package) = Package::make() else { return };
    let mut boot = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("e2e/boot.sh"));
    boot.arg(package.file.parent().unwrap()).arg(ADMINISTRATION);
    let done = run(boot, b"", LIMIT);
    if done.status.code() == Some(77) {
        return skip(&format!("a machine that can boot another:\n{}", done.stderr));
    }
    let done = done.succeeds().says(&["this user may not use the build daemon"]);
    let text = done.text();
    let units: Vec<_> = text.lines().filter_map(|line| line.split_once(": ")).collect();
    let expected = [
        ("installed", "active inactive"),
        ("used", "active active"),
        ("stopped", "active inactive"),
        ("used again", "active active"),
        ("closed and upgraded", "inactive inactive"),
        ("upgraded", "active active"),
        ("removed", "inactive inactive"),
    ];
    let found: Vec<_> = units.into_iter().filter(|(_, state)| state.ends_with("active")).collect();
    assert_eq!(found, expected, "{done}");
    let workers = text.lines().filter(|line| line.contains("linux/")).count();
    assert_eq!(workers, 4, "root three times, and a member of the group: {done}");
    assert!(text.contains("\nhello\n") && !text.contains("anybody"), "{done}");
    assert!(!text.contains("left: ") && !text.contains(".service loaded failed"), "{done}");
}
