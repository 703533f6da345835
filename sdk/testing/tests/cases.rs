//! Cases read from disk: what is filled in, what is refused, and what is written.

use std::path::PathBuf;

use async_trait::async_trait;
use kiln_frontend::{Bridge, BuildResult, Frontend, FrontendError, Ref, Solve};
use kiln_llb::{Exec, Marshal, State};
use kiln_testing::{Case, CaseError, Fixture, assert_replay};
use serde_json::json;

/// A directory of its own for a case with this text.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, text: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("kiln-case-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("case.json"), text).unwrap();
        Self(dir)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in the temporary directory harms nobody.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

fn refused(name: &str, text: &str) -> String {
    let folder = Folder::new(name, text);
    let error = Case::load(&folder.0).and_then(|case| Fixture::from_case(&case)).unwrap_err();
    error.to_string().replace(folder.0.to_str().unwrap(), "DIR")
}

#[test]
fn an_empty_case_is_a_build_of_its_own_directory() {
    let folder = Folder::new("empty", "{}");
    let case = Case::load(&folder.0).unwrap();
    assert!(case.name.ends_with("-empty"));
    assert_eq!(case.locals["context"], ".");
    assert_eq!(case.worker_platforms, [["linux/amd64"]]);
    assert_eq!(case.requests(), ["frontend.lint", "frontend.outline", "frontend.targets"]);
    assert!(case.expected().unwrap().is_none());
}

#[test]
fn what_makes_no_sense_is_refused_with_file_and_field() {
    let unknown = refused("unknown", "{\n \"optoins\": {}\n}");
    assert!(unknown.starts_with("DIR/case.json: unknown field `optoins`, expected"), "{unknown}");
    assert!(unknown.ends_with("at line 2 column 10"), "{unknown}");
    let in_image = refused("image", r#"{"images": [{"ref": "a", "confg": {}}]}"#);
    assert!(in_image.contains("unknown field `confg`"), "{in_image}");
    for (name, text, want) in [
        (
            "both",
            r#"{"images": [{"ref": "a:1", "config": {}, "error": "no"}]}"#,
            "DIR/case.json: images[0] (a:1): expected one of config, error and non_image",
        ),
        (
            "outside",
            r#"{"locals": {"context": "../other"}}"#,
            "DIR/case.json: locals.context: `../other` is not a path below the directory of the case",
        ),
        (
            "workers",
            r#"{"worker_platforms": [[]]}"#,
            "DIR/case.json: worker_platforms: no worker has a platform",
        ),
        (
            "time",
            r#"{"source_metadata": {"https://x": {"http": {"last_modified": "yesterday"}}}}"#,
            "DIR/case.json: source_metadata.https://x.http.last_modified: the 'year' component could not be parsed",
        ),
    ] {
        assert_eq!(refused(name, text), want);
    }
    let missing = Case::load("/nowhere/at/all").unwrap_err();
    assert!(matches!(missing, CaseError::Read { .. }), "{missing}");
}

#[test]
fn a_case_is_read_as_it_was_written() {
    let folder = Folder::new("written", "{}");
    let mut case = Case::load(&folder.0).unwrap();
    case.opts.insert("target".into(), "app".into());
    case.images.push(kiln_testing::CaseImage {
        reference: "docker.io/library/debian:12".into(),
        config: Some(json!({"os": "linux"})),
        ..Default::default()
    });
    case.write().unwrap();
    case.write_expected(&json!({"build": {}})).unwrap();
    let read = Case::load(&folder.0).unwrap();
    assert_eq!(read, case);
    assert_eq!(read.expected().unwrap(), Some(json!({"build": {}})));
}

/// A language of one command.
struct Runs(&'static str);

#[async_trait]
impl Frontend for Runs {
    async fn solve(&self, bridge: &dyn Bridge) -> Result<BuildResult<Ref>, FrontendError> {
        if let Some(request) = bridge.info().options.get("requestid") {
            return Err(FrontendError::invalid(format!("no {request} here")));
        }
        let exec = Exec::default().with_args(vec![self.0.into()]);
        let state = State::scratch().run(exec).root();
        let definition = state.marshal(&Marshal::default()).unwrap();
        let solve = Solve::default().with_definition(Some(definition));
        Ok(bridge.solve(solve).await?)
    }
}

/// What a test would print, if it fails.
fn failure(frontend: &Runs, folder: &Folder) -> Option<String> {
    let test = std::panic::AssertUnwindSafe(|| assert_replay(frontend, &folder.0));
    let panic = std::panic::catch_unwind(test).err()?;
    let text = panic.downcast_ref::<String>().cloned().unwrap_or_default();
    Some(text.replace(folder.0.to_str().unwrap(), "DIR"))
}

#[test]
fn a_replay_is_recorded_once_and_holds_from_then_on() {
    let folder = Folder::new("assert", "{}");
    let first = failure(&Runs("make"), &folder).unwrap();
    assert_eq!(first, "DIR had no expected.json; it has now: look at it and run the test again");
    assert_eq!(failure(&Runs("make"), &folder), None);
    let other = failure(&Runs("cmake"), &folder).unwrap();
    assert_eq!(
        other,
        "DIR is answered otherwise:\n  build.results.ops[exec [\"make\"]].exec.meta.args[0]: \"make\" != \"cmake\""
    );
    let expected = Case::load(&folder.0).unwrap().expected().unwrap().unwrap();
    let lint = &expected["subrequests"]["frontend.lint"];
    assert_eq!(lint["error"]["message"], "no frontend.lint here");
    assert_eq!(lint["error"]["code"], "InvalidArgument");
}
