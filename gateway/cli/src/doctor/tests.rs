//! What is said of machines that are made up.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use kiln_emulation::{Emulator, Machine, Registered, Way};
use kiln_executor::Standing;

use super::checks::checks;
use super::facts::{Disk, Facts, Groups, Ids, NamespaceLimits, Network, Trial};
use super::report::{as_json, as_table};

const NOW: Duration = Duration::from_secs(1_780_000_000);

/// A machine on which everything is as it should be.
fn fine() -> Facts {
    let now = SystemTime::UNIX_EPOCH + NOW;
    let emulator = Emulator { path: PathBuf::from("/usr/bin/qemu-aarch64-static"), chosen: false };
    let machine = Machine {
        own: "linux/amd64".parse().unwrap(),
        variants: vec!["v2"],
        older: vec!["386"],
        registered: Vec::new(),
        emulators: BTreeMap::from([("arm64", emulator.clone())]),
    };
    let trial =
        |platform: &str, way| Trial { platform: platform.parse().unwrap(), way, failed: None };
    Facts {
        kernel: "6.12.9-amd64".into(),
        user: "ann".into(),
        standing: Standing::Root,
        containers: None,
        overlay: None,
        namespaces: NamespaceLimits::default(),
        ids: Ids { mapped: 4_294_967_295, granted: false },
        groups: Groups::Version2 {
            controllers: ["cpu", "memory", "pids"].map(str::to_owned).to_vec(),
            writable: true,
        },
        network: Network { name_servers: true, filter: true },
        disk: Some(Disk { path: "/var/lib/kiln".into(), free: 50 << 30, free_files: 1 << 20 }),
        now,
        installed: now - NOW / 100,
        authorities: 142,
        programs: vec!["git", "apt-get"],
        tried: vec![
            trial("linux/amd64", Way::Own),
            trial("linux/arm64", Way::Emulated { emulator: emulator.path }),
        ],
        machine,
        private_table: None,
    }
}

/// What is said of facts beyond what is in order.
fn complaints(change: impl FnOnce(&mut Facts)) -> String {
    let mut facts = fine();
    change(&mut facts);
    let all = checks(&facts);
    let known = checks(&fine());
    let new: Vec<_> = all.into_iter().filter(|check| !known.contains(check)).collect();
    new.iter()
        .map(|check| {
            let fix = check.fix.as_deref().map_or(String::new(), |fix| format!("\n  {fix}"));
            format!("{} {}: {}{fix}\n", check.status.word(), check.name, check.message)
        })
        .collect()
}

