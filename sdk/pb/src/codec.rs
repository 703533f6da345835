//! prost as the generated messages see it: prost's own, with another way to write maps.
//!
//! An entry of a map is a message with a key and a value. prost leaves out the one or the other where
//! it is the default, as protobuf allows; BuildKit's decoder then has a null pointer for a value that
//! is a message, and its clients crash on it. Go writes both in any case, and so does this module.

pub(crate) use ::prost::*;

/// The encodings of fields.
pub(crate) mod encoding {
    pub(crate) use ::prost::encoding::*;

    /// Maps in the order of their keys.
    pub(crate) mod btree_map {
        use std::collections::BTreeMap;

        use ::prost::bytes::BufMut;
        use ::prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

        pub(crate) use ::prost::encoding::btree_map::merge;

        /// The field number of the key in an entry.
        const KEY: u32 = 1;
        /// The field number of the value in an entry.
        const VALUE: u32 = 2;

        /// Writes all entries of a map.
        pub(crate) fn encode<K, V, B: BufMut>(
            key_encode: impl Fn(u32, &K, &mut B),
            key_encoded_len: impl Fn(u32, &K) -> usize,
            value_encode: impl Fn(u32, &V, &mut B),
            value_encoded_len: impl Fn(u32, &V) -> usize,
            tag: u32,
            values: &BTreeMap<K, V>,
            buf: &mut B,
        ) {
            for (key, value) in values {
                let len = key_encoded_len(KEY, key) + value_encoded_len(VALUE, value);
                encode_key(tag, WireType::LengthDelimited, buf);
                encode_varint(len as u64, buf);
                key_encode(KEY, key, buf);
                value_encode(VALUE, value, buf);
            }
        }

        /// How many bytes [`encode`] writes.
        pub(crate) fn encoded_len<K, V>(
            key_encoded_len: impl Fn(u32, &K) -> usize,
            value_encoded_len: impl Fn(u32, &V) -> usize,
            tag: u32,
            values: &BTreeMap<K, V>,
        ) -> usize {
            let entry = |(key, value): (&K, &V)| {
                let len = key_encoded_len(KEY, key) + value_encoded_len(VALUE, value);
                key_len(tag) + encoded_len_varint(len as u64) + len
            };
            values.iter().map(entry).sum()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use prost::Message;

    use crate::{control, gateway, pb};

    fn one<V>(key: &str, value: V) -> BTreeMap<String, V> {
        [(key.to_owned(), value)].into()
    }

    /// Checks the bytes, that they are as many as foretold, and that they are read again.
    fn check<M: Message + Default + PartialEq + std::fmt::Debug>(message: &M, bytes: &[u8]) {
        assert_eq!(message.encode_to_vec(), bytes);
        assert_eq!(message.encoded_len(), bytes.len());
        assert_eq!(M::decode(bytes).unwrap(), *message);
    }

    #[test]
    fn every_entry_of_a_map_has_key_and_value() {
        let locations = pb::Source { locations: one("v", Default::default()), infos: Vec::new() };
        check(&locations, b"\x0a\x05\x0a\x01v\x12\x00");
        let definition =
            pb::Definition { metadata: one("v", Default::default()), ..Default::default() };
        check(&definition, b"\x12\x05\x0a\x01v\x12\x00");
        let inputs = gateway::InputsResponse { definitions: one("i", Default::default()) };
        check(&inputs, b"\x0a\x05\x0a\x01i\x12\x00");
        let refs = gateway::RefMap { refs: one("p", Default::default()) };
        check(&refs, b"\x0a\x05\x0a\x01p\x12\x00");
        let no_key = gateway::RefMap { refs: one("", Default::default()) };
        check(&no_key, b"\x0a\x04\x0a\x00\x12\x00");
        let request = control::SolveRequest {
            frontend_inputs: one("i", Default::default()),
            ..Default::default()
        };
        check(&request, b"\x52\x05\x0a\x01i\x12\x00");
    }

    #[test]
    fn scalars_are_written_like_messages() {
        let op = pb::SourceOp { identifier: String::new(), attrs: one("a", String::new()) };
        check(&op, b"\x12\x05\x0a\x01a\x12\x00");
        let caps = pb::OpMetadata { caps: one("c", false), ..Default::default() };
        check(&caps, b"\x2a\x05\x0a\x01c\x10\x00");
        let full = pb::OpMetadata { caps: one("c", true), ..Default::default() };
        check(&full, b"\x2a\x05\x0a\x01c\x10\x01");
    }
}
