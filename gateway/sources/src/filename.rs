//! The name a downloaded file gets.
//!
//! The user's, else the server's, else the URL's, else `download`; never one that leaves its
//! directory.

use http::HeaderMap;
use http::header::CONTENT_DISPOSITION;
use url::Url;

/// The longest name a file system takes, in bytes.
const LONGEST: usize = 255;

/// Picks the name of a file.
pub(crate) fn filename(url: &str, wanted: &str, headers: Option<&HeaderMap>) -> String {
    let disposition = headers
        .and_then(|headers| headers.get(CONTENT_DISPOSITION)?.to_str().ok())
        .and_then(disposition_name);
    let name = match (wanted, disposition) {
        ("", Some(name)) => name,
        ("", None) => url_name(url).unwrap_or_default(),
        (wanted, _) => wanted.to_owned(),
    };
    safe(&name)
}

/// The last element of the path, unescaped.
fn url_name(url: &str) -> Option<String> {
    let url = Url::parse(url).ok()?;
    let last = url.path_segments()?.rfind(|segment| !segment.is_empty())?;
    Some(unescape(last))
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => (plain.push(byte), at += 3),
            None => (plain.push(bytes[at]), at += 1),
        };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The `filename` parameter of a Content-Disposition, last element only.
fn disposition_name(text: &str) -> Option<String> {
    let mut rest = text.split_once(';')?.1;
    loop {
        let (name, behind) = rest.split_once('=')?;
        let behind = behind.trim_start();
        let (value, next) = match behind.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"')?;
                (&quoted[..end], quoted[end + 1..].split_once(';').map_or("", |(_, next)| next))
            }
            None => behind.split_once(';').unwrap_or((behind, "")),
        };
        if name.trim().eq_ignore_ascii_case("filename") {
            let value = value.trim();
            let last = value.rsplit('/').next().unwrap_or_default();
            return (!last.is_empty()).then(|| last.to_owned());
        }
        rest = next;
    }
}

/// A name that is one element of a path.
fn safe(name: &str) -> String {
    let name = name.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    let name: String = name.chars().filter(|c| *c != '\0').collect();
    match name.as_str() {
        "" | "." | ".." => "download".to_owned(),
        _ => {
            let mut end = name.len().min(LONGEST);
            while !name.is_char_boundary(end) {
                end -= 1;
            }
            name[..end].to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_users_then_the_servers_then_the_urls() {
        let with = |url: &str, wanted: &str, disposition: &str| {
            let mut headers = HeaderMap::new();
            if !disposition.is_empty() {
                headers.insert(CONTENT_DISPOSITION, disposition.parse().unwrap());
            }
            filename(url, wanted, Some(&headers))
        };
        for (url, wanted, disposition, name) in [
            ("http://x/a/b.txt?q=1#f", "", "", "b.txt"),
            ("http://x/a/b.txt", "c", "attachment; filename=d", "c"),
            ("http://x/a", "", "attachment; size=1; FileName=\"d e;.txt\"", "d e;.txt"),
            ("http://x/a", "", "attachment; filename=\"../../etc/passwd\"", "passwd"),
            ("http://x/a", "", "attachment; filename=\"x/\"", "a"),
            ("http://x/a", "", "attachment; filename=\"", "a"),
            ("http://x/a%2Fb%20c/", "", "", "b c"),
            ("http://x/%2e%2e", "", "", "download"),
            ("http://x/", "", "", "download"),
            ("http://x", "..", "", "download"),
        ] {
            assert_eq!(with(url, wanted, disposition), name, "{url} {wanted} {disposition}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(safe(&"ü".repeat(200)).len(), 254);
    }
}
