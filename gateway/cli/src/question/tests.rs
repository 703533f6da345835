//! Questions to the languages that are linked in.

use kiln_daemon::{Channel, linked};

use super::*;

const FILE: &str =
    "apiVersion: v1alpha1\nimages:\n- name: demo\n  from: debian:13\n  steps: [make]\n";

/// Asks the mockerfile language about `FILE` with this change of the flags.
async fn ask(change: impl FnOnce(&Path, &mut AskArgs)) -> Result<Answer, String> {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("Mockerfile.yaml");
    std::fs::write(&file, FILE).unwrap();
    let mut args = AskArgs::default();
    change(directory.path(), &mut args);
    let question = Question::decide(&file, &args, "", &Environment::default());
    let question = question.map_err(|error| error.to_string())?;
    let frontend = linked("mockerfile", Channel::Mainline).unwrap();
    question.ask(&*frontend).await.map_err(|error| error.to_string())
}

#[tokio::test]
async fn images_that_nobody_gave_are_made_up_and_said() {
    let answer = ask(|_, _| ()).await.unwrap();
    assert_eq!(answer.made_up, ["docker.io/library/debian:13"]);
    let note = answer.note().unwrap();
    assert!(note.contains("about docker.io/library/debian:13;"), "{note}");
    assert!(answer.text().unwrap().contains("run /bin/sh -c make"), "{}", answer.text().unwrap());
}

#[tokio::test]
async fn images_that_were_given_are_as_they_were_given() {
    let config =
        r#"{"architecture":"amd64","os":"linux","config":{"Env":["A=1"],"WorkingDir":"/w"}}"#;
    let given = |reference: &str| {
        let reference = reference.to_owned();
        move |directory: &Path, args: &mut AskArgs| {
            let path = directory.join("config.json");
            std::fs::write(&path, config).unwrap();
            args.image = vec![format!("{reference}={}", path.display())];
        }
    };
    let answer = ask(given("debian:13")).await.unwrap();
    assert_eq!(answer.note(), None);
    assert!(answer.text().unwrap().contains("cwd /w"), "{}", answer.text().unwrap());
    let digest = format!("sha256:{}", "ab".repeat(32));
    let answer = ask(given(&format!("debian:13@{digest}"))).await.unwrap();
    let bytes = String::from_utf8_lossy(&answer.binary().unwrap()).into_owned();
    assert!(bytes.contains(&format!("debian:13@{digest}")), "{bytes}");
    let answer = ask(|directory, args| {
        given("debian:13")(directory, args);
        args.opt = vec!["platform=linux/arm64".to_owned()];
    });
    assert_eq!(answer.await.unwrap().note(), None);
}

#[tokio::test]
async fn several_platforms_are_several_texts_and_no_single_picture() {
    let answer = ask(|_, args| args.opt = vec!["platform=linux/amd64,linux/arm64".to_owned()]);
    let answer = answer.await.unwrap();
    let text = answer.text().unwrap();
    assert!(text.starts_with("# linux/amd64\n") && text.contains("\n\n# linux/arm64\n"), "{text}");
    let error = answer.dot().unwrap_err().to_string();
    assert!(error.starts_with("the frontend made linux/amd64, linux/arm64"), "{error}");
}

#[tokio::test]
async fn what_changed_is_said_in_sentences() {
    let before = ask(|_, _| ()).await.unwrap();
    assert_eq!(ask(|_, _| ()).await.unwrap().difference(&before).unwrap(), None);
    let after = ask(|_, args| args.opt = vec!["build-arg:A=1".to_owned()]).await.unwrap();
    let change = after.difference(&before).unwrap().unwrap();
    assert!(change.contains("step 2"), "{change}");
}

#[tokio::test]
async fn flags_that_make_no_sense_are_said_with_the_flag() {
    let error = ask(|_, args| args.image = vec!["debian".to_owned()]).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"--image "debian": should be REFERENCE=CONFIG.JSON"#);
    let error = ask(|_, args| args.image = vec!["a=/nowhere".to_owned()]).await.unwrap_err();
    insta::assert_snapshot!(error, @"--image: cannot read /nowhere");
    let error = ask(|_, args| args.platform = vec!["a/b/c/d".to_owned()]).await.unwrap_err();
    assert!(error.starts_with("--platform: "), "{error}");
    let missing = Question::decide(
        Path::new("/nowhere/file"),
        &AskArgs::default(),
        "",
        &Environment::default(),
    );
    assert_eq!(missing.unwrap_err().to_string(), "/nowhere/file is not a file");
}
