//! Text in request metadata: values that are not ASCII come escaped, see the key `<key>-encoded`.

use tonic::Status;
use tonic::metadata::MetadataMap;

/// All values of a key, unescaped.
pub(crate) fn all(metadata: &MetadataMap, key: &str) -> Result<Vec<String>, Status> {
    let invalid =
        || Status::invalid_argument(format!("invalid value of {key} in the request's metadata"));
    let encoded = metadata.contains_key(format!("{key}-encoded"));
    let values = metadata.get_all(key).iter().map(|value| {
        let text = value.to_str().map_err(|_| invalid())?;
        if encoded { unescape(text).ok_or_else(invalid) } else { Ok(text.to_owned()) }
    });
    values.collect()
}

/// The first value of a key; empty if there is none.
pub(crate) fn first(metadata: &MetadataMap, key: &str) -> Result<String, Status> {
    Ok(all(metadata, key)?.into_iter().next().unwrap_or_default())
}

/// Undoes Go's `url.QueryEscape`.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits = [rest.next()?, rest.next()?];
                let [value] = <[u8; 1]>::try_from(hex::decode(digits).ok()?).ok()?;
                value
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_undone_or_refused() {
        assert_eq!(unescape("%C3%BC+x%2Fy").as_deref(), Some("ü x/y"));
        for wrong in ["%", "%4", "%zz", "%FF"] {
            assert_eq!(unescape(wrong), None, "{wrong}");
        }
    }
}
