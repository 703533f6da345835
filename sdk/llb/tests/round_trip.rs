//! Any op survives its canonical bytes.

use kiln_llb::encode::Canonical as _;
use kiln_pb::pb;
use kiln_pb::pb::file_action::Action;
use kiln_pb::pb::op::Op as Kind;
use kiln_pb::pb::user_opt::User;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use prost::Message as _;

fn text() -> BoxedStrategy<String> {
    prop_oneof![Just(String::new()), "[a-z/ü]{1,12}", "x{120,140}"].boxed()
}

fn texts() -> BoxedStrategy<Vec<String>> {
    vec(text(), 0..4).boxed()
}

fn number() -> BoxedStrategy<i64> {
    prop_oneof![Just(0), Just(-1), Just(127), Just(128), any::<i64>()].boxed()
}

fn input() -> BoxedStrategy<pb::Input> {
    (text(), number()).prop_map(|(digest, index)| pb::Input { digest, index }).boxed()
}

fn platform() -> BoxedStrategy<pb::Platform> {
    (text(), text(), text(), text(), texts())
        .prop_map(|(architecture, os, variant, os_version, os_features)| pb::Platform {
            architecture,
            os,
            variant,
            os_version,
            os_features,
        })
        .boxed()
}

fn user() -> BoxedStrategy<pb::UserOpt> {
    let name =
        (text(), number()).prop_map(|(name, input)| User::ByName(pb::NamedUserOpt { name, input }));
    option::of(prop_oneof![name, any::<u32>().prop_map(User::ById)])
        .prop_map(|user| pb::UserOpt { user })
        .boxed()
}

fn owner() -> BoxedStrategy<Option<pb::ChownOpt>> {
    option::of((option::of(user()), option::of(user())))
        .prop_map(|owner| owner.map(|(user, group)| pb::ChownOpt { user, group }))
        .boxed()
}

fn mount() -> BoxedStrategy<pb::Mount> {
    let options = (
        option::of(number().prop_map(|size| pb::TmpfsOpt { size })),
        option::of((text(), 0..3_i32).prop_map(|(id, sharing)| pb::CacheOpt { id, sharing })),
        option::of((text(), any::<u32>(), any::<bool>()).prop_map(|(id, mode, optional)| {
            pb::SecretOpt { id, uid: 0, gid: mode, mode, optional }
        })),
        option::of((text(), any::<u32>()).prop_map(|(id, uid)| pb::SshOpt {
            id,
            uid,
            gid: 0,
            mode: 1,
            optional: false,
        })),
    );
    (number(), text(), text(), number(), any::<bool>(), -1..5_i32, options, text(), 0..3_i32)
        .prop_map(
            |(input, selector, dest, output, readonly, mount_type, opts, result_id, cache)| {
                pb::Mount {
                    input,
                    selector,
                    dest,
                    output,
                    readonly,
                    mount_type,
                    tmpfs_opt: opts.0,
                    cache_opt: opts.1,
                    secret_opt: opts.2,
                    ssh_opt: opts.3,
                    result_id,
                    content_cache: cache,
                }
            },
        )
        .boxed()
}

fn meta() -> BoxedStrategy<pb::Meta> {
    let host = (text(), text()).prop_map(|(host, ip)| pb::HostIp { host, ip });
    let limit =
        (text(), number(), number()).prop_map(|(name, soft, hard)| pb::Ulimit { name, soft, hard });
    let proxy = (text(), text()).prop_map(|(http_proxy, all_proxy)| pb::ProxyEnv {
        http_proxy,
        all_proxy,
        ..pb::ProxyEnv::default()
    });
    let words = (texts(), texts(), text(), text(), text(), text());
    let lists = (option::of(proxy), vec(host, 0..3), vec(limit, 0..3), vec(any::<i32>(), 0..4));
    (words, lists, any::<bool>())
        .prop_map(|(words, lists, remove_mount_stubs_recursive)| pb::Meta {
            args: words.0,
            env: words.1,
            cwd: words.2,
            user: words.3,
            hostname: words.4,
            cgroup_parent: words.5,
            proxy_env: lists.0,
            extra_hosts: lists.1,
            ulimit: lists.2,
            valid_exit_codes: lists.3,
            remove_mount_stubs_recursive,
        })
        .boxed()
}

fn exec() -> BoxedStrategy<pb::ExecOp> {
    let secret = (text(), text(), any::<bool>()).prop_map(|(id, name, optional)| pb::SecretEnv {
        id,
        name,
        optional,
    });
    let device =
        (text(), any::<bool>()).prop_map(|(name, optional)| pb::CdiDevice { name, optional });
    let lists = (vec(mount(), 0..4), vec(secret, 0..3), vec(device, 0..3));
    (option::of(meta()), lists, 0..3_i32, 0..2_i32)
        .prop_map(|(meta, lists, network, security)| pb::ExecOp {
            meta,
            mounts: lists.0,
            network,
            security,
            secretenv: lists.1,
            cdi_devices: lists.2,
        })
        .boxed()
}

