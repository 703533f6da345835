//! Keys of files by URL, and the name that such a file gets.

use kiln_oci::Digest;
use kiln_paths::path::base;
use kiln_pb::gojson::{Json, Object};

use super::SourceKey;

/// The longest name a file system takes, in bytes.
const LONGEST_NAME: usize = 255;

/// What the key of a file by URL is made of. The URL is not.
#[derive(Clone, Copy, Debug)]
pub struct HttpKey<'a> {
    /// Its name; see [`filename`].
    pub filename: &'a str,
    /// Its permissions; 0 if none were asked for.
    pub perm: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its digest.
    pub checksum: &'a Digest,
    /// When the server says it was changed, as a date of HTTP. Unknown, hence empty, of a file whose
    /// digest was given: the server is not asked.
    pub last_modified: &'a str,
    /// The secret with the Authorization header.
    pub auth_header_secret: &'a str,
    /// The Accept header.
    pub accept: &'a str,
    /// The User-Agent header.
    pub user_agent: &'a str,
}

/// A header of the user's.
struct Header<'a>(&'static str, &'a str);

impl Json for Header<'_> {
    fn fields(&self, object: &mut Object<'_>) {
        object.always_text("Name", self.0);
        object.always_text("Value", self.1);
    }
}

impl HttpKey<'_> {
    /// The key.
    pub fn key(&self) -> SourceKey {
        let headers = [Header("Accept", self.accept), Header("User-Agent", self.user_agent)];
        let headers = headers.into_iter().filter(|header| !header.1.is_empty());
        let mut json = String::new();
        let mut object = Object::open(&mut json);
        object.always_text("Filename", self.filename);
        object.always("Perm", self.perm);
        object.always("UID", self.uid);
        object.always("GID", self.gid);
        object.always_text("Checksum", self.checksum.as_str());
        object.text("LastModTime", self.last_modified);
        object.text("AuthHeaderSecret", self.auth_header_secret);
        object.messages("Header", &headers.collect::<Vec<_>>());
        object.close();
        SourceKey::new(Digest::sha256(json).to_string())
    }
}

/// The name a file gets: the user's, else the server's, else the URL's, else `download`; never one
/// that leaves its directory. `disposition` is the Content-Disposition header.
pub fn filename(url: &str, wanted: &str, disposition: Option<&str>) -> String {
    let name = match (wanted, disposition.and_then(disposition_name)) {
        ("", Some(name)) => name,
        ("", None) => url_name(url).unwrap_or_default(),
        (wanted, _) => wanted.to_owned(),
    };
    safe(&name)
}

/// The last element of the path, unescaped.
fn url_name(url: &str) -> Option<String> {
    let (_, rest) = url.split_once("://")?;
    let rest = rest.split(['?', '#']).next()?;
    let path = unescape(&rest[rest.find('/')?..]);
    Some(base(&path).to_owned())
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
pub(super) fn safe(name: &str) -> String {
    let name = name.trim().trim_end_matches('/').rsplit('/').next().unwrap_or_default();
    match name {
        "" | "." | ".." => "download".to_owned(),
        _ if name.chars().any(char::is_control) => "download".to_owned(),
        _ => {
            let mut end = name.len().min(LONGEST_NAME);
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
            ("http://x", " a b ", "", "a b"),
            ("http://x", "a\nb", "", "download"),
            ("http://x?a/b", "", "", "download"),
        ] {
            let disposition = Some(disposition).filter(|text| !text.is_empty());
            assert_eq!(filename(url, wanted, disposition), name, "{url} {wanted} {disposition:?}");
        }
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        assert_eq!(safe(&"ü".repeat(200)).len(), 254);
    }
}
