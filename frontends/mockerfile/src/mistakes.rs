//! Whole screens: what a user of the language sees for the mistakes people make.

use kiln_sdk::document::{Source, render_all};

use crate::plan::Plan;

fn screen(text: &str) -> String {
    let source = Source::new("Mockerfile.yaml", text);
    match Plan::read(&source) {
        Ok(read) => {
            let warnings = render_all(&read.warnings, &source);
            format!("{warnings}{} image(s)\n", read.plan.images.len())
        }
        Err(mistakes) => render_all(&mistakes, &source),
    }
}

/// One image with these lines, each indented under it.
fn image(lines: &str) -> String {
    let lines: String = lines.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: v1alpha1\nimages:\n- name: demo\n{lines}")
}

#[test]
fn keys_and_kinds_are_checked_all_at_once() {
    let text = "apiVersion: v1\nimages:\n- nam: demo\n  frm: ubuntu:22.04\n  package:\n    instal: [curl]\n  external:\n  - src: a\n  \
         steps: make\n  env:\n    PORT: 8080\n    DEBUG: true\n";
    insta::assert_snapshot!(screen(text), @r#"
    error: expected `v1alpha1`, found `v1`
     --> Mockerfile.yaml:1:13
      |
    1 | apiVersion: v1
      |             ^^

    error: unknown key `nam`
     --> Mockerfile.yaml:3:3
      |
    3 | - nam: demo
      |   ^^^ did you mean `name`?

    error: unknown key `frm`
     --> Mockerfile.yaml:4:3
      |
    4 |   frm: ubuntu:22.04
      |   ^^^ did you mean `from`?

    error: unknown key `instal`
     --> Mockerfile.yaml:6:5
      |
    6 |     instal: [curl]
      |     ^^^^^^ did you mean `install`?

    error: missing key `dst`
     --> Mockerfile.yaml:8:5
      |
    8 |   - src: a
      |     ^^^ this mapping has no `dst`

    error: expected a list, found a string
     --> Mockerfile.yaml:9:10
      |
    9 |   steps: make
      |          ^^^^ expected a list
      |
      = help: begin each item of a list with `- `, or write `[…]`

    error: expected a string, found a number
      --> Mockerfile.yaml:11:11
       |
    11 |     PORT: 8080
       |           ^^^^ expected a string
       |
       = help: write "8080", with quotes, to make it text

    error: expected a string, found a boolean
      --> Mockerfile.yaml:12:12
       |
    12 |     DEBUG: true
       |            ^^^^ expected a string
       |
       = help: write "true", with quotes, to make it text
    "#);
    insta::assert_snapshot!(screen("images: []\napiVersion: v1alpha1\n"), @"
    error: the list is empty
     --> Mockerfile.yaml:1:9
      |
    1 | images: []
      |         ^
    ");
    insta::assert_snapshot!(screen("image:\n- name: a\n"), @"
    error: unknown key `image`
     --> Mockerfile.yaml:1:1
      |
    1 | image:
      | ^^^^^ did you mean `images`?

    error: missing key `apiVersion`
     --> Mockerfile.yaml:1:1
      |
    1 | image:
      | ^^^^^ this mapping has no `apiVersion`
    ");
}

#[test]
fn names_are_letters_and_unique() {
    insta::assert_snapshot!(
        screen(
            "apiVersion: v1alpha1\nimages:\n- {name: a b, from: scratch}\n- {name: x, from: scratch}\n- {name: x, from: scratch}\n- {name: scratch, from: x}\n"
        ),
        @"
    error: `a b` cannot be the name of an image
     --> Mockerfile.yaml:3:10
      |
    3 | - {name: a b, from: scratch}
      |          ^^^
      |
      = help: use letters, digits, `.`, `_` and `-`

    error: two images are called `x`
     --> Mockerfile.yaml:5:10
      |
    4 | - {name: x, from: scratch}
      |          - first called so here
    5 | - {name: x, from: scratch}
      |          ^

    error: an image cannot be called `scratch`: that is the name of nothing
     --> Mockerfile.yaml:6:10
      |
    6 | - {name: scratch, from: x}
      |          ^^^^^^^
    "
    );
}

#[test]
fn a_base_is_given_once_and_exists() {
    let text = "apiVersion: v1alpha1
images:
- name: build
  from: Debian:13
- name: none
- name: both
  from: debian:13
  parent: build
- name: typo
  parent: biuld
- name: early
  from: late
- name: far
  parent: elsewhere
- name: late
  from: scratch
- name: own
  from: own
";
    insta::assert_snapshot!(screen(text), @"
    error: `Debian:13` is neither an image reference nor an image of this file
     --> Mockerfile.yaml:4:9
      |
    4 |   from: Debian:13
      |         ^^^^^^^^^
      |
      = help: an image reference looks like `debian:13` or `registry.example/team/app:1`

    error: image `none` has nothing to start from
     --> Mockerfile.yaml:5:9
      |
    5 | - name: none
      |         ^^^^
      |
      = help: add `from: <image>`, `from: scratch` or `parent: <image of this file>`

    error: image `both` has both `from` and `parent`
     --> Mockerfile.yaml:8:11
      |
    7 |   from: debian:13
      |         --------- `from` is here
    8 |   parent: build
      |           ^^^^^
      |
      = help: keep `parent` to go on from an image of this file, else keep `from`

    error: image `biuld` does not exist in this file
      --> Mockerfile.yaml:10:11
       |
    10 |   parent: biuld
       |           ^^^^^ did you mean `build`?

    error: image `late` is not defined yet
      --> Mockerfile.yaml:12:9
       |
    12 |   from: late
       |         ^^^^
    ...
    15 | - name: late
       |         ---- defined here
       |
       = help: move it up, or name it with `parent`

    error: image `elsewhere` does not exist in this file
      --> Mockerfile.yaml:14:11
       |
    14 |   parent: elsewhere
       |           ^^^^^^^^^
       |
       = note: images of this file are `build`, `none`, `both`, `typo`, `early`, `late`, `own`

    error: image `own` starts from itself
      --> Mockerfile.yaml:18:9
       |
    18 |   from: own
       |         ^^^
    ");
    insta::assert_snapshot!(
        screen("apiVersion: v1alpha1\nimages:\n- name: app\n  parent: debian\n"),
        @"
    error: image `debian` does not exist in this file
     --> Mockerfile.yaml:4:11
      |
    4 |   parent: debian
      |           ^^^^^^
      |
      = help: use `from: debian` for an image of a registry
    "
    );
}

#[test]
fn images_cannot_start_from_themselves() {
    insta::assert_snapshot!(
        screen(
            "apiVersion: v1alpha1\nimages:\n- {name: a, parent: c}\n- {name: b, parent: a}\n- {name: c, parent: b}\n- {name: d, parent: d}\n- {name: e, parent: a}\n"
        ),
        @"
    error: image `a` starts from itself
     --> Mockerfile.yaml:3:21
      |
    3 | - {name: a, parent: c}
      |                     ^
      |
      = note: the circle is `a` → `c` → `b` → `a`

    error: image `d` starts from itself
     --> Mockerfile.yaml:6:21
      |
    6 | - {name: d, parent: d}
      |                     ^
      |
      = note: the circle is `d` → `d`
    "
    );
}

#[test]
fn a_registry_image_named_almost_like_one_of_the_file_is_a_warning() {
    insta::assert_snapshot!(
        screen(
            "apiVersion: v1alpha1\nimages:\n- {name: build, from: debian:13}\n- {name: app, from: biuld}\n"
        ),
        @"
    warning: `biuld` is taken from a registry, as docker.io/library/biuld:latest
     --> Mockerfile.yaml:4:21
      |
    4 | - {name: app, from: biuld}
      |                     ^^^^^ did you mean the image `build` of this file?
    2 image(s)
    "
    );
}

#[test]
fn packages_are_packages() {
    let text = image(
        "from: debian:13\npackage:\n  repo:\n  - ppa:someone/thing\n  - \"deb https://a b\\ndeb https://c d\"\n  gpg: [key.asc]\n  install:\n  \
             - curl git\n  - -y\n  - $(reboot)\n  - curl=7.*\n",
    );
    insta::assert_snapshot!(screen(&text), @r#"
    error: `ppa:someone/thing` is not a line for the list of package sources
     --> Mockerfile.yaml:7:7
      |
    7 |     - ppa:someone/thing
      |       ^^^^^^^^^^^^^^^^^
      |
      = help: write `deb <address> <suite> <component>…`

    error: a package source is one line
     --> Mockerfile.yaml:8:7
      |
    8 |     - "deb https://a b\ndeb https://c d"
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
      |
      = help: write one item of `repo` for each line

    error: `key.asc` is not the address of a key
     --> Mockerfile.yaml:9:11
      |
    9 |     gpg: [key.asc]
      |           ^^^^^^^
      |
      = help: write an `https://` address; keys in the build context go under `external`

    error: a package name has no spaces
      --> Mockerfile.yaml:11:7
       |
    11 |     - curl git
       |       ^^^^^^^^
       |
       = help: write one item for each of curl, git

    error: `-y` is not the name of a Debian package
      --> Mockerfile.yaml:12:7
       |
    12 |     - -y
       |       ^^

    error: `$(reboot)` is not the name of a Debian package
      --> Mockerfile.yaml:13:7
       |
    13 |     - $(reboot)
       |       ^^^^^^^^^
    "#);
    insta::assert_snapshot!(screen(&image("from: scratch\npackage:\n  install: [curl]\n")), @"
    error: packages cannot be installed into `scratch`, which has no apt-get
     --> Mockerfile.yaml:6:15
      |
    4 |   from: scratch
      |         ------- nothing to start from
    5 |   package:
    6 |     install: [curl]
      |               ^^^^
    ");
}

#[test]
fn external_files_come_from_somewhere_and_go_somewhere() {
    let text = image(
        "from: debian:13\nexternal:\n- {src: ../secret, dst: /a}\n- {src: 'ftp://h/x', dst: /a}\n- {src: x, dst: bin/x}\n\
             - {src: 'https://h/x', dst: /x, sha256: abc}\n- {src: x, dst: /x, sha256: abc}\n- {src: 'https:///x', dst: /x}\n\
             - {src: x, dst: /x, install: ['']}\n",
    );
    insta::assert_snapshot!(screen(&text), @"
    error: `../secret` is not a path inside the build context
     --> Mockerfile.yaml:6:11
      |
    6 |   - {src: ../secret, dst: /a}
      |           ^^^^^^^^^
      |
      = help: paths are relative to the build context and stay in it

    error: `ftp` addresses cannot be fetched
     --> Mockerfile.yaml:7:11
      |
    7 |   - {src: 'ftp://h/x', dst: /a}
      |           ^^^^^^^^^^^
      |
      = help: use `http` or `https`, or a path in the build context

    error: `bin/x` is not an absolute path
     --> Mockerfile.yaml:8:19
      |
    8 |   - {src: x, dst: bin/x}
      |                   ^^^^^
      |
      = help: write `/bin/x`

    error: this is not a SHA-256 checksum
     --> Mockerfile.yaml:9:43
      |
    9 |   - {src: 'https://h/x', dst: /x, sha256: abc}
      |                                           ^^^
      |
      = help: it has 64 hexadecimal digits; this text has 3 characters

    error: `sha256` is for downloads; files of the build context are taken as they are
      --> Mockerfile.yaml:10:31
       |
    10 |   - {src: x, dst: /x, sha256: abc}
       |                               ^^^

    error: `https:///x` does not name a host
      --> Mockerfile.yaml:11:11
       |
    11 |   - {src: 'https:///x', dst: /x}
       |           ^^^^^^^^^^^^

    error: this command is empty
      --> Mockerfile.yaml:12:33
       |
    12 |   - {src: x, dst: /x, install: ['']}
       |                                 ^^
    ");
}

#[test]
fn empty_words_are_not_taken() {
    let text = image(
        "from: debian:13\nworkdir: ''\noutput: ['']\nsteps: [' ']\nenv: {A=B: c}\nuser: 1000\n",
    );
    insta::assert_snapshot!(screen(&text), @r#"
    error: expected a string, found a number
     --> Mockerfile.yaml:9:9
      |
    9 |   user: 1000
      |         ^^^^ expected a string
      |
      = help: write "1000", with quotes, to make it text
    "#);
    insta::assert_snapshot!(
        screen(&image("from: debian:13\nworkdir: ''\noutput: ['']\nsteps: [' ']\nenv: {A=B: c}\n")),
        @"
    error: the working directory is not a path
     --> Mockerfile.yaml:5:12
      |
    5 |   workdir: ''
      |            ^^

    error: this is not a path
     --> Mockerfile.yaml:6:12
      |
    6 |   output: ['']
      |            ^^

    error: this command is empty
     --> Mockerfile.yaml:7:11
      |
    7 |   steps: [' ']
      |           ^^^

    error: `A=B` cannot be the name of an environment variable
     --> Mockerfile.yaml:8:14
      |
    8 |   env: {A=B: c}
      |              ^
    "
    );
}

#[test]
fn the_same_language_in_toml_and_json() {
    let toml =
        "apiVersion = 'v1alpha1'\n[[images]]\nname = 'a'\nfrom = 'debian:13'\nstep = ['make']\n";
    let source = Source::new("Mockerfile.toml", toml);
    insta::assert_snapshot!(render_all(&Plan::read(&source).unwrap_err(), &source), @"
    error: unknown key `step`
     --> Mockerfile.toml:5:1
      |
    5 | step = ['make']
      | ^^^^ did you mean `steps`?
    ");
    let json = r#"{"apiVersion": "v1alpha1", "images": [{"name": "a", "from": "debian:13", "steps": ["make"]}]}"#;
    assert!(Plan::read(&Source::new("Mockerfile.json", json)).is_ok());
}
