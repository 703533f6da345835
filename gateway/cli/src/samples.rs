//! Small build files for the conformance kit, of the languages whose build files have known names.

use kiln_testing::Samples;

/// One language: its name, the name of its files, a file that builds, and one that does not.
type Sample = (&'static str, &'static str, &'static str, &'static str);

const SAMPLES: &[Sample] = &[
    (
        "dockerfile",
        "Dockerfile",
        "FROM debian:13 AS base\nARG VERSION=1\nRUN echo $VERSION > /version\n\n\
         FROM base\nWORKDIR /app\nCOPY greeting .\nENV LANGUAGE=dockerfile\nCMD [\"cat\", \"greeting\"]\n",
        "FROM debian:13\nCOPPY greeting .\n",
    ),
    (
        "mockerfile",
        "Mockerfile.yaml",
        "apiVersion: v1alpha1\nimages:\n- name: demo\n  from: debian:13\n  external:\n  \
         - src: greeting\n    dst: /greeting\n  steps: [cat /greeting]\n",
        "apiVersion: v1alpha1\nimages:\n- name: demo\n  form: debian:13\n",
    ),
];

/// The samples of a language by its name.
pub(crate) fn of(frontend: &str) -> Option<Samples> {
    let stem = frontend.strip_suffix(".v0").unwrap_or(frontend);
    let (_, name, valid, broken) = SAMPLES.iter().find(|(language, ..)| *language == stem)?;
    let samples = Samples::text(name, *valid).with_file("greeting", "Hello.\n");
    Some(samples.with_build_argument("VERSION", "2").with_broken(*broken))
}
