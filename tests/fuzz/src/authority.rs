//! The bytes of an HTTP/2 client: the first byte says in which pieces they arrive.

use bytes::BytesMut;
use kiln_wire::authority::{Filter, FilterError};

pub(crate) fn run(bytes: &[u8]) {
    let Some((piece, sent)) = bytes.split_first() else { return };
    let whole = filtered(sent, usize::MAX);
    assert_eq!(whole, filtered(sent, usize::from(*piece).max(1)), "pieces make no difference");
    let Ok(out) = whole else { return };
    // Text of one byte may stand for a whole entry of the table, and for no more.
    assert!(out.len() <= 4096 * (sent.len() + 1), "{} bytes of {}", out.len(), sent.len());
    assert_eq!(filtered(&out, usize::MAX).as_ref(), Ok(&out), "what is fine is left alone");
}

fn filtered(sent: &[u8], piece: usize) -> Result<Vec<u8>, FilterError> {
    let (mut filter, mut out) = (Filter::default(), BytesMut::new());
    sent.chunks(piece).try_for_each(|piece| filter.feed(piece, &mut out))?;
    out.extend_from_slice(&filter.finish());
    Ok(out.to_vec())
}
