//! What is published can be packaged: each crate alone, in an order that exists, with all that its
//! build reads.
//!
//! Manifests are read and files are listed; nothing is compiled. Before a release, all of it is, each
//! crate from its package against the packages of the others:
//!
//! ```sh
//! cargo package --locked --workspace --exclude kiln-examples --exclude kiln-tests --exclude kiln-fuzz
//! ```

use std::collections::BTreeSet;
use std::process::Command;

use crate::architecture::{PLATFORM, nobody, root};

/// What cargo says.
fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The manifests of the crates that are published.
fn published() -> Vec<serde_json::Value> {
    let text = cargo(&["metadata", "--no-deps", "--offline", "--format-version=1"]);
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages.filter(|package| package["publish"].is_null()).cloned().collect()
}

/// What is wrong with a dependency on a crate of this repository.
fn mistake(dependency: &serde_json::Value, published: &BTreeSet<&str>) -> Option<&'static str> {
    let name = dependency["name"].as_str().unwrap();
    let has_version = dependency["req"] != "*";
    match (dependency["kind"].as_str(), dependency["path"].is_string()) {
        (_, false) => None,
        // Those without a version are left out of the package, and cannot make a circle.
        (Some("dev"), true) => has_version.then_some("has a version, though it is for tests alone"),
        _ if !has_version => Some("has no version, which a registry needs"),
        _ if !published.contains(name) => Some("is not published"),
        _ => None,
    }
}

#[test]
fn what_is_published_depends_on_what_is_published() {
    let packages = published();
    let names: BTreeSet<&str> =
        packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert!(names.contains("kiln-sdk") && !names.contains("kiln-tests"), "{names:?}");
    let mut wrong = Vec::new();
    for package in &packages {
        for dependency in package["dependencies"].as_array().unwrap() {
            if let Some(why) = mistake(dependency, &names) {
                wrong.push(format!("{}: {} {why}", package["name"], dependency["name"]));
            }
        }
        for field in ["description", "license", "repository", "rust_version"] {
            if !package[field].is_string() {
                wrong.push(format!("{} has no {field}", package["name"]));
            }
        }
    }
    nobody(wrong);
}

/// Whether a licence, as manifests write it, leaves a choice that is allowed.
fn is_allowed(licence: &str, allowed: &[&str]) -> bool {
    let plain = licence.replace(['(', ')'], "").replace('/', " OR ");
    plain.split(" OR ").any(|choice| {
        let mut all = choice.split(" AND ").map(|one| one.split(" WITH ").next().unwrap_or(one));
        all.all(|one| allowed.contains(&one.trim()))
    })
}

#[test]
fn what_is_depended_on_has_an_allowed_licence_and_compiles_with_our_rust() {
    let deny = std::fs::read_to_string(root().join("deny.toml")).unwrap();
    let (_, list) = deny.split_once("allow = [").unwrap();
    let (list, _) = list.split_once(']').unwrap();
    let allowed: Vec<&str> = list.split('"').skip(1).step_by(2).collect();
    let text =
        cargo(&["metadata", "--locked", "--format-version=1", "--filter-platform", PLATFORM]);
    let metadata: serde_json::Value = serde_json::from_str(&text).unwrap();
    let minor = |version: &str| version.split('.').nth(1).and_then(|n| n.parse::<u32>().ok());
    let packages = metadata["packages"].as_array().unwrap();
    let own = packages.iter().find(|package| package["name"] == "kiln-sdk").unwrap();
    let own = minor(own["rust_version"].as_str().unwrap()).unwrap();
    let mut wrong = Vec::new();
    for package in packages {
        let (name, licence) = (&package["name"], package["license"].as_str().unwrap_or_default());
        if !is_allowed(licence, &allowed) {
            wrong.push(format!(
                "{name} has the licence `{licence}`, which deny.toml does not allow"
            ));
        }
        let needs = package["rust_version"].as_str().and_then(minor).unwrap_or_default();
        if needs > own {
            wrong.push(format!("{name} needs Rust 1.{needs}, and rust-version is 1.{own}"));
        }
    }
    assert!(packages.len() > 100, "{}", packages.len());
    nobody(wrong);
}

#[test]
fn of_several_licences_one_has_to_be_allowed_and_of_combined_ones_all() {
    let allowed = &["MIT", "ISC"];
    for licence in ["MIT", "GPL-3.0 OR MIT", "GPL-3.0/MIT", "MIT AND ISC", "(MIT OR X) AND ISC"] {
        assert!(is_allowed(licence, allowed), "{licence}");
    }
    for licence in ["", "GPL-3.0", "MIT AND GPL-3.0"] {
        assert!(!is_allowed(licence, allowed), "{licence}");
    }
}

#[test]
fn a_dependency_that_cannot_be_packaged_is_named() {
    let published = BTreeSet::from(["kiln-llb"]);
    let wrong = |name: &str, kind: Option<&str>, req: &str| {
        let json = serde_json::json!({"name": name, "kind": kind, "req": req, "path": "/x"});
        mistake(&json, &published).is_some()
    };
    assert!(wrong("kiln-llb", Some("dev"), "^0.1.0") && !wrong("kiln-llb", Some("dev"), "*"));
    assert!(wrong("kiln-llb", None, "*") && !wrong("kiln-llb", None, "^0.1.0"));
    assert!(wrong("kiln-tests", None, "^0.1.0"));
}

#[test]
fn the_schemas_that_messages_are_made_of_are_in_the_package() {
    for name in ["kiln-pb", "kiln-wire"] {
        let list = cargo(&["package", "--list", "--offline", "--allow-dirty", "--package", name]);
        let found: BTreeSet<&str> =
            list.lines().filter_map(|path| path.strip_prefix("schemas/")).collect();
        let mut wanted = BTreeSet::new();
        for folder in ["buildkit", "kiln", "opentelemetry"] {
            for entry in std::fs::read_dir(root().join("schemas").join(folder)).unwrap() {
                let file = entry.unwrap().file_name().into_string().unwrap();
                wanted.insert(format!("{folder}/{file}"));
            }
        }
        assert!(wanted.len() > 15, "{wanted:?}");
        assert_eq!(found, wanted.iter().map(String::as_str).collect(), "{name}");
    }
}
