//! What can go wrong between Kiln and a cloud, said so that a person can act on it.
//!
//! No message has an address with its query, which may be a login, and none a secret. What a server
//! said is shortened.

use crate::origin::Cause;

/// Of what a server said, so many characters are shown.
const MOST_WORDS: usize = 300;

/// Why a request to a cloud failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CloudError {
    /// No connection, or one that broke.
    #[error("{what}: cannot reach {host}: {cause}")]
    Unreachable {
        /// What was asked for.
        what: String,
        /// Host and port.
        host: String,
        /// What the network said.
        cause: String,
    },
    /// It answered too slowly or not at all.
    #[error("{what}: {host} {fault}")]
    Stalled {
        /// What was asked for.
        what: String,
        /// Host and port.
        host: String,
        /// What it did, and for how long.
        fault: String,
    },
    /// An answer that is not success.
    #[error("{what}: {host} answered {status}{said}{}", advice(*status))]
    Status {
        /// What was asked for.
        what: String,
        /// Host and port.
        host: String,
        /// The HTTP status.
        status: u16,
        /// The server's own words, after a colon.
        said: String,
    },
    /// The answer is against the protocol.
    #[error("{what}: {host} sent something unusable: {why}")]
    Protocol {
        /// What was asked for.
        what: String,
        /// Host and port.
        host: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing was sent, because there is no login.
    #[error("{what}: no login for {host}: {cause}")]
    NoLogin {
        /// What was asked for.
        what: String,
        /// Host and port.
        host: String,
        /// Why there is none.
        cause: String,
    },
    /// What is uploaded could not be read, or is something else.
    #[error("{what} could not be read")]
    Body {
        /// The blob.
        what: String,
        /// Why.
        source: Cause,
    },
}

fn advice(status: u16) -> &'static str {
    match status {
        401 | 403 => " (the login is missing, wrong, or may not do this)",
        429 => " (it limits the rate of requests; try later)",
        _ => "",
    }
}

/// What a server said in the body of an error: XML or JSON with a code and a message. Empty if it
/// said nothing that can be understood.
pub(crate) fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let (code, message) = match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(json) => {
            let field = |names: [&str; 2]| {
                let found = names.iter().find_map(|name| json[*name].as_str());
                found.map(str::to_owned)
            };
            (field(["code", "typeKey"]), field(["msg", "message"]))
        }
        Err(_) => (element(&text, "Code"), element(&text, "Message")),
    };
    let words: Vec<String> = [code, message].into_iter().flatten().collect();
    let words = words.join(": ");
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    let words: String = words.trim().chars().take(MOST_WORDS).map(clean).collect();
    if words.is_empty() { words } else { format!(": {words}") }
}

/// The text of the first element of a name in XML without attributes of interest.
pub(crate) fn element(xml: &str, name: &str) -> Option<String> {
    let (_, after) = xml.split_once(&format!("<{name}>"))?;
    let (text, _) = after.split_once(&format!("</{name}>"))?;
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&amp;", "&")];
    Some(entities.iter().fold(text.to_owned(), |text, (entity, c)| text.replace(entity, c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_has_its_say_in_xml_and_json() {
        let xml =
            b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>a &lt;b&gt;</Message>";
        assert_eq!(said(xml), ": NoSuchKey: a <b>");
        assert_eq!(
            said(br#"{"code":"already_exists","msg":"it is there"}"#),
            ": already_exists: it is there"
        );
        assert_eq!(said(b"<html>Bad gateway</html>"), "");
        assert_eq!(said(format!("<Message>{}</Message>", "x".repeat(999)).as_bytes()).len(), 302);
    }
}
