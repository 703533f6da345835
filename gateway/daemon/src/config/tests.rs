//! What flags, variables and files come to, and what is said about those that make no sense.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;
use crate::LogLevel;

/// What a process is given.
#[derive(Default)]
struct Given<'a> {
    flags: &'a [&'a str],
    variables: &'a [(&'a str, &'a str)],
    file: &'a str,
}

fn environment(variables: &[(&str, &str)]) -> Environment {
    let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
    Environment { variables: variables.collect(), root: true, user_namespace: false }
}

fn read(program: Program, given: &Given<'_>) -> Result<Config, ConfigError> {
    let arguments = [program.name()].into_iter().chain(given.flags.iter().copied());
    let arguments = arguments.map(ToOwned::to_owned);
    let line = CommandLine::parse(program, arguments.collect()).unwrap();
    let environment = environment(given.variables);
    let file = Layer::of_file("kilnd.toml", given.file.as_bytes())?;
    let layers = vec![line.layer, variables(|name| environment.get(name)), file];
    Config::of(program, &environment, layers)
}

#[track_caller]
fn fine(given: &Given<'_>) -> Config {
    read(Program::Kilnd, given).unwrap_or_else(|error| panic!("{error}"))
}

fn of_file(file: &str) -> Config {
    fine(&Given { file, ..Given::default() })
}

fn of_flags(flags: &[&str]) -> Config {
    fine(&Given { flags, ..Given::default() })
}

#[track_caller]
fn refused(given: &Given<'_>) -> String {
    read(Program::Kilnd, given).expect_err("it is refused").to_string()
}

/// Compares with a file that people read.
fn fresh(path: &str, text: &str) {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap();
    assert_eq!(committed, text, "run with UPDATE_EXPECT=1 and commit {path}");
}

/// The paths of all values that a schema knows.
fn leaves(schema: &Json, root: &Json, path: &[String], found: &mut BTreeSet<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let pointer = name.strip_prefix('#').unwrap();
        return leaves(root.pointer(pointer).unwrap(), root, path, found);
    }
    let below = |name: &str| [path, &[name.to_owned()]].concat();
    if let Some(properties) = schema["properties"].as_object() {
        for (name, property) in properties {
            leaves(property, root, &below(name), found);
        }
    } else if schema["additionalProperties"].is_object() || schema["additionalProperties"] == true {
        leaves(&schema["additionalProperties"], root, &below("*"), found);
    } else if schema["items"]["$ref"].as_str().is_some_and(|name| name.ends_with("Table")) {
        leaves(&schema["items"], root, path, found);
    } else {
        found.insert(path.join("."));
    }
}