#[test]
fn a_machine_where_all_is_well() {
    let table = as_table(&checks(&fine()));
    assert!(table.ends_with('\n'), "{table}");
    insta::assert_snapshot!(table, @"
    STATUS   CHECK                 FOUND
    ok       kernel                Linux 6.12.9-amd64
    ok       user namespaces       not needed, as this is root
    ok       subordinate ids       not needed, as this is root
    ok       containers            a process ran in one
    ok       overlayfs             layers are laid over one another
    ok       control groups        version 2
    ok       network               kilnd can give steps a network of their own
    ok       name servers          those of /etc/resolv.conf
    ok       disk                  53.69GB free for /var/lib/kiln
    ok       clock                 plausible
    ok       certificates          142 authorities are trusted
    ok       git                   found
    ok       platform linux/amd64  by the machine itself
    ok       platform linux/arm64  by /usr/bin/qemu-aarch64-static, which the kernel calls for builds alone
    warning  other platforms       no emulator for linux/riscv64, linux/ppc64le, linux/s390x, linux/mips64le, linux/loong64, linux/arm/v7
                                   mend it: apt-get install qemu-user-static

    Builds will work, with 1 warning.
    ");
}

#[test]
fn users_without_namespaces_are_told_why() {
    let plain = |limits: NamespaceLimits| {
        move |facts: &mut Facts| {
            facts.standing = Standing::Plain;
            facts.ids = Ids { mapped: 65_537, granted: true };
            facts.programs.push("pasta");
            facts.namespaces = limits;
        }
    };
    let none = NamespaceLimits { most: Some(0), ..NamespaceLimits::default() };
    insta::assert_snapshot!(complaints(plain(none)), @"
    problem user namespaces: the kernel allows none, so steps cannot be run without root
      sysctl -w user.max_user_namespaces=15000
    ok subordinate ids: files may have 65537 owners
    ok network: pasta connects the steps of kilnd
    ");
    for (limits, fix) in [
        (NamespaceLimits { switched_off: true, ..none }, "user.max_user_namespaces"),
        (
            NamespaceLimits { switched_off: true, ..NamespaceLimits::default() },
            "kernel.unprivileged_userns_clone=1",
        ),
        (
            NamespaceLimits { restricted: true, ..NamespaceLimits::default() },
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        (NamespaceLimits::default(), "--security-opt seccomp=unconfined"),
    ] {
        let mut facts = fine();
        plain(limits)(&mut facts);
        let found = checks(&facts).into_iter().find(|it| it.name == "user namespaces").unwrap();
        assert!(found.fix.as_deref().unwrap().contains(fix), "{found:?}");
    }
}

#[test]
fn builds_without_root_want_ids_groups_and_a_helper() {
    insta::assert_snapshot!(
        complaints(|facts| {
            facts.standing = Standing::UserNamespace;
            facts.ids = Ids { mapped: 1, granted: false };
            facts.groups = Groups::Version2 { controllers: Vec::new(), writable: false };
        }),
        @"
    ok user namespaces: builds run without root
    warning subordinate ids: there are none in /etc/subuid and /etc/subgid: all files belong to one owner, and steps that change it fail (apt-get does)
      usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ann
    warning control groups: they are not this user's: steps run without limits of memory and processors, and one that asks for them fails
      systemd-run --user --scope -p Delegate=yes kilnd
    warning network: no pasta and no slirp4netns: steps use the machine's network
      apt-get install slirp4netns
    "
    );
    insta::assert_snapshot!(
        complaints(|facts| {
            facts.standing = Standing::UserNamespace;
            facts.ids = Ids { mapped: 1, granted: true };
            facts.programs = vec!["git", "slirp4netns", "dnf"];
            facts.machine.emulators.clear();
            facts.tried.pop();
        }),
        @"
    ok user namespaces: builds run without root
    warning subordinate ids: there is no newuidmap to use those of /etc/subuid with: all files belong to one owner, and steps that change it fail (apt-get does)
      dnf install uidmap
    ok network: slirp4netns connects the steps of kilnd
    warning other platforms: no emulator for linux/arm64, linux/riscv64, linux/ppc64le, linux/s390x, linux/mips64le, linux/loong64, linux/arm/v7
      dnf install qemu-user-static
    "
    );
}

#[test]
fn what_the_kernel_refuses_is_told_with_its_reason() {
    insta::assert_snapshot!(
        complaints(|facts| {
            facts.kernel = "5.4.0-generic".into();
            facts.containers = Some("no process can be run here, because …".into());
            facts.overlay = Some("mount an overlay: invalid argument".into());
            facts.groups = Groups::None;
            facts.network = Network::default();
            facts.tried.clear();
        }),
        @"
    problem kernel: Linux 5.4.0-generic is too old: containers are made as Linux 5.12 can
      install a newer kernel
    problem containers: no process can be run here, because …
      see what is said of user namespaces
    warning overlayfs: mount an overlay: invalid argument: layers are copied instead, which takes time and space
      modprobe overlay, or --root on ext4 or xfs
    warning control groups: not mounted: steps run without limits of memory and processors, and one that asks for them fails
      mount -t cgroup2 cgroup2 /sys/fs/cgroup
    warning network: the kernel has no nftables, so steps of kilnd use the machine's network
      modprobe nf_tables, or name CNI plugins
    warning name servers: /etc/resolv.conf names none that steps in a network of their own can reach; they ask public ones
      set [dns] nameservers in the configuration of kilnd
    "
    );
    insta::assert_snapshot!(
        complaints(|facts| {
            facts.groups = Groups::Version2 { controllers: vec!["pids".into()], writable: true }
        }),
        @"
    warning control groups: version 2 without cpu, memory: these are not limited
      systemd-run --user --scope -p Delegate=yes kilnd
    "
    );
}

#[test]
fn disk_clock_and_programs_are_looked_at() {
    insta::assert_snapshot!(
        complaints(|facts| {
            facts.disk = Some(Disk { path: "/small".into(), free: 1 << 20, free_files: 0 });
            facts.now = facts.installed - Duration::from_secs(90_000);
            facts.authorities = 0;
            facts.programs = vec!["apk"];
        }),
        @"
    problem disk: 1.05MB free for /small
      kiln prune, or --root on another disk
    problem clock: it is slow: certificates of registries will seem not to be valid yet
      timedatectl set-ntp true
    warning certificates: no authority is trusted, so no registry is reached by https
      apk add ca-certificates
    warning git: not found: contexts and sources from repositories fail
      apk add git
    warning other platforms: no emulator for linux/riscv64, linux/ppc64le, linux/s390x, linux/mips64le, linux/loong64, linux/arm/v7
      apk add qemu-user-static
    "
    );
    insta::assert_snapshot!(
        complaints(|facts| {
            facts.disk = Some(Disk { path: "/".into(), free: 2 << 30, free_files: 1 << 20 });
            facts.now = SystemTime::UNIX_EPOCH;
            facts.installed = SystemTime::UNIX_EPOCH;
        }),
        @"
    warning disk: 2.15GB free for /
      kiln prune, or --root on another disk
    problem clock: it is slow: certificates of registries will seem not to be valid yet
      timedatectl set-ntp true
    "
    );
    let few = Disk { path: "/".into(), free: 50 << 30, free_files: 7 };
    insta::assert_snapshot!(complaints(|facts| facts.disk = Some(few)), @"
    warning disk: 53.69GB free for /, but only 7 files
      kiln prune, or --root on another disk
    ");
    insta::assert_snapshot!(complaints(|facts| facts.disk = None), @"
    problem disk: the state directory cannot be made
      choose one with --root
    ");
}

#[test]
fn platforms_are_told_as_they_were_seen() {
    insta::assert_snapshot!(
        complaints(|facts| {
            facts.private_table = Some("mount a binfmt_misc of its own: no such device".into());
            let entry = "enabled\ninterpreter /usr/bin/qemu-s390x-static\nflags: OC\noffset 0\n\
                         magic 7f454c460202010000000000000000000002\n";
            facts.machine.registered = Registered::parse("qemu-s390x", entry).into_iter().collect();
        }),
        @"
    warning platform linux/arm64: by /usr/bin/qemu-aarch64-static, put before each step: a step cannot start other such programs, as mount a binfmt_misc of its own: no such device
      a kernel from 6.7 on, or entries for the whole machine: systemctl restart systemd-binfmt
    warning other platforms: no emulator for linux/riscv64, linux/ppc64le, linux/s390x, linux/mips64le, linux/loong64, linux/arm/v7 (qemu-s390x of the machine's kernel does not count: without the flag F its interpreter would have to be in every image)
      apt-get install qemu-user-static
    "
    );
    insta::assert_snapshot!(
        complaints(|facts| {
            facts.tried[0].failed = Some("exit code 1".into());
            facts.tried[1].failed = Some("exec format error".into());
        }),
        @"
    problem containers: a process did not run: exit code 1
      kiln --debug doctor
    problem platform linux/amd64: by the machine itself, but a program failed: exit code 1
      kiln --debug doctor
    warning platform linux/arm64: by /usr/bin/qemu-aarch64-static, which the kernel calls for builds alone, but a program failed: exec format error
      apt-get install qemu-user-static
    "
    );
}

#[test]
fn programs_get_a_document() {
    let mut facts = fine();
    facts.programs.clear();
    facts.disk = None;
    let document: serde_json::Value = serde_json::from_str(&as_json(&checks(&facts))).unwrap();
    assert_eq!(document["ok"], false);
    let checks = document["checks"].as_array().unwrap();
    let git = checks.iter().find(|check| check["name"] == "git").unwrap();
    assert_eq!(git["status"], "warning");
    assert_eq!(git["fix"], "install git");
    assert_eq!(checks[0]["fix"], serde_json::Value::Null);
}
