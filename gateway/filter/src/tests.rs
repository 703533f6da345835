//! What matches, as containerd does it, and what is no filter.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::{Fields, Filter};

/// Fields of a record, with labels below a path of their own.
struct Record(BTreeMap<&'static str, &'static str>);

impl Fields for Record {
    fn field(&self, path: &[String]) -> Option<Cow<'_, str>> {
        self.0.get(path.join("/").as_str()).copied().map(Cow::Borrowed)
    }
}

fn record() -> Record {
    Record(BTreeMap::from([
        ("id", "abc"),
        ("type", "exec.cachemount"),
        ("mutable", "true"),
        ("inuse", "false"),
        ("description", "cached mount /root/.cache, from exec \"make\""),
        ("labels/very complex, label", "a b"),
        ("labels/plain", "x-y"),
    ]))
}

#[test]
fn selectors_match_as_containerd_does() {
    for (filters, expected) in [
        (vec![], true),
        (vec![""], true),
        (vec!["id==abc"], true),
        (vec!["id==ab"], false),
        (vec!["id!=ab"], true),
        (vec!["id~=^a.c$"], true),
        (vec![r#"id ~= "^a.c$" , mutable"#], true),
        (vec!["type==exec.cachemount,mutable"], true),
        (vec!["type==exec.cachemount,inuse"], false),
        (vec!["type==regular", "id==abc"], true),
        (vec!["mutable==true", "id==x"], true),
        (vec!["nothing"], false),
        (vec!["nothing!=x"], true),
        (vec!["nothing==x"], false),
        (vec!["description~=/cached mount/"], true),
        (vec![r"description~=/mount \/root\/\.cache/"], true),
        (vec![r#"description=="cached mount /root/.cache, from exec \"make\"""#], true),
        (vec![r"description~=|mount /root/\.cache|, mutable"], true),
        (vec![r#"labels."very complex, label"=="a b""#], true),
        (vec![r#""labels".plain==x-y"#], true),
        (vec!["labels . plain == x-y"], true),
        (vec![r#"id=="\x61\142\u0063""#], true),
        (vec![r"id~=/^\w+$/"], true),
    ] {
        let filter = Filter::parse(&filters).unwrap();
        assert_eq!(filter.matches(&record()), expected, "{filters:?}");
    }
}

#[test]
fn what_is_no_filter_is_said_with_its_place() {
    let problem = |filter: &str| Filter::parse(&[filter]).unwrap_err().to_string();
    insta::assert_snapshot!(
        problem("==x"),
        @"filter `==x`, column 1: expected a field, found `==x`"
    );
    insta::assert_snapshot!(
        problem("id=x"),
        @"filter `id=x`, column 3: expected `,` or the end or ==, != or ~=, found `=x`"
    );
    insta::assert_snapshot!(
        problem("id==a,"),
        @"filter `id==a,`, column 7: expected a field, found the end"
    );
    insta::assert_snapshot!(
        problem("id==\"x"),
        @r#"filter `id=="x`, column 7: expected a closed quote, found the end"#
    );
    insta::assert_snapshot!(
        problem("id==/x/"),
        @"filter `id==/x/`, column 5: expected a value, found `/x/`"
    );
    assert!(problem("id~=(").contains("column 5: no regular expression"));
    assert!(problem(&"a".repeat(20_000)).contains("longer than"));
}

#[test]
fn a_filter_without_conditions_is_empty() {
    assert!(Filter::default().is_empty());
    assert!(Filter::parse(&["", "id==a"]).unwrap().is_empty());
    assert!(!Filter::parse(&["id==a"]).unwrap().is_empty());
}