#[test]
fn every_key_has_a_row_and_every_row_a_key() {
    let schema: Json = serde_json::from_str(&schema()).unwrap();
    let mut known = BTreeSet::new();
    leaves(&schema, &schema, &[], &mut known);
    let rows: BTreeSet<String> = KEYS.iter().map(|key| key.path.join(".")).collect();
    assert_eq!(rows.len(), KEYS.len(), "a key has two rows");
    let missing: Vec<_> = known.symmetric_difference(&rows).collect();
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn flags_set_keys_that_there_are() {
    for flag in FLAGS {
        let path = match flag.sets {
            Sets::Text(path) | Sets::List(path) | Sets::Number(path) => path.to_vec(),
            Sets::Switch(path) | Sets::Auto(path, _) => path.to_vec(),
            Sets::Label(path) => [path, &["any"]].concat(),
            Sets::Storage(path) => [path, &["maxUsedSpace"]].concat(),
            Sets::Level(_) | Sets::Nothing(_) => continue,
        };
        assert!(KEYS.iter().any(|key| key.is(&path)), "--{} sets {path:?}", flag.name);
    }
}

/// What `buildkitd --help` lists, and what it does not show.
const BUILDKITD: &str = "addr allow-insecure-entitlement cdi-disabled cdi-spec-dir containerd-cni-binary-dir \
    containerd-cni-config-path containerd-cni-pool-size containerd-max-parallelism containerd-worker \
    containerd-worker-addr containerd-worker-apparmor-profile containerd-worker-gc \
    containerd-worker-gc-keepstorage containerd-worker-labels containerd-worker-namespace \
    containerd-worker-net containerd-worker-platform containerd-worker-rootless \
    containerd-worker-runtime containerd-worker-selinux containerd-worker-snapshotter debug debugaddr \
    group log-format log-level oci-cni-binary-dir oci-cni-config-path oci-cni-pool-size \
    oci-max-parallelism oci-worker oci-worker-apparmor-profile oci-worker-binary oci-worker-gc \
    oci-worker-gc-keepstorage oci-worker-labels oci-worker-net oci-worker-no-process-sandbox \
    oci-worker-platform oci-worker-proxy-snapshotter-path oci-worker-rootless oci-worker-selinux \
    oci-worker-snapshotter otel-socket-path proxy-network root rootless save-cache-debug tlscacert \
    tlscert tlskey trace";

#[test]
fn every_flag_of_buildkitd_is_known() {
    let own: BTreeSet<_> = FLAGS.iter().map(|flag| flag.name).collect();
    assert_eq!(own.len(), FLAGS.len());
    let unknown: Vec<_> = BUILDKITD.split_whitespace().filter(|name| !own.contains(name)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// `UPDATE_EXPECT=1 cargo test -p kiln-daemon` writes it anew.
#[test]
fn the_committed_schema_is_fresh() {
    fresh("../../schemas/kilnd.json", &schema());
}

#[test]
fn the_example_says_what_it_is_for() {
    let example = include_str!("../../kilnd.example.toml");
    let config = of_file(example);
    assert_eq!(config.registries["docker.io"].host.mirrors, ["mirror.example.com/hub"]);
    assert_eq!(config.remarks, [""; 0]);
}

#[test]
fn help_shows_what_can_be_done() {
    let arguments = vec!["kilnd".to_owned(), "--help".to_owned()];
    let help = CommandLine::parse(Program::Kilnd, arguments).unwrap_err().to_string();
    fresh("src/config/help.txt", &help);
}

/// How the integration tests of BuildKit start a daemon.
#[test]
fn a_daemon_is_started_as_buildkits_tests_do() {
    let file = "insecure-entitlements = [\"security.insecure\"]\n\n\
        [worker.oci]\nmax-parallelism = 1\n[worker.containerd]\nmax-parallelism = 1\n\n\
        [registry.\"docker.io\"]\nmirrors=[\"localhost:33001\"]\n\n\
        [otel]\n  socketPath = \"/tmp/x/otel-grpc.sock\"\n\n[cdi]\n  specDirs = [\"/tmp/cdi\"]\n";
    let flags = [
        "--oci-worker=true",
        "--containerd-worker=false",
        "--oci-worker-gc=false",
        "--oci-worker-labels=org.mobyproject.buildkit.worker.sandbox=true",
        "--root",
        "/tmp/root",
        "--addr",
        "unix:///tmp/root/buildkitd.sock",
        "--debug",
    ];
    let variables = [("BUILDKITD_DEBUGADDR", "unix:///tmp/debug.sock")];
    let config = read(Program::Buildkitd, &Given { flags: &flags, variables: &variables, file });
    let config = config.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.worker.labels["org.mobyproject.buildkit.worker.sandbox"], "true");
    assert_eq!(config.worker.max_parallelism, Some(1));
    assert_eq!(config.entitlements, [Entitlement::SecurityInsecure]);
    assert_eq!(config.registries["docker.io"].host.mirrors, ["localhost:33001"]);
    assert_eq!(config.collection, None);
    assert_eq!(config.log_level, LogLevel::Debug);
    assert_eq!(config.debug_address, Some(Address::Unix("/tmp/debug.sock".into())));
    insta::assert_snapshot!(config.remarks.join("\n"), @"
    no effect: otel.socketPath (steps have nowhere to send traces yet)
    no effect: worker.containerd.max-parallelism (there is no containerd worker)
    ");
}

#[test]
fn a_flag_counts_more_than_a_variable_and_that_more_than_the_file() {
    let file = "[log]\nlevel = \"error\"\n[grpc]\naddress = [\"unix:///f\"]\n\
                [worker.oci.labels]\na = \"file\"\nb = \"file\"\n";
    let variables = [("BUILDKITD_LOG_LEVEL", "warn")];
    let level = |flags: &[&str], variables| fine(&Given { flags, variables, file }).log_level;
    assert_eq!(level(&[], &[]), LogLevel::Error);
    assert_eq!(level(&[], &variables), LogLevel::Warn);
    assert_eq!(level(&["--debug"], &variables), LogLevel::Debug);
    assert_eq!(level(&["--log-level", "trace", "--debug"], &variables), LogLevel::Trace);
    let flags = ["--addr=unix:///1", "--addr", "unix:///2", "--oci-worker-labels", "a=flag=1"];
    let config = fine(&Given { flags: &flags, variables: &[], file });
    let addresses = config.sockets.addresses.iter().map(ToString::to_string);
    assert_eq!(addresses.collect::<Vec<_>>(), ["unix:///1", "unix:///2"]);
    let labels = [("a", "flag=1"), ("b", "file")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    assert_eq!(config.worker.labels, labels.into());
}

#[test]
fn plugins_and_stopping_are_said_by_flags_or_the_file() {
    let default = of_file("");
    assert_eq!(default.stopping, StoppingConfig::default());
    assert_eq!(default.plugins, PluginsConfig::default());
    let file = "[kiln]\npluginPath = [\"/a\", \"\"]\nunconfinedPlugins = true\nstopTimeout = \"1m\"\n\
                emulators = [\"/opt/qemu\", \"/e/qemu-arm\"]\n\
                stepStopTimeout = 7\ninterruptedCaches = \"discard\"\n";
    let variables = [("KILN_PLUGIN_PATH", "/b::/c")];
    let of_both = fine(&Given { file, variables: &variables, flags: &["--stop-timeout=500ms"] });
    let plugins = &of_both.plugins;
    assert_eq!(plugins.directories, ["/a", "/b", "/c"].map(std::path::PathBuf::from));
    assert!(plugins.unconfined);
    assert_eq!(of_both.emulators, ["/opt/qemu", "/e/qemu-arm"].map(std::path::PathBuf::from));
    let stopping = StoppingConfig {
        timeout: Duration::from_millis(500),
        step_timeout: Duration::from_secs(7),
        interrupted_caches: InterruptedCaches::Discard,
    };
    assert_eq!(of_both.stopping, stopping);
    let of_flags = of_flags(&[
        "--plugin-path=/a",
        "--plugin-path=/b",
        "--plugin-path=/c",
        "--unconfined-plugins",
        "--emulator=/opt/qemu",
        "--emulator=/e/qemu-arm",
        "--stop-timeout=0.5s",
        "--step-stop-timeout=7",
        "--interrupted-caches=discard",
    ]);
    assert_eq!(of_flags.emulators, of_both.emulators);
    assert_eq!((of_flags.plugins, of_flags.stopping), (of_both.plugins, of_both.stopping));
    insta::assert_snapshot!(
        refused(&Given {
            flags: &["--stop-timeout=soon", "--step-stop-timeout=-1s"],
            ..Given::default()
        }),
        @"
    error: `soon` is no duration
     --> command line:1:16
      |
    1 | --stop-timeout=soon
      |                ^^^^
      |
      = help: write seconds (172800) or a duration (48h)

    error: `-1s` is no duration
     --> command line:2:21
      |
    2 | --step-stop-timeout=-1s
      |                     ^^^
      |
      = help: write seconds (172800) or a duration (48h)
    "
    );
    insta::assert_snapshot!(
        refused(&Given { flags: &["--interrupted-caches=burn"], ..Given::default() }),
        @"
    error: expected one of `keep`, `discard`, found `burn`
     --> command line:1:22
      |
    1 | --interrupted-caches=burn
      |                      ^^^^
    "
    );
}

#[test]
fn levels_have_several_names() {
    let level = |file| of_file(file).log_level;
    assert_eq!(level(""), LogLevel::Info);
    assert_eq!(level("debug = true"), LogLevel::Debug);
    assert_eq!(level("trace = true\ndebug = true"), LogLevel::Trace);
    assert_eq!(level("debug = true\nlog.level = \"warning\""), LogLevel::Warn);
    assert_eq!(of_flags(&["--debug=trace"]).log_level, LogLevel::Trace);
    assert_eq!(of_flags(&["--debug=false"]).log_level, LogLevel::Info);
    let quiet = Given { flags: &["--debug=false"], file: "debug = true", ..Given::default() };
    assert_eq!(fine(&quiet).log_level, LogLevel::Info);
}

#[test]
fn flags_are_written_as_gos_are() {
    let arguments = ["buildkitd", "-addr", "unix:///a", "-oci-worker-gc=f", "--debug=T"];
    let arguments = arguments.map(ToOwned::to_owned).to_vec();
    let line = CommandLine::parse(Program::Buildkitd, arguments).unwrap();
    let config = Config::of(Program::Buildkitd, &Environment::default(), vec![line.layer]).unwrap();
    assert_eq!(config.sockets.addresses, [Address::Unix("/a".into())]);
    assert_eq!((config.collection, config.log_level), (None, LogLevel::Debug));
}

#[test]
fn a_flag_that_there_is_not_is_refused_with_the_nearest() {
    let error = |flag: &str| {
        let arguments = vec!["kilnd".to_owned(), flag.to_owned()];
        CommandLine::parse(Program::Kilnd, arguments).unwrap_err().to_string()
    };
    let text = error("--oci-worker-gcc=false");
    assert!(text.contains("unexpected argument '--oci-worker-gcc' found"), "{text}");
    assert!(text.contains("'--oci-worker-gc'"), "{text}");
    assert!(error("word").contains("unexpected argument 'word'"));
}

#[test]
fn everything_that_is_unknown_or_refused_is_said_at_once_where_it_stands() {
    let file = "[worker.oci]\nselinux = true\nsnapshoter = \"native\"\n\n\
                [registry.\"docker.io\"]\nmirors = []\n";
    let flags = ["--oci-worker-net=cnii", "--oci-worker-labels", "x"];
    insta::assert_snapshot!(refused(&Given { flags: &flags, variables: &[], file }), @r#"
    error: a label is NAME=VALUE, and `x` is not
     --> command line:1:21
      |
    1 | --oci-worker-labels=x
      |                     ^

    error: expected one of `auto`, `host`, `bridge`, `cni`, `none`, found `cnii`
     --> command line:2:18
      |
    2 | --oci-worker-net=cnii
      |                  ^^^^ did you mean `cni`?

    error: `worker.oci.selinux = true` is not supported: steps are not labelled for SELinux
     --> kilnd.toml:2:11
      |
    2 | selinux = true
      |           ^^^^
      |
      = help: leave it out

    error: unknown key `snapshoter`
     --> kilnd.toml:3:1
      |
    3 | snapshoter = "native"
      | ^^^^^^^^^^ did you mean `snapshotter`?

    error: unknown key `mirors`
     --> kilnd.toml:6:1
      |
    6 | mirors = []
      | ^^^^^^ did you mean `mirrors`?
    "#);
}

#[test]
fn what_is_not_supported_says_what_to_do_instead() {
    let file = "[worker.oci]\nbridgeSubnet = \"10.0.0.0\"\nsnapshotter = \"stargz\"\nselinux = true\n\
                [worker.containerd]\nenabled = true\nnamespace = \"x\"\n";
    insta::assert_snapshot!(
        refused(&Given {
            flags: &["--oci-worker-selinux", "--save-cache-debug"],
            variables: &[],
            file: ""
        }),
        @"
    error: there is no record of cache keys to save; leave it out
     --> command line:1:20
      |
    1 | --save-cache-debug=true
      |                    ^^^^

    error: `worker.oci.selinux = true` is not supported: steps are not labelled for SELinux
     --> command line:2:22
      |
    2 | --oci-worker-selinux=true
      |                      ^^^^
      |
      = help: leave it out
    "
    );
    insta::assert_snapshot!(refused(&Given { file, ..Given::default() }), @r#"
    error: not a subnet of IPv4; write it as 10.10.0.0/16, with 1 to 30 bits
     --> kilnd.toml:2:16
      |
    2 | bridgeSubnet = "10.0.0.0"
      |                ^^^^^^^^^^

    error: `worker.oci.snapshotter = stargz` is not supported: layers are pulled as a whole
     --> kilnd.toml:3:15
      |
    3 | snapshotter = "stargz"
      |               ^^^^^^^^
      |
      = help: leave it out

    error: `worker.oci.selinux = true` is not supported: steps are not labelled for SELinux
     --> kilnd.toml:4:11
      |
    4 | selinux = true
      |           ^^^^
      |
      = help: leave it out

    error: `worker.containerd.enabled = true` is not supported: Kiln does not use containerd
     --> kilnd.toml:6:11
      |
    6 | enabled = true
      |           ^^^^
      |
      = help: leave it out, steps are run without one
    "#);
}

#[test]
fn a_flag_may_take_back_what_the_file_cannot_have() {
    let file = "[worker.oci]\nnetworkMode = \"bridge\"\nbinary = \"runc\"\n";
    let flags = ["--oci-worker-net=host", "--oci-worker-binary="];
    let config = fine(&Given { flags: &flags, variables: &[], file });
    assert_eq!(config.worker.network.mode, NetworkModeName::Host);
    assert_eq!(config.worker.binary, None);
}

#[test]
fn what_makes_no_sense_is_an_error() {
    let file = "[grpc]\naddress = [\"/run/x.sock\"]\nuid = 4294967295\n[grpc.tls]\nca = \"ca.pem\"\n\
        [worker.oci]\nreservedSpace = \"lots\"\nplatforms = [\"linux\", \"a/b/c/d/e\"]\n\
        [[worker.oci.gcpolicy]]\nkeepDuration = \"soon\"\nfilters = [\"type==\"]\n\
        [dns]\nnameservers = [\"dns.example\"]\n[system]\nmaxRegistryConcurrency = 0\n\
        [frontend.\"gateway.v0\"]\nallowedRepositories = [\"UPPER\"]\n";
    insta::assert_snapshot!(refused(&Given { file, ..Given::default() }), @r#"
    error: address /run/x.sock does not contain proto, you meant unix:///run/x.sock ?
     --> kilnd.toml:2:12
      |
    2 | address = ["/run/x.sock"]
      |            ^^^^^^^^^^^^^

    error: `4294967295` is no id of a user or group
     --> kilnd.toml:3:7
      |
    3 | uid = 4294967295
      |       ^^^^^^^^^^

    error: certificates of clients cannot be verified without TLS
     --> kilnd.toml:5:6
      |
    5 | ca = "ca.pem"
      |      ^^^^^^^^
      |
      = help: give the daemon a certificate and a key

    error: `lots` is no amount of disk space
     --> kilnd.toml:7:17
      |
    7 | reservedSpace = "lots"
      |                 ^^^^^^
      |
      = help: write bytes (512000000), a size (512MB) or a part of the disk (10%)

    error: "d/e" is an invalid component of "a/b/c/d/e": platform specifier component must match "^[A-Za-z0-9_.-]+$": invalid argument
     --> kilnd.toml:8:23
      |
    8 | platforms = ["linux", "a/b/c/d/e"]
      |                       ^^^^^^^^^^^

    error: `soon` is no duration
      --> kilnd.toml:10:16
       |
    10 | keepDuration = "soon"
       |                ^^^^^^
       |
       = help: write seconds (172800) or a duration (48h)

    error: `dns.example` is not the address of a name server
      --> kilnd.toml:13:16
       |
    13 | nameservers = ["dns.example"]
       |                ^^^^^^^^^^^^^

    error: maxRegistryConcurrency must be greater than zero
      --> kilnd.toml:15:26
       |
    15 | maxRegistryConcurrency = 0
       |                          ^

    error: invalid reference format: repository name `library/UPPER` must be lowercase
      --> kilnd.toml:17:24
       |
    17 | allowedRepositories = ["UPPER"]
       |                        ^^^^^^^
    "#);
}

#[test]
fn tcp_without_tls_must_be_asked_for_by_name() {
    let flags = ["--addr=tcp://0.0.0.0:1234"];
    insta::assert_snapshot!(refused(&Given { flags: &flags, ..Given::default() }), @"
    error: tcp://0.0.0.0:1234 would be without TLS: whoever reaches it is root here
     --> command line:1:8
      |
    1 | --addr=tcp://0.0.0.0:1234
      |        ^^^^^^^^^^^^^^^^^^
      |
      = help: give --tlscert, --tlskey and --tlscacert (grpc.tls), or say --allow-plain-tcp (kiln.allowPlainTCP = true) if everyone who can connect may do everything
    ");
    assert!(of_flags(&[flags[0], "--allow-plain-tcp"]).sockets.plain_tcp);
    let tls = ["--tlscert=c", "--tlskey=k", "--tlscacert=a"];
    let config = of_flags(&[&flags[..], &tls].concat());
    let files = TlsFiles { cert: "c".into(), key: "k".into(), ca: Some("a".into()) };
    assert_eq!(config.sockets.tls, Some(files));
    assert_eq!(config.remarks, [""; 0]);
    let half = Given { flags: &["--tlscert=c"], ..Given::default() };
    let error = read(Program::Kilnd, &half).unwrap_err().to_string();
    assert!(error.contains("you must specify key and cert file if one is specified"), "{error}");
}

#[test]
fn a_daemon_that_verifies_no_client_says_so() {
    let config = of_flags(&["--addr=tcp://:1", "--tlscert=c", "--tlskey=k"]);
    assert_eq!(
        config.remarks,
        ["command line:2:11: clients need no certificate: whoever connects may build"]
    );
}

#[test]
fn keys_are_read_whatever_their_case_and_empty_texts_are_nothing() {
    let file = "[Worker.OCI]\nNetworkMode = \"\"\nMAX-parallelism = 2\nsnapshotter = \"\"\n\
                apparmor-profile = \"\"\n[Worker.OCI.Labels]\nEmpty = \"\"\n";
    let config = of_file(file);
    assert_eq!(config.worker.max_parallelism, Some(2));
    assert_eq!(config.worker.labels["Empty"], "");
    assert_eq!(config.worker.network.mode, NetworkModeName::Auto);
}

#[test]
fn collection_follows_the_file_the_flag_or_buildkit() {
    let last =
        |config: Config| config.collection.map(|what| what.on_disk(100 << 30).pop().unwrap());
    let default = last(of_file("")).unwrap();
    assert_eq!(default.reserved_space, 10_000_000_000);
    let bounds = last(of_flags(&["--oci-worker-gc-keepstorage=1,2,3"])).unwrap();
    assert_eq!(bounds.reserved_space, 1_000_000);
    assert_eq!((bounds.min_free_space, bounds.max_used_space), (2_000_000, 3_000_000));
    let older = last(of_file("[worker.oci]\ngckeepstorage = \"30%\"\n")).unwrap();
    assert_eq!(older.reserved_space, 31_000_000_000);
    assert_eq!(older.max_used_space, 0);
    let policies = "[[worker.oci.gcpolicy]]\nkeepDuration = 172800\nfilters = [\"type==source.local\"]\n\
                    keepBytes = \"512MB\"\n[[worker.oci.gcpolicy]]\nall = true\nminFreeSpace = \"20%\"\n";
    let policies = of_file(policies).collection.unwrap().on_disk(100 << 30);
    assert_eq!(policies[0].keep_duration, Duration::from_secs(172_800));
    assert_eq!(policies[0].reserved_space, 512 << 20);
    assert_eq!((policies.len(), policies[1].all), (2, true));
    assert_eq!(policies[1].min_free_space, 21_000_000_000);
    assert!(of_flags(&["--oci-worker-gc=false"]).collection.is_none());
}

#[test]
fn registries_have_mirrors_and_certificates() {
    let file = "[registry.\"docker.io\"]\nmirrors = [\"m.example/hub\", \"localhost:5000\"]\nhttp = false\n\
        ca = [\"/ca.pem\"]\ntlsconfigdir = [\"/etc/docker/certs.d/x\"]\n\
        [[registry.\"docker.io\".keypair]]\nkey = \"/k\"\ncert = \"/c\"\n\
        [registry.\"localhost:5000\"]\ninsecure = true\n";
    let config = of_file(file);
    let hub = &config.registries["docker.io"];
    assert_eq!(hub.host.mirrors, ["m.example/hub", "localhost:5000"]);
    assert_eq!((hub.host.http, hub.host.insecure), (Some(false), false));
    assert_eq!(hub.host.keypair.as_ref().unwrap().cert, std::path::Path::new("/c"));
    assert_eq!(hub.tls_directories, [std::path::PathBuf::from("/etc/docker/certs.d/x")]);
    assert!(config.registries["localhost:5000"].host.insecure);
}

#[test]
fn the_rest_is_carried_for_those_who_use_it() {
    let file = "proxyNetwork = true\nprovenanceEnvDir = \"/p\"\n[history]\nmaxAge = \"1h\"\nmaxEntries = 3\n\
        [cdi]\ndisabled = true\nautoAllowed = [\"x\"]\n[dns]\nnameservers = [\"1.1.1.1\"]\n\
        searchDomains = [\"example.com\"]\n[frontend.\"dockerfile.v0\"]\nenabled = false\n\
        [frontend.\"gateway.v0\"]\nallowedRepositories = [\"alpine\", \"example.com/a/b:tag\"]\n\
        [system]\nplatformsCacheMaxAge = -1\nmaxRegistryConcurrency = 2\n\
        [worker.oci]\nplatforms = [\"linux/arm64/v8\", \"linux/amd64\"]\ndefaultCgroupParent = \"p\"\n\
        cniPoolSize = 4\n";
    let config = of_file(file);
    assert_eq!(
        config.history,
        HistoryConfig { max_age: Duration::from_secs(3600), max_entries: 3 }
    );
    assert!(config.cdi.disabled && config.proxy_network);
    assert_eq!(config.dns.nameservers, ["1.1.1.1".parse::<std::net::IpAddr>().unwrap()]);
    assert_eq!(config.frontends.disabled, ["dockerfile.v0"]);
    let allowed = ["docker.io/library/alpine", "example.com/a/b"];
    assert_eq!(config.frontends.allowed_repositories, allowed);
    assert_eq!(config.platforms_max_age, None);
    assert_eq!(config.registry_concurrency.unwrap().get(), 2);
    let platforms = config.worker.platforms.iter().map(kiln_oci::Platform::format);
    assert_eq!(platforms.collect::<Vec<_>>(), ["linux/arm64", "linux/amd64"]);
    assert_eq!(config.worker.cgroup_parent.as_deref(), Some("p"));
    assert_eq!(config.worker.network.pool_size, Some(4));
}

#[test]
fn groups_have_names_or_numbers() {
    let group = |flag: &str| of_flags(&[flag]).sockets.group;
    assert_eq!(group("--group=docker"), Some(Group::Name("docker".into())));
    assert_eq!(group("--group=999"), Some(Group::Id(999)));
    assert_eq!(group("--group="), None);
    let file = Given { file: "grpc.gid = -1", ..Given::default() };
    assert!(read(Program::Kilnd, &file).is_err());
}

#[test]
fn being_rootless_is_not_a_wish() {
    let root = read(Program::Kilnd, &Given { flags: &["--rootless"], ..Given::default() });
    assert!(root.unwrap_err().to_string().contains("start the daemon as an ordinary user"));
    let arguments = vec!["kilnd".to_owned(), "--rootless".to_owned()];
    let line = CommandLine::parse(Program::Kilnd, arguments).unwrap();
    Config::of(Program::Kilnd, &Environment::default(), vec![line.layer]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is written, there is a configuration or an error that says something.
    #[test]
    fn any_text_is_a_configuration_or_an_error(
        file in prop_oneof![".{0,200}", line().prop_map(|line| line + "\n")],
        flag in prop::sample::select(FLAGS.iter().map(|flag| flag.name).collect::<Vec<_>>()),
        value in "[a-zA-Z0-9%,=:/._-]{0,12}",
    ) {
        let flag = format!("--{flag}={value}");
        let given = Given { flags: &[&flag], variables: &[], file: &file };
        if let Err(error) = read(Program::Buildkitd, &given) {
            prop_assert!(error.to_string().starts_with("error: "), "{error}");
        }
    }
}

/// A line that sets one of the keys to something.
fn line() -> impl Strategy<Value = String> {
    let keys = KEYS.iter().map(|key| {
        let quoted = key.path.iter().map(|part| format!("\"{part}\""));
        quoted.collect::<Vec<_>>().join(".")
    });
    let value = prop_oneof![
        "\"[a-z0-9%:/. -]{0,12}\"",
        "-?[0-9]{1,20}",
        Just("true".to_owned()),
        Just("[]".to_owned()),
        Just("[\"a\", \"b\"]".to_owned()),
        Just("{ a = 1 }".to_owned()),
        Just("[{ key = \"a\" }]".to_owned()),
    ];
    (prop::sample::select(keys.collect::<Vec<_>>()), value)
        .prop_map(|(key, value)| format!("{key} = {value}"))
}
