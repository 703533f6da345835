//! What instructions mean, and the words for what is wrong with them.

use kiln_dockerfile::ast;
use kiln_dockerfile::instruction::{
    Command, Instruction, Mount, MountKind, Network, Security, Sharing, Statement,
};
use kiln_dockerfile::lint::{LintConfig, Linter};
use kiln_dockerfile::mistake::Mistake;

/// The only statement of a text.
fn statement(text: &str) -> Result<Statement, Mistake> {
    let ast = ast::parse(text).checked()?;
    assert_eq!(ast.instructions.len(), 1, "{text}");
    Statement::read(&ast.instructions[0], &mut Linter::silent())
}

fn instruction(text: &str) -> Instruction {
    match statement(text) {
        Ok(Statement::Instruction(instruction)) => instruction,
        other => panic!("{text}: {other:?}"),
    }
}

fn mistake(text: &str) -> String {
    statement(text).expect_err(text).message
}

/// The mount of a `RUN` whose variables all stand for `value`.
fn mount(text: &str, value: &str) -> Result<Mount, String> {
    let Command::Run(run) = instruction(&format!("RUN --mount={text} x")).command else {
        panic!("{text} is no RUN")
    };
    let mut expand = |word: &str| Ok(word.replace("$V", value));
    run.mounts[0].read(&mut expand).map_err(|mistake| mistake.message)
}

#[test]
fn mount_values_are_read_when_variables_are_known() {
    let cache = mount("type=$V,dst=/c,sharing=LOCKED,mode=0750,uid=$V0", "cache");
    assert_eq!(cache.unwrap_err(), "invalid value cache0 for uid");
    let cache = mount("type=cache,dst=/c,sharing=LOCKED,mode=0750,uid=$V0", "1").unwrap();
    let expected = Mount {
        kind: MountKind::Cache,
        target: "/c".into(),
        sharing: Some(Sharing::Locked),
        mode: Some(0o750),
        uid: Some(10),
        ..Mount::default()
    };
    assert_eq!(cache, expected);
}

#[test]
fn a_mount_is_read_only_unless_its_kind_or_the_user_says_otherwise() {
    for (text, readonly) in [
        ("target=/x", true),
        ("target=/x,rw", false),
        ("target=/x,readwrite=false", true),
        ("type=cache,target=/x", false),
        ("type=cache,target=/x,ro", true),
        ("type=tmpfs,target=/x", false),
        ("type=secret,id=x", true),
        ("type=ssh", true),
    ] {
        assert_eq!(mount(text, "").unwrap().readonly, readonly, "{text}");
    }
}

#[test]
fn keys_of_a_mount_that_depend_on_its_type_stand_behind_it() {
    let size = "invalid suffix";
    assert_eq!(mount("type=tmpfs,target=/x,size=64m", size).unwrap().size_bytes, 64 << 20);
    assert_eq!(
        mount("size=64m,type=tmpfs,target=/x", size).unwrap_err(),
        "unexpected key 'size' for mount type 'bind'"
    );
    assert!(mount("type=secret,id=x,required", "").unwrap().required);
    assert_eq!(
        mount("required,type=secret,id=x", "").unwrap_err(),
        "unexpected key 'required' for mount type 'bind'"
    );
}

#[test]
fn flags_of_a_run_have_values_and_are_remembered() {
    let text = "RUN --network=none --mount=type=tmpfs,target=/a --mount=target=/b,from=s \
                --security=insecure --device=vendor.com/d=x,required make";
    let Command::Run(run) = instruction(text).command else { panic!("{text} is no RUN") };
    assert_eq!((run.network, run.security), (Network::None, Security::Insecure));
    assert_eq!(run.flags, ["network", "mount", "security", "device"]);
    let froms: Vec<&str> = run.mounts.iter().map(|mount| mount.from.as_str()).collect();
    assert_eq!(froms, ["", "s"]);
    assert_eq!(run.devices[0].name, "vendor.com/d=x");
    assert!(run.devices[0].required);
    assert_eq!(run.command.args, ["make"]);
    assert!(run.command.shell);
}

#[test]
fn two_dashes_end_the_flags_of_an_instruction() {
    let Command::Copy(copy) = instruction("COPY --link -- --link /x").command else {
        panic!("no COPY")
    };
    assert!(copy.link);
    assert_eq!(copy.sources.paths, ["--link"]);
}

