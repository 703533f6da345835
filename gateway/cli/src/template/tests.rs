//! Projects as they are written.

use super::*;

fn project(name: &str) -> NewProject {
    let name: FrontendName = name.parse().unwrap();
    NewProject { format: FileFormat::hinted_by(&name), name, sdk: Sdk::Version("0.1.0".into()) }
}

fn file(name: &str, path: &str) -> String {
    let files = project(name).files();
    let found = files.into_iter().find(|(other, _)| other == path);
    found.unwrap_or_else(|| panic!("{name} has no {path}")).1
}

#[test]
fn the_name_chooses_the_format() {
    assert_eq!(project("toml-lang").build_file(), "toml-lang.toml");
    assert_eq!(project("my-json").build_file(), "my-json.json");
    assert_eq!(project("kiln-frontend-bread").build_file(), "bread.yaml");
}

#[test]
fn nothing_is_left_to_be_filled_in() {
    for name in ["toml-lang", "json_lang", "bread"] {
        for (path, text) in project(name).files() {
            assert!(
                !text.contains("{{") || path.ends_with(".rs") && !text.contains("{{n"),
                "{path}"
            );
            assert!(text.ends_with('\n'), "{path} does not end its last line");
            assert!(!text.contains("[[bin]]\nname = \"kiln-frontend-kiln"), "{path}");
        }
    }
}

#[test]
fn the_language_is_short() {
    let text = file("bread", "src/lib.rs");
    let code =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    let lines = code.count();
    assert!(lines < 100, "{lines} lines");
}

#[test]
fn the_program_is_named_as_daemons_look_for_it() {
    let manifest = file("toml-lang", "Cargo.toml");
    assert!(manifest.contains("name = \"toml-lang\""), "{manifest}");
    assert!(manifest.contains("name = \"kiln-frontend-toml-lang\""), "{manifest}");
    assert!(file("toml-lang", "src/main.rs").contains("toml_lang::TomlLang"));
}
