//! What a request and its answer say: where it goes, what is passed on, what can be known of it.

use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode};
use url::Url;

use crate::capture::Reason;

/// Headers that are between two neighbours and not for those behind them.
const OF_CONNECTION: &[HeaderName] = &[
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// The same, which have no names in the library.
const OF_CONNECTION_BY_NAME: &[&str] = &["keep-alive", "proxy-connection"];
/// What stands for credentials.
const HIDDEN: &str = "xxxxx";

/// Where a request goes: `authority` is that of the tunnel it came through, or its own.
pub(crate) fn target(scheme: &str, authority: &str, path: &str) -> Result<Url, String> {
    let text = format!("{scheme}://{authority}{}", if path.is_empty() { "/" } else { path });
    let url = Url::parse(&text).map_err(|error| format!("{text:?} is no address: {error}"))?;
    check(&url)?;
    Ok(url)
}

/// Whether something can be asked there.
pub(crate) fn check(url: &Url) -> Result<(), String> {
    match (url.scheme(), url.host_str()) {
        ("http" | "https", Some(host)) if !host.is_empty() => Ok(()),
        _ => Err(format!("{:?} is no address of HTTP", shown(url))),
    }
}

/// An address as it is noted: without credentials, or a port that is the usual one.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    if url.password().is_some() {
        url.set_password(Some(HIDDEN)).ok();
    }
    if !url.username().is_empty() {
        url.set_username(HIDDEN).ok();
    }
    url.set_fragment(None);
    url.to_string()
}

/// Where an answer leads.
pub(crate) fn redirect(url: &Url, headers: &HeaderMap) -> Option<String> {
    let location = headers.get(header::LOCATION)?.to_str().ok()?;
    let to = shown(&url.join(location).ok()?);
    (to != shown(url)).then_some(to)
}

/// Takes out what is not passed on.
pub(crate) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(OF_CONNECTION) {
        headers.remove(name);
    }
    for name in OF_CONNECTION_BY_NAME {
        headers.remove(*name);
    }
}

/// Takes out what is not passed on of a request. What is fetched is to be what its server has, so that
/// its digest is that of the file.
pub(crate) fn strip_request(headers: &mut HeaderMap) {
    strip(headers);
    headers.remove(header::ACCEPT_ENCODING);
    headers.remove(header::EXPECT);
    headers.remove(header::HOST);
}

/// Why it cannot be known what is fetched, as far as this is decided when the answer begins.
pub(crate) fn gap(method: &Method, is_partial: bool, status: StatusCode) -> Option<Reason> {
    if method != Method::GET {
        return Some(Reason::Method);
    }
    if is_partial || status == StatusCode::PARTIAL_CONTENT {
        return Some(Reason::Partial);
    }
    None
}

/// The same, when its end has come.
pub(crate) fn gap_at_end(status: StatusCode, is_whole: bool) -> Option<Reason> {
    match (is_whole, status.as_u16()) {
        (false, _) => Some(Reason::BodyFailed),
        (true, 400..) => Some(Reason::Unsuccessful),
        (true, _) => None,
    }
}
