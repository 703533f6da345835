//! Stories about devices: specifications and requests in, names and refusals out.

use std::fs;

use crate::{DeviceError, Devices, Grant, GrantError, NodeKind, Registry, Request};

const FOUR: &str = "
cdiVersion: \"0.6.0\"
kind: \"vendor1.com/device\"
annotations:
  foo.bar.baz: FOO
containerEdits:
  env: [SHARED=1]
devices:
- name: foo
  annotations: { org.mobyproject.buildkit.device.class: class1 }
  containerEdits: { env: [FOO=injected] }
- name: bar
  annotations:
    org.mobyproject.buildkit.device.class: class1
    org.mobyproject.buildkit.device.autoallow: true
  containerEdits: { env: [BAR=injected] }
- name: baz
  containerEdits: { env: [BAZ=injected] }
";

/// The devices of files in one directory.
fn devices(files: &[(&str, &str)]) -> (Devices, Vec<String>) {
    let scratch = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(scratch.path().join(name), text).unwrap();
    }
    let registry = Registry { directories: vec![scratch.path().into()], auto_allowed: Vec::new() };
    let (devices, errors) = registry.read_all();
    let root = scratch.path().display().to_string();
    (devices, errors.iter().map(|error| error.to_string().replace(&root, "")).collect())
}

fn four() -> Devices {
    let (devices, errors) = devices(&[("a.yaml", FOUR)]);
    assert!(errors.is_empty(), "{errors:?}");
    devices
}

fn request(name: &str) -> Request {
    Request { name: name.into(), optional: false }
}

fn grant(texts: &[&str]) -> Grant {
    let mut grant = Grant::default();
    texts.iter().for_each(|text| grant.add(text).unwrap());
    grant
}

#[track_caller]
fn finds(name: &str, expected: &[&str]) {
    let expected: Vec<String> =
        expected.iter().map(|name| format!("vendor1.com/device={name}")).collect();
    assert_eq!(four().find(&request(name)), Ok(expected), "{name}");
}

#[test]
fn a_name_means_one_device_the_first_of_a_kind_or_all_of_a_kind_or_class() {
    finds("vendor1.com/device=foo", &["foo"]);
    finds("vendor1.com/device", &["bar"]);
    finds("vendor1.com/device=", &["bar"]);
    finds("vendor1.com/device=*", &["bar", "baz", "foo"]);
    finds("class1", &["bar", "foo"]);
}

#[test]
fn a_device_that_is_not_there_is_missing_unless_the_step_can_do_without() {
    for name in ["vendor1.com/device=qux", "vendor2.com/device", "class2", "", "=", "/", "device"] {
        let missing = four().find(&request(name)).unwrap_err();
        assert_eq!(missing.to_string(), format!("required device {name:?} is not registered"));
        let optional = Request { optional: true, ..request(name) };
        assert_eq!(four().find(&optional), Ok(Vec::new()));
        assert_eq!(four().grant(vec![optional], None), Ok(Vec::new()));
    }
}

#[test]
fn a_step_gets_what_is_allowed_to_every_build_or_to_this_one() {
    let of = |names: &[&str], grant: Option<&Grant>| {
        let granted = four().grant(names.iter().map(|name| request(name)).collect(), grant)?;
        Ok::<_, DeviceError>(granted.into_iter().map(|request| request.name).collect::<Vec<_>>())
    };
    let name = |name: &str| format!("vendor1.com/device={name}");
    assert_eq!(of(&["vendor1.com/device"], None), Ok(vec![name("bar")]));
    let denied = of(&["vendor1.com/device=foo", "vendor1.com/device=baz"], None).unwrap_err();
    assert_eq!(denied, DeviceError::Denied(vec![name("foo"), name("baz")]));
    let text = of(&["vendor1.com/device=foo"], None).unwrap_err().to_string();
    assert!(text.contains("device=foo is requested by the build but not allowed"), "{text}");
    let foo = grant(&["vendor1.com/device=foo"]);
    assert_eq!(of(&["vendor1.com/device=foo"], Some(&foo)), Ok(vec![name("foo")]));
    assert!(of(&["vendor1.com/device=baz"], Some(&foo)).is_err());
    let class = grant(&["class1"]);
    assert_eq!(of(&["vendor1.com/device=foo"], Some(&class)), Ok(vec![name("foo")]));
    // A name of the build's own for a device of this machine.
    let alias = grant(&["vendor1.com/device=baz,alias=gpu"]);
    assert_eq!(of(&["gpu"], Some(&alias)), Ok(vec![name("baz")]));
    assert!(of(&["vendor1.com/device=baz"], Some(&alias)).is_err());
    assert_eq!(of(&["whatever"], Some(&grant(&[""]))), Ok(vec!["whatever".into()]));
}

#[test]
fn an_entitlement_for_devices_that_makes_no_sense_is_refused() {
    let error = |text: &str| Grant::default().add(text).unwrap_err();
    assert_eq!(error("a/b=c,alias"), GrantError::Field("alias".into()));
    assert_eq!(error("a/b=c,name=x"), GrantError::Key("name".into()));
}

#[test]
fn what_a_specification_brings_comes_once_and_before_its_devices() {
    let edits = four().edits(&[request("vendor1.com/device=foo"), request("class1")]).unwrap();
    assert_eq!(edits.env, ["SHARED=1", "FOO=injected", "BAR=injected"]);
}

