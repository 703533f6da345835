//! Text of strangers in lines of ours: words are quoted where they would run together, characters
//! that move the cursor are spelled out, digests and long data are cut short.

use std::fmt::Write as _;

use kiln_oci::Digest;

/// How many bytes of a file's content are shown; longer ones are named by size and digest.
const MAX_CONTENT_BYTES: usize = 4 << 10;

/// A word as a shell would need it: in quotes if it has spaces or signs in it.
pub(crate) fn word(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,^~{}[]*?!#".contains(c);
    if text.chars().any(char::is_control) {
        quoted(text)
    } else if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else if text.contains('\'') {
        quoted(text)
    } else {
        format!("'{text}'")
    }
}

/// Words in a row.
pub(crate) fn words<S: AsRef<str>>(all: &[S]) -> String {
    let all: Vec<String> = all.iter().map(|text| word(text.as_ref())).collect();
    all.join(" ")
}

/// Text on one line: characters that would break it are spelled out.
pub(crate) fn inline(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_owned();
    }
    text.chars().map(escaped).collect()
}

/// Text on several lines as it is, but for characters that would move the cursor.
pub(crate) fn block(text: &str) -> String {
    text.split('\n').map(inline).collect::<Vec<_>>().join("\n")
}

/// Text in double quotes.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c => out.push_str(&escaped(c)),
        }
    }
    out.push('"');
    out
}

fn escaped(c: char) -> String {
    match c {
        '\n' => "\\n".into(),
        '\t' => "\\t".into(),
        '\r' => "\\r".into(),
        c if c.is_control() => {
            let mut out = String::new();
            // Writing to a string cannot fail.
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            out
        }
        c => c.into(),
    }
}

/// A file's content: in quotes if it is one line, below each other if it is several, by size and
/// digest if it is long or no text.
pub(crate) fn content(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if bytes.len() <= MAX_CONTENT_BYTES => {
            let inner = text.strip_suffix('\n').unwrap_or(text);
            if inner.contains('\n') { format!("\n{}", block(text)) } else { quoted(text) }
        }
        _ => format!("({} bytes, {})", bytes.len(), shortened(Digest::sha256(bytes).as_str())),
    }
}

/// The same text with every sha256 digest cut to twelve digits.
pub(crate) fn shortened(text: &str) -> String {
    const SCHEME: &str = "sha256:";
    const SHOWN: usize = 12;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(SCHEME) {
        let (before, digest) = rest.split_at(at + SCHEME.len());
        out.push_str(before);
        let digits = digest.bytes().take_while(u8::is_ascii_hexdigit).count();
        let shown = if digits == 64 { SHOWN } else { digits };
        out.push_str(&digest[..shown]);
        rest = &digest[digits..];
    }
    out.push_str(rest);
    out
}

/// A text cut to a number of characters.
pub(crate) fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        None => text.to_owned(),
        Some(_) => {
            let kept: String = text.chars().take(most.saturating_sub(1)).collect();
            format!("{}…", kept.trim_end())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_they_would_run_together() {
        let all = ["make", "-j4", "a b", "", "it's", "x\ny", "$HOME", "a\\b"];
        assert_eq!(words(&all), r#"make -j4 'a b' '' "it's" "x\ny" '$HOME' 'a\b'"#);
    }

    #[test]
    fn nothing_of_a_stranger_moves_the_cursor() {
        assert_eq!(inline("a\u{1b}[2Jb\r"), "a\\u{1b}[2Jb\\r");
        assert_eq!(block("a\u{8}\nb"), "a\\u{8}\nb");
    }

    #[test]
    fn digests_are_cut_and_what_looks_like_one_is_not() {
        let digest = Digest::sha256("x").to_string();
        let want = format!("a@{} sha256:abc", &digest[..19]);
        assert_eq!(shortened(&format!("a@{digest} sha256:abc")), want);
    }

    #[test]
    fn content_shows_as_what_it_is() {
        assert_eq!(content(b"hi\n"), r#""hi\n""#);
        assert_eq!(content(b"a\nb\n"), "\na\nb\n");
        assert_eq!(
            content(&[0xff, 0]),
            format!("(2 bytes, {})", shortened(Digest::sha256([0xff, 0]).as_str()))
        );
        assert!(content(&[b'a'; 5000]).starts_with("(5000 bytes, sha256:"));
    }

    #[test]
    fn long_text_ends_with_dots() {
        assert_eq!(cut("abcdef", 4), "abc…");
        assert_eq!(cut("abcd", 4), "abcd");
    }
}
