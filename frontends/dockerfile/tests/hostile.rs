//! Files that nobody writes but somebody may send: they are refused or lowered, and do not eat the
//! machine.

use kiln_dockerfile::Dockerfile;
use kiln_sdk::oci::{ImageConfig, Platform};
use kiln_testing::Fixture;

fn build(text: String) -> Result<usize, String> {
    let fixture = Fixture::new().any_image().file("dockerfile", "Dockerfile", text);
    let built = fixture.build(&Dockerfile::mainline()).map_err(|error| error.to_string())?;
    Ok(built.definition().def.len())
}

#[test]
fn ranges_of_ports_do_not_fill_the_memory() {
    let text = format!("FROM scratch\n{}", "EXPOSE 0-65535\n".repeat(1_000));
    assert_eq!(build(text).unwrap_err(), "more than 1048576 ports are exposed");
}

#[test]
fn long_chains_of_stages_need_no_stack() {
    let mut text = String::from("FROM scratch AS s0\n");
    for n in 1..3_000 {
        text.push_str(&format!("FROM s{} AS s{n}\n", n - 1));
    }
    assert_eq!(build(text), Ok(0));
}

#[test]
fn long_chains_of_copies_need_no_stack() {
    let mut text = String::from("FROM scratch AS s0\nCOPY a /a\n");
    for n in 1..2_000 {
        text.push_str(&format!("FROM scratch AS s{n}\nCOPY --from=s{} /a /a\n", n - 1));
    }
    // The context, a step per stage, and which of them is meant.
    assert_eq!(build(text), Ok(2_002));
}

#[test]
fn long_circles_are_found() {
    let mut text = String::new();
    for n in 0..2_000 {
        text.push_str(&format!("FROM scratch AS s{n}\nCOPY --from=s{} /a /a\n", (n + 1) % 2_000));
    }
    assert_eq!(build(text).unwrap_err(), "circular dependency detected on stage: s0");
}

#[test]
fn a_trigger_that_waits_for_its_own_stage_is_a_circle() {
    let text = "FROM scratch AS s\nONBUILD COPY --from=s /a /a\nFROM s AS s\n";
    assert_eq!(build(text.into()).unwrap_err(), "circular dependency detected on stage: s");
}

#[test]
fn an_image_whose_trigger_names_itself_ends() {
    let mut config = ImageConfig::new(&Platform::host());
    config.config.on_build = Some(vec!["COPY --from=loop /a /a".into()]);
    let fixture = Fixture::new().image("loop", config).file(
        "dockerfile",
        "Dockerfile",
        "FROM loop\nRUN make\n",
    );
    let error = fixture.build(&Dockerfile::mainline()).unwrap_err().to_string();
    let start = "ONBUILD triggers of docker.io/library/loop:latest@sha256:";
    assert!(error.starts_with(start), "{error}");
    assert!(
        error.contains("bring in more than 256 images: does `COPY --from=loop /a /a`"),
        "{error}"
    );
}
