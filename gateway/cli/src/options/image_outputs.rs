//! `--tag`, `--push` and `--load`: outputs as `docker build` has them, beside `--output`.

use std::collections::BTreeMap;

use kiln_oci::Reference;

use super::OptionError;
use super::export::{Dest, Export, ExportKind};

const NAME: &str = "name";

/// What the flags ask for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ImageOutputs<'a> {
    /// Each `--output`.
    pub outputs: &'a [String],
    /// Each `--tag`.
    pub tags: &'a [String],
    /// `--push`.
    pub push: bool,
    /// `--load`.
    pub load: bool,
}

/// All outputs. An image that has no name gets the tags; tags alone are an image in the store.
///
/// # Errors
///
/// As [`Export::parse`], if a tag is no name, or if what is to be pushed has none.
pub(crate) fn exports(asked: ImageOutputs<'_>, terminal: bool) -> Result<Vec<Export>, OptionError> {
    let mut exports = Export::parse_all(asked.outputs, terminal)?;
    for tag in asked.tags {
        tag.parse::<Reference>()
            .map_err(|error| OptionError::new("--tag", tag, error.docker_text()))?;
    }
    let is_image = |export: &Export| export.kind == ExportKind::Image;
    if asked.push {
        if !exports.iter().any(is_image) {
            exports.push(plain(ExportKind::Image, Dest::Nothing));
        }
        for export in exports.iter_mut().filter(|export| is_image(export)) {
            export.attrs.insert("push".to_owned(), "true".to_owned());
        }
    }
    if asked.load {
        exports.push(plain(ExportKind::Docker, Dest::Load));
    }
    if exports.is_empty() && !asked.tags.is_empty() {
        exports.push(plain(ExportKind::Image, Dest::Nothing));
    }
    if !asked.tags.is_empty() {
        for export in exports.iter_mut().filter(|export| export.kind.is_image()) {
            export.attrs.entry(NAME.to_owned()).or_insert_with(|| asked.tags.join(","));
        }
    }
    let nameless = |export: &Export| is_image(export) && !export.attrs.contains_key(NAME);
    if asked.push && exports.iter().any(nameless) {
        let reason = "what is pushed needs a name: add --tag REGISTRY/NAME";
        return Err(OptionError::of_flag("--push", reason));
    }
    Ok(exports)
}

fn plain(kind: ExportKind, dest: Dest) -> Export {
    Export { kind, attrs: BTreeMap::new(), dest }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(outputs: &[&str], tags: &[&str], push: bool, load: bool) -> String {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (outputs, tags) = (owned(outputs), owned(tags));
        match exports(ImageOutputs { outputs: &outputs, tags: &tags, push, load }, false) {
            Ok(exports) => {
                let text = |Export { kind, attrs, dest }: &Export| {
                    format!("{} {attrs:?} {dest:?}", kind.as_str())
                };
                exports.iter().map(text).collect::<Vec<_>>().join("; ")
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn tags_name_the_images_among_the_outputs() {
        assert_eq!(check(&[], &[], false, false), "");
        assert_eq!(check(&[], &["a", "b:1"], false, false), r#"image {"name": "a,b:1"} Nothing"#);
        assert_eq!(
            check(&["type=oci,dest=x", "type=docker,name=y,dest=z", "out"], &["a"], false, false),
            r#"oci {"name": "a"} File("x"); docker {"name": "y"} File("z"); local {} Directory("out")"#
        );
        assert!(check(&[], &["A B"], false, false).starts_with(r#"--tag "A B": "#));
    }

    #[test]
    fn what_is_pushed_and_loaded_is_an_image() {
        assert_eq!(
            check(&[], &["h/a"], true, true),
            r#"image {"name": "h/a", "push": "true"} Nothing; docker {"name": "h/a"} Load"#
        );
        assert_eq!(
            check(&["type=image,name=h/b"], &[], true, false),
            r#"image {"name": "h/b", "push": "true"} Nothing"#
        );
        assert!(check(&[], &[], true, false).starts_with("--push: what is pushed needs a name"));
    }
}
