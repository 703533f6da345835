//! Sources of `ADD` that are elsewhere: files of the web and repositories.
//!
//! Which text is which is a matter of compatibility: a URL that ends in `.git` is a repository, and
//! `github.com/acme/app` is a path, although a build context may be written so.

use kiln_sdk::frontend::GitRef;

use crate::mistake::Mistake;

/// The name of a file whose URL has none.
const UNNAMED: &str = "__unnamed__";

/// The repository that a source is, if it is one.
///
/// # Errors
///
/// It is one, but what it says of it makes no sense.
pub fn git(text: &str) -> Result<Option<GitRef>, Mistake> {
    match GitRef::parse(text) {
        Ok(git) => Ok((!git.looks_local).then_some(git)),
        Err(error) if error.is_git() => Err(Mistake::new(error.to_string())),
        Err(_) => Ok(None),
    }
}

/// Whether a source is a file of the web.
pub fn is_http(text: &str) -> bool {
    (text.starts_with("http://") || text.starts_with("https://")) && GitRef::parse(text).is_err()
}

/// The name of the file behind a URL: the last part of its path.
pub fn file_name(url: &str) -> String {
    let unnamed = || UNNAMED.to_owned();
    let Some((_, rest)) = url.split_once("://") else { return unnamed() };
    let rest = rest.split('#').next().unwrap_or_default();
    if rest.bytes().any(|byte| byte.is_ascii_control()) {
        return unnamed();
    }
    let rest = rest.split('?').next().unwrap_or_default();
    let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or_default();
    let Some(path) = unescaped(path) else { return unnamed() };
    let path = path.trim_end_matches('/');
    match path.rsplit('/').next() {
        None | Some("" | ".") => unnamed(),
        Some(name) => name.to_owned(),
    }
}

/// A path without percent escapes; nothing if one is wrong.
fn unescaped(path: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_named_by_the_last_part_of_its_path() {
        for (url, want) in [
            ("https://example.com/a/b.tgz?x=/y#z", "b.tgz"),
            ("https://example.com/a%20b/", "a b"),
            ("https://example.com", UNNAMED),
            ("https://example.com/", UNNAMED),
            ("https://example.com/%zz", UNNAMED),
            ("https://example.com/a?b\u{7f}", UNNAMED),
            ("https://example.com/a#b\u{7f}", "a"),
        ] {
            assert_eq!(file_name(url), want, "{url}");
        }
    }
}
