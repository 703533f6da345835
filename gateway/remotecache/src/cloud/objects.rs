//! A cache that is made of objects: a trait, and an implementation per kind of cloud.
//!
//! There is no manifest. Every layer is an object that is called by its digest, and the config, which
//! says of each layer what a manifest would, is another. A kind of cloud is a file with a
//! [`Backend`]; what records mean, and how layers come to be, is not known there.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::StreamExt as _;
use kiln_oci::{Descriptor, Digest};
use kiln_registry::BodySource;

use super::Clouds;
use super::asked::Asked;
use crate::attributes::AttributeError;
use crate::config::{CacheConfig, LayerAnnotations, parse_time, time_text};
use crate::import::{CREATED, UNCOMPRESSED};
use crate::origin::{ByteStream, CacheOrigin, Cause, Root};

/// A kind of cloud.
pub(crate) struct Backend {
    /// The type of its caches.
    pub(crate) kind: &'static str,
    /// Makes what reads and writes a cache there, given its attributes. Nothing is sent yet.
    pub(crate) open: Open,
}

/// Makes what reads and writes a cache, given its attributes.
type Open = fn(&Asked<'_>, &Clouds) -> Result<Arc<dyn ObjectCache>, AttributeError>;

/// A cache that is made of objects.
#[async_trait]
pub(crate) trait ObjectCache: std::fmt::Debug + Send + Sync {
    /// What progress calls its export.
    fn title(&self) -> &'static str;

    /// How many layers are written at once.
    fn parallelism(&self) -> usize;

    /// The configs of the cache, of which there may be several; none if it does not exist. Each has at
    /// most [`LARGEST_CONFIG`](crate::config::LARGEST_CONFIG) bytes.
    async fn configs(self: Arc<Self>) -> Result<Vec<Bytes>, Cause>;

    /// The bytes of a layer, unchecked.
    fn blob(self: Arc<Self>, descriptor: &Descriptor) -> ByteStream;

    /// Whether a layer is there.
    async fn has(self: Arc<Self>, descriptor: &Descriptor) -> Result<bool, Cause>;

    /// Puts a layer there, unless it is there.
    async fn put_blob(
        self: Arc<Self>,
        descriptor: &Descriptor,
        body: Arc<dyn BodySource>,
    ) -> Result<(), Cause>;

    /// Puts the config there, which makes the cache one that is found. All layers are there by then.
    async fn publish(self: Arc<Self>, config: Bytes) -> Result<(), Cause>;
}

/// A cache in a cloud, as a value among others.
#[derive(Clone, Debug)]
pub struct CloudCache(pub(crate) Arc<dyn ObjectCache>);

impl PartialEq for CloudCache {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for CloudCache {}

/// A cache that is read from objects.
pub(crate) struct InObjects(pub(crate) CloudCache);

#[async_trait]
impl CacheOrigin for InObjects {
    async fn root(&self, _: &[String]) -> Result<Root, Cause> {
        let configs = Arc::clone(&self.0.0).configs().await?;
        match configs.is_empty() {
            true => Err("there is no such cache yet".into()),
            false => Ok(Root::Configs(configs)),
        }
    }

    fn blob(&self, _: &[String], descriptor: &Descriptor) -> ByteStream {
        let wanted = descriptor.digest.clone();
        // What may be anything is not asked for.
        match wanted.algorithm() {
            "sha256" => Arc::clone(&self.0.0).blob(descriptor),
            _ => futures::stream::iter([Err(format!("{wanted} is no sha256").into())]).boxed(),
        }
    }

    async fn has(&self, _: &[String], descriptor: &Descriptor) -> bool {
        let has = Arc::clone(&self.0.0).has(descriptor).await;
        has.unwrap_or_else(|error| {
            let error = crate::progress::chain(&*error);
            tracing::info!(error, "a layer of an imported cache cannot be found");
            false
        })
    }
}

/// The layers of a config, by what it says of them. Of one that lacks something nothing can be used.
pub(crate) fn layers_of(config: &CacheConfig) -> BTreeMap<Digest, Descriptor> {
    let layer = |layer: &crate::config::ConfigLayer| {
        let annotations = layer.annotations.as_ref()?;
        let diff_id = annotations.diff_id.as_ref()?;
        let size = u64::try_from(annotations.size).ok()?;
        let mut descriptor = Descriptor::new(&annotations.media_type, layer.blob.clone(), size);
        descriptor.annotations.insert(UNCOMPRESSED.into(), diff_id.to_string());
        if parse_time(&annotations.created_at) != 0 {
            descriptor.annotations.insert(CREATED.into(), annotations.created_at.clone());
        }
        Some((layer.blob.clone(), descriptor))
    };
    config.layers.iter().filter_map(layer).collect()
}

/// Says in a config what there is to say about its layers, which are in the same order.
///
/// # Errors
///
/// If it is not known what is in a layer.
pub(crate) fn annotate<'a>(
    config: &mut CacheConfig,
    layers: impl IntoIterator<Item = &'a Descriptor>,
) -> Result<(), Cause> {
    for (layer, descriptor) in config.layers.iter_mut().zip(layers) {
        let diff_id = descriptor.annotations.get(UNCOMPRESSED).and_then(|text| text.parse().ok());
        let diff_id: Digest = diff_id.ok_or_else(|| {
            format!("it is not known what layer {} is uncompressed", descriptor.digest)
        })?;
        let created = descriptor.annotations.get(CREATED).map_or(0, |text| parse_time(text));
        layer.annotations = Some(LayerAnnotations {
            media_type: descriptor.media_type.clone(),
            diff_id: Some(diff_id),
            size: i64::try_from(descriptor.size)?,
            created_at: time_text(created),
        });
    }
    Ok(())
}

/// A key as it stands in the path of an address: everything but letters, digits, `-_.~` and slashes is
/// escaped.
pub(crate) fn encoded(key: &str) -> String {
    escaped(key, b"-_.~/")
}

/// A text in which all bytes are escaped but letters, digits and these.
pub(crate) fn escaped(text: &str, plain: &[u8]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            true => escaped.push(char::from(byte)),
            // Writing to a string cannot fail.
            false => write!(escaped, "%{byte:02X}").unwrap_or_default(),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_config_says_of_its_layers_what_buildkit_says() {
        let (blob, diff_id) = (Digest::sha256("blob"), Digest::sha256("tar"));
        let json = format!(
            r#"{{"layers":[{{"blob":"{blob}","parent":-1,"annotations":{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","diffID":"{diff_id}","size":32,"createdAt":"2026-11-28T16:37:14.226798107Z"}}}}]}}"#
        );
        let config = CacheConfig::parse(json.as_bytes()).unwrap();
        let layers = layers_of(&config);
        assert_eq!(layers[&blob].size, 32);
        let mut again = config.clone();
        again.layers[0].annotations = None;
        assert!(layers_of(&again).is_empty());
        annotate(&mut again, layers.values()).unwrap();
        assert_eq!(serde_json::to_string(&again).unwrap(), json);
        let mut bare = Descriptor::new("", blob, 1);
        assert!(annotate(&mut again, [&bare]).is_err());
        bare.annotations.insert(UNCOMPRESSED.into(), diff_id.to_string());
        annotate(&mut again, [&bare]).unwrap();
        let text = serde_json::to_string(&again).unwrap();
        assert!(text.contains(r#""createdAt":"0001-01-01T00:00:00Z""#), "{text}");
    }

    #[test]
    fn keys_are_escaped_byte_by_byte() {
        assert_eq!(encoded("blobs/sha256:a~b c+ü"), "blobs/sha256%3Aa~b%20c%2B%C3%BC");
    }
}