#[test]
fn nodes_mounts_groups_and_hooks_are_read_from_json_too() {
    let text = r#"{"cdiVersion": "0.7.0", "kind": "a/b", "devices": [{"name": "1", "containerEdits": {
        "deviceNodes": [{"path": "/dev/x/y", "hostPath": "/dev/null", "type": "c", "major": 1, "minor": 3,
                         "fileMode": 432, "permissions": "rw", "gid": 5}],
        "mounts": [{"hostPath": "/lib/x", "containerPath": "/usr/lib/x", "options": ["ro", "nosuid", "bind"]}],
        "hooks": [{"hookName": "createContainer", "path": "/bin/h", "args": ["h", "x"], "timeout": 3}],
        "additionalGids": [0, 44]
    }}]}"#;
    let (devices, errors) = devices(&[("a.json", text)]);
    assert!(errors.is_empty(), "{errors:?}");
    let edits = devices.edits(&[request("a/b")]).unwrap();
    let node = &edits.nodes[0];
    assert_eq!((node.host_path.as_str(), node.kind), ("/dev/null", Some(NodeKind::Character)));
    assert_eq!((node.number, node.mode, node.access.as_str()), (Some((1, 3)), Some(0o660), "rw"));
    assert!(edits.mounts[0].readonly && edits.mounts[0].nosuid && !edits.mounts[0].nodev);
    assert_eq!(
        (edits.hooks[0].name.as_str(), edits.hooks[0].timeout),
        ("createContainer", Some(3))
    );
    assert_eq!(edits.groups, [44]);
}

#[test]
fn what_steps_cannot_get_is_refused_when_the_device_is_used() {
    for (edit, words) in [
        ("netDevices: [{ hostInterfaceName: eth9, name: eth9 }]", "netDevices"),
        ("intelRdt: { closID: x }", "intelRdt"),
        ("deviceNodes: [{ path: /etc/x }]", "\"/etc/x\" is not below /dev"),
        ("deviceNodes: [{ path: /dev/../etc/x }]", "is not below /dev"),
        ("deviceNodes: [{ path: /dev/x, type: p }]", "type \"p\""),
        ("deviceNodes: [{ path: /dev/x, permissions: rx }]", "permission 'x'"),
        ("mounts: [{ hostPath: /a, containerPath: b }]", "no absolute path"),
        ("mounts: [{ hostPath: /a, containerPath: /b, options: [remount] }]", "\"remount\""),
        ("mounts: [{ hostPath: a, containerPath: /b, type: nfs }]", "type \"nfs\""),
        ("hooks: [{ hookName: other, path: /h }]", "its hook \"other\""),
        ("hooks: [{ hookName: poststop, path: h }]", "its hook \"h\""),
        ("env: [X]", "variable \"X\""),
    ] {
        let text = format!(
            "cdiVersion: 1.1.0\nkind: a/b\ndevices: [{{ name: c, containerEdits: {{ {edit} }} }}]"
        );
        let (devices, errors) = devices(&[("a.yaml", &text)]);
        assert!(errors.is_empty(), "{errors:?}");
        let error = devices.edits(&[request("a/b=c")]).unwrap_err().to_string();
        assert!(
            error.starts_with("device a/b=c cannot be used: ") && error.contains(words),
            "{error}"
        );
    }
}

#[test]
fn files_that_are_no_specifications_are_left_out_and_named() {
    let device =
        |kind: &str| format!("cdiVersion: \"0.6.0\"\nkind: {kind}\ndevices: [{{ name: x }}]");
    let (devices, errors) = devices(&[
        ("1.yaml", &device("a/b")),
        ("2.yaml", &device("no-kind")),
        ("3.json", "{"),
        ("4.yaml", "cdiVersion: 1\nkind: a/c\nmore: 1"),
        ("5.txt", "not looked at"),
        ("6.yaml", &device("c/d")),
        ("7.yaml", &device("c/d")),
    ]);
    let names: Vec<&str> = devices.iter().map(|device| device.name.as_str()).collect();
    assert_eq!(names, ["a/b=x"]);
    assert_eq!(errors.len(), 4, "{errors:?}");
    assert!(errors[0].starts_with("/2.yaml is no specification of devices: `no-kind` is no kind"));
    assert!(errors[1].starts_with("/3.json is no"), "{errors:?}");
    assert!(errors[2].starts_with("/4.yaml is no"), "{errors:?}");
    assert_eq!(errors[3], "/6.yaml and /7.yaml both describe device c/d=x, which is left out");
}

#[test]
fn of_several_directories_the_last_counts_and_operators_allow_by_name_or_kind() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let write = |scratch: &tempfile::TempDir, value: &str| {
        let text = format!(
            "cdiVersion: 0.6.0\nkind: a/b\ndevices: [{{ name: 1, containerEdits: {{ env: [X={value}] }} }}]"
        );
        fs::write(scratch.path().join("x.yaml"), text).unwrap();
    };
    write(&one, "first");
    write(&two, "second");
    let directories = vec![one.path().into(), "/nonexistent".into(), two.path().into()];
    for (allowed, expected) in [("a/b", true), ("a/b=1", true), ("a", false), ("a/b=2", false)] {
        let auto_allowed = vec![allowed.to_owned()];
        let (devices, errors) =
            Registry { directories: directories.clone(), auto_allowed }.read_all();
        assert!(errors.is_empty(), "{errors:?}");
        assert_eq!(devices.edits(&[request("a/b=1")]).unwrap().env, ["X=second"]);
        assert_eq!(devices.grant(vec![request("a/b=1")], None).is_ok(), expected, "{allowed}");
    }
}