fn action() -> BoxedStrategy<Action> {
    let copy =
        (text(), text(), owner(), any::<i32>(), any::<[bool; 7]>(), number(), texts(), text())
            .prop_map(|(src, dest, owner, mode, flags, timestamp, patterns, mode_str)| {
                Action::Copy(pb::FileActionCopy {
                    src,
                    dest,
                    owner,
                    mode,
                    follow_symlink: flags[0],
                    dir_copy_contents: flags[1],
                    attempt_unpack_docker_compatibility: flags[2],
                    create_dest_path: flags[3],
                    allow_wildcard: flags[4],
                    allow_empty_wildcard: flags[5],
                    timestamp,
                    include_patterns: patterns.clone(),
                    exclude_patterns: Vec::new(),
                    always_replace_existing_dest_paths: flags[6],
                    mode_str,
                    required_paths: patterns,
                })
            });
    let file = (text(), any::<i32>(), vec(any::<u8>(), 0..300), owner(), number()).prop_map(
        |(path, mode, data, owner, timestamp)| {
            Action::Mkfile(pb::FileActionMkFile { path, mode, data: data.into(), owner, timestamp })
        },
    );
    let dir = (text(), any::<i32>(), any::<bool>(), owner(), number()).prop_map(
        |(path, mode, make_parents, owner, timestamp)| {
            Action::Mkdir(pb::FileActionMkDir { path, mode, make_parents, owner, timestamp })
        },
    );
    let rm = (text(), any::<bool>(), any::<bool>()).prop_map(
        |(path, allow_not_found, allow_wildcard)| {
            Action::Rm(pb::FileActionRm { path, allow_not_found, allow_wildcard })
        },
    );
    let link =
        (text(), text(), owner(), number()).prop_map(|(oldpath, newpath, owner, timestamp)| {
            Action::Symlink(pb::FileActionSymlink { oldpath, newpath, owner, timestamp })
        });
    prop_oneof![copy, file, dir, rm, link].boxed()
}

fn file() -> BoxedStrategy<pb::FileOp> {
    let action = (number(), number(), number(), option::of(action())).prop_map(
        |(input, secondary_input, output, action)| pb::FileAction {
            input,
            secondary_input,
            output,
            action,
        },
    );
    vec(action, 0..4).prop_map(|actions| pb::FileOp { actions }).boxed()
}

fn build() -> BoxedStrategy<pb::BuildOp> {
    let input = number().prop_map(|input| pb::BuildInput { input });
    (number(), btree_map(text(), input, 0..3), btree_map(text(), text(), 0..3))
        .prop_map(|(builder, inputs, attrs)| pb::BuildOp { builder, inputs, def: None, attrs })
        .boxed()
}

fn kind() -> BoxedStrategy<Kind> {
    prop_oneof![
        exec().prop_map(Kind::Exec),
        (text(), btree_map(text(), text(), 0..4))
            .prop_map(|(identifier, attrs)| Kind::Source(pb::SourceOp { identifier, attrs })),
        file().prop_map(Kind::File),
        build().prop_map(Kind::Build),
        vec(number().prop_map(|input| pb::MergeInput { input }), 0..4)
            .prop_map(|inputs| Kind::Merge(pb::MergeOp { inputs })),
        (option::of(number()), option::of(number())).prop_map(|(lower, upper)| {
            Kind::Diff(pb::DiffOp {
                lower: lower.map(|input| pb::LowerDiffInput { input }),
                upper: upper.map(|input| pb::UpperDiffInput { input }),
            })
        }),
        (text(), vec(number(), 0..5))
            .prop_map(|(id, outputs)| Kind::Passthrough(pb::PassthroughOp { id, outputs })),
    ]
    .boxed()
}

fn op() -> BoxedStrategy<pb::Op> {
    let constraints = texts().prop_map(|filter| pb::WorkerConstraints { filter });
    (vec(input(), 0..4), option::of(platform()), option::of(constraints), option::of(kind()))
        .prop_map(|(inputs, platform, constraints, op)| pb::Op {
            inputs,
            platform,
            constraints,
            op,
        })
        .boxed()
}

fn metadata() -> BoxedStrategy<pb::OpMetadata> {
    let resources = (number(), text()).prop_map(|(memory, cpuset_cpus)| pb::LinuxResources {
        memory,
        cpuset_cpus,
        ..pb::LinuxResources::default()
    });
    let group = (text(), any::<bool>()).prop_map(|(id, weak)| pb::ProgressGroup {
        id: id.clone(),
        name: id,
        weak,
    });
    (
        any::<bool>(),
        btree_map(text(), text(), 0..3),
        option::of(any::<bool>().prop_map(|value| pb::ExportCache { value })),
        btree_map(text(), any::<bool>(), 0..4),
        option::of(group),
        option::of(resources),
    )
        .prop_map(|(ignore_cache, description, export_cache, caps, progress_group, limits)| {
            pb::OpMetadata {
                ignore_cache,
                description,
                export_cache,
                caps,
                progress_group,
                linux_resources: limits,
            }
        })
        .boxed()
}

proptest! {
    #[test]
    fn an_op_survives_its_canonical_bytes(op in op()) {
        let bytes = op.to_canonical();
        prop_assert_eq!(&pb::Op::decode(&*bytes).unwrap(), &op);
        // What prost writes is the same message, however it orders and omits.
        let other = pb::Op::decode(&*op.encode_to_vec()).unwrap();
        prop_assert_eq!(other.to_canonical(), bytes);
    }

    #[test]
    fn metadata_survives_its_canonical_bytes(metadata in metadata()) {
        let bytes = metadata.to_canonical();
        prop_assert_eq!(pb::OpMetadata::decode(&*bytes).unwrap(), metadata);
    }
}