#[test]
fn the_last_heredoc_of_a_name_is_the_content_of_a_copied_file() {
    let text = "COPY <<-A <<'B' c /d/\n\t\ta $X\n\tA\nb $X\nB\n";
    let Command::Copy(copy) = instruction(text).command else { panic!("no COPY") };
    assert_eq!((copy.sources.paths, copy.sources.destination), (vec!["c".into()], "/d/".into()));
    let inline: Vec<_> = copy
        .sources
        .inline
        .iter()
        .map(|file| (file.name.as_str(), file.content.as_str(), file.expand))
        .collect();
    assert_eq!(inline, [("A", "a $X\n", true), ("B", "b $X\n", false)]);
}

#[test]
fn a_trigger_carries_its_heredocs() {
    let text = "onbuild  RUN <<EOF\nmake\nEOF\n";
    let Command::Onbuild(trigger) = instruction(text).command else { panic!("no ONBUILD") };
    assert_eq!(trigger, "RUN <<EOF\nmake\nEOF");
}

#[test]
fn a_trigger_of_an_image_is_no_from() {
    let ast = ast::parse("FROM x");
    let error = Instruction::read_trigger(&ast.instructions[0]).unwrap_err();
    assert_eq!(error.message, "*instructions.Stage is not a command type");
}

#[test]
fn comments_describe_stages_and_variables_by_name() {
    let text = "# app builds it all\nFROM x AS App\n";
    let Ok(Statement::From(from)) = statement(text) else { panic!("no FROM") };
    assert_eq!((from.name.as_deref(), from.description.as_str()), (Some("app"), "builds it all"));
    let Command::Arg(args) = instruction("# B the second\n# A the first\nARG A=1 B C\n").command
    else {
        panic!("no ARG")
    };
    let described: Vec<_> =
        args.iter().map(|arg| (arg.value.as_deref(), arg.description.as_str())).collect();
    assert_eq!(described, [(Some("1"), "the first"), (None, "the second"), (None, "")]);
}

#[test]
fn the_words_for_mistakes_are_those_that_tools_know() {
    for (text, words) in [
        ("RUNN x", "unknown instruction: RUNN (did you mean RUN?)"),
        ("COPY --form=a b /c", "unknown flag: --form (did you mean from?)"),
        ("COPY --link=maybe a /b", "expecting boolean value for flag --link, not: maybe"),
        ("COPY --chown a /b", "missing a value on flag: --chown"),
        ("RUN --network=x --network=y z", "duplicate flag specified: --network"),
        ("RUN --mount= x", "failed to parse csv mounts: EOF"),
        ("RUN --device=name=a,name=b x", "device name already set to a"),
        ("RUN --device=a,c x", "invalid field 'c' must be a key=value pair"),
        (
            "FROM a AS 1",
            "invalid name for build stage: \"1\", name can't start with a number or contain symbols",
        ),
        ("HEALTHCHECK --timeout=1us CMD x", "Interval \"timeout\" cannot be less than 1ms"),
    ] {
        assert_eq!(mistake(text), words, "{text}");
    }
}

#[test]
fn a_comment_hides_rules_for_one_instruction_only() {
    let told = |text: &str| {
        let mut linter = Linter::new(LintConfig::default());
        for node in &ast::parse(text).instructions {
            Statement::read(node, &mut linter).unwrap();
        }
        linter.warnings().iter().map(|warning| warning.short()).collect::<Vec<_>>()
    };
    let second = "MaintainerDeprecated: Maintainer instruction is deprecated in favor of using label (line 4)";
    for comment in ["check=skip=MaintainerDeprecated", "CHECK = skip=all", "check=skip=a, b"] {
        let hides = !comment.contains(", ");
        let text = format!("ARG A\n# {comment}\nMAINTAINER a\nMAINTAINER b\n");
        let told = told(&text);
        assert_eq!(told.len(), if hides { 1 } else { 2 }, "{comment}");
        assert_eq!(told.last().map(String::as_str), Some(second));
    }
}

#[test]
fn experimental_rules_apply_where_they_are_asked_for() {
    let told = |check: &str| {
        let mut linter = Linter::new(LintConfig::parse(check).unwrap());
        let ast = ast::parse("# something\nFROM x AS y\n");
        Statement::read(&ast.instructions[0], &mut linter).unwrap();
        linter.warnings().len()
    };
    assert_eq!(told(""), 0);
    assert_eq!(told("experimental=all"), 1);
    assert_eq!(told("skip=all;experimental=InvalidDefinitionDescription"), 1);
}
