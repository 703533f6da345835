//! Projects as cargo describes them, and one that cargo builds.

use std::path::Path;
use std::time::{Duration, Instant};

use super::metadata::{Metadata, choose};
use super::*;

fn metadata(programs: &[(&str, &[&str])]) -> Metadata {
    let packages: Vec<_> = programs
        .iter()
        .map(|(package, programs)| {
            let targets: Vec<_> = programs
                .iter()
                .map(|name| serde_json::json!({"name": name, "kind": ["bin"]}))
                .chain([serde_json::json!({"name": package, "kind": ["lib"]})])
                .collect();
            serde_json::json!({
                "name": package,
                "version": "1.2.3",
                "manifest_path": format!("/work/{package}/Cargo.toml"),
                "targets": targets,
                "dependencies": [{"path": "/sdk"}, {"path": null}],
            })
        })
        .collect();
    let json = serde_json::json!({ "packages": packages }).to_string();
    Metadata::parse(Path::new("/work"), json.as_bytes()).unwrap()
}

fn program(metadata: &Metadata, directory: &str, bin: Option<&str>) -> Result<String, String> {
    choose(metadata, Path::new(directory), bin)
        .map(|project| project.program)
        .map_err(|error| error.to_string())
}

#[test]
fn the_program_that_must_be_meant_is_chosen() {
    let one = metadata(&[("lang", &["lang"])]);
    assert_eq!(program(&one, "/work/lang", None).unwrap(), "lang");
    let two = metadata(&[("lang", &["tool", "kiln-frontend-lang"])]);
    assert_eq!(program(&two, "/work/lang", None).unwrap(), "kiln-frontend-lang");
    assert_eq!(program(&two, "/work/lang", Some("tool")).unwrap(), "tool");
    let workspace = metadata(&[("tools", &["a", "b"]), ("lang", &["kiln-frontend-lang"])]);
    assert_eq!(program(&workspace, "/work", None).unwrap(), "kiln-frontend-lang");
}

#[test]
fn where_none_or_several_could_be_meant_the_user_is_asked() {
    let none = metadata(&[("lang", &[])]);
    assert!(program(&none, "/work/lang", None).unwrap_err().contains("src/main.rs"));
    let several = metadata(&[("lang", &["a", "b"])]);
    let asked = program(&several, "/work/lang", None).unwrap_err();
    assert!(asked.contains("(a, b): choose one with --bin"), "{asked}");
    let wrong = program(&several, "/work/lang", Some("c")).unwrap_err();
    assert!(wrong.contains("no program `c`"), "{wrong}");
}

#[test]
fn what_takes_part_in_a_build_is_the_project_and_the_packages_on_this_machine() {
    let project = choose(&metadata(&[("lang", &["lang"])]), Path::new("/work/lang"), None).unwrap();
    assert_eq!(project.sources, [Path::new("/work/lang"), Path::new("/sdk")]);
}

/// A cargo that is a shell script: `$1` is the command.
fn scripted(directory: &Path, script: &str) -> Cargo {
    use std::os::unix::fs::PermissionsExt as _;
    let program = directory.join("cargo");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(directory.join("Cargo.toml"), "").unwrap();
    Cargo { program: program.into(), offline: true, quiet: true }
}

fn project(directory: &Path) -> Project {
    Project {
        directory: directory.to_owned(),
        package: Package { name: "lang".into(), version: "1.2.3".into() },
        program: "lang".into(),
        sources: vec![directory.to_owned()],
    }
}

#[tokio::test]
async fn the_executable_is_where_cargo_says() {
    let directory = tempfile::tempdir().unwrap();
    let cargo = scripted(
        directory.path(),
        r#"echo "$*" > arguments
        echo not json
        echo '{"target":{"name":"other"},"executable":"/wrong"}'
        echo '{"target":{"name":"lang"},"executable":"/there/lang"}'"#,
    );
    let project = project(directory.path());
    let build = Build { project: &project, profile: "dev" };
    assert_eq!(cargo.build(&build).await.unwrap(), Path::new("/there/lang"));
    let arguments = std::fs::read_to_string(directory.path().join("arguments")).unwrap();
    assert!(arguments.starts_with("build --offline --quiet --message-format="), "{arguments}");
}

#[tokio::test]
async fn a_cargo_that_fails_is_named_with_its_command_and_place() {
    let directory = tempfile::tempdir().unwrap();
    let cargo = scripted(directory.path(), "exit 101");
    let error = cargo.test(&project(directory.path()), &[]).await.unwrap_err().to_string();
    assert!(error.starts_with("cargo test failed in "), "{error}");
    let error = Project::find(&cargo, directory.path(), None).await.unwrap_err().to_string();
    assert!(error.starts_with("cargo metadata failed in "), "{error}");
}

#[tokio::test]
async fn who_stops_waiting_for_cargo_ends_it_with_its_children() {
    let directory = tempfile::tempdir().unwrap();
    let cargo = scripted(directory.path(), "sleep 600 & echo $! > child; wait");
    let project = project(directory.path());
    let child = directory.path().join("child");
    let started = async {
        loop {
            match std::fs::read_to_string(&child) {
                Ok(text) if text.ends_with('\n') => break text.trim().to_owned(),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let build = Build { project: &project, profile: "dev" };
    let id = tokio::select! {
        _ = cargo.build(&build) => panic!("the script never ends by itself"),
        id = started => id,
    };
    let gone = |id: &str| match std::fs::read_to_string(format!("/proc/{id}/stat")) {
        // Whoever adopts orphans may take its time to notice.
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while !gone(&id) {
        assert!(Instant::now() < deadline, "process {id} is still there");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
