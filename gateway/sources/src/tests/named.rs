//! Images that have a name in the store, with a registry, without one, and against one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use kiln_oci::{Descriptor, Digest};
use kiln_registry::{Documents, RegistryError};
use kiln_store::{LayerBlob, Ref};
use tokio::net::TcpListener;

use super::image::{Built, build, image, push, start, tar};
use super::{Room, chain};
use crate::{Metadata, NamedImage};

/// The documents of an image in memory.
struct Papers(BTreeMap<Digest, Bytes>);

#[async_trait]
impl Documents for Papers {
    async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, RegistryError> {
        Ok(self.0[&descriptor.digest].clone())
    }
}

/// Brings an image into the store and gives it a name there.
async fn shelve(room: &Room, built: &Built, name: &str) -> Ref {
    let mut files: Option<Ref> = None;
    for ((descriptor, bytes), diff_id) in built.blobs.iter().zip(&built.diff_ids) {
        let blob = room.store.write_blob(bytes.to_vec()).await.unwrap();
        let layer = LayerBlob { descriptor: descriptor.clone(), diff_id: diff_id.clone() };
        files = Some(room.store.apply(files.as_ref(), &layer).await.unwrap());
        drop(blob);
    }
    let files = files.unwrap();
    let root = built.manifest.0.clone();
    let papers = built.blobs.iter().chain([&built.manifest]).cloned();
    let papers = papers.map(|(descriptor, bytes)| (descriptor.digest, bytes)).collect();
    let named = NamedImage {
        root: root.clone(),
        since: SystemTime::now(),
        documents: Arc::new(Papers(papers)),
        files: [(root.digest, files.clone())].into(),
    };
    room.images.0.lock().unwrap().insert(name.parse().unwrap(), named);
    files
}

fn built(content: &str) -> Built {
    build(&[tar("a", content), tar("b", content)])
}

/// Nobody listens there.
const NOBODY: &str = "localhost:1/app:1";

#[tokio::test]
async fn a_named_image_is_used_when_the_registry_refuses() {
    let mut room = Room::new();
    let mine = built("mine");
    let files = shelve(&room, &mine, NOBODY).await;
    let source = image(NOBODY, &[]);
    let began = Instant::now();
    let pin = room.pin(&source).await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(900), "{:?}", began.elapsed());
    let Metadata::Image { reference, .. } = &pin.metadata else { panic!("{pin:?}") };
    assert_eq!(reference.digest(), Some(&mine.manifest.0.digest));
    assert_eq!(room.fetch(&source, &pin).await.unwrap().id(), files.id());
    let parts = room.parts();
    assert!(parts.contains(&format!("use {NOBODY} from the store")), "{parts:?}");
}

#[tokio::test]
async fn a_named_image_is_found_by_its_digest_without_asking_anybody() {
    let mut room = Room::new();
    let mine = built("mine");
    let files = shelve(&room, &mine, NOBODY).await;
    let source = image(&format!("{NOBODY}@{}", mine.manifest.0.digest), &[]);
    assert_eq!(room.get(&source).await.unwrap().id(), files.id());
    assert!(!room.parts().iter().any(|part| part.contains("from the store")));
}

#[tokio::test]
async fn a_registry_that_does_not_answer_is_not_waited_for() {
    // Connections are accepted by the kernel, and nobody says anything on them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let name = format!("{}/app:1", silent.local_addr().unwrap());
    let room = Room::new();
    let files = shelve(&room, &built("mine"), &name).await;
    let began = Instant::now();
    assert_eq!(room.get(&image(&name, &[])).await.unwrap().id(), files.id());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn where_a_registry_answers_it_says_what_a_tag_means() {
    let Some(server) = start() else { return };
    let room = Room::new();
    let (mine, theirs) = (built("mine"), built("theirs"));
    let name = format!("{}/app:1", server.host());
    let files = shelve(&room, &mine, &name).await;
    // It has no such image yet.
    assert_eq!(room.get(&image(&name, &[])).await.unwrap().id(), files.id());
    push(&theirs, &name).await;
    let pulled = room.get(&image(&name, &[])).await.unwrap();
    assert_eq!(pulled.diff_ids(), Some(theirs.diff_ids.clone()));
    // What has the name latest has it, for who wants the image that is here.
    let local = image(&name, &[("image.resolvemode", "local")]);
    assert_eq!(room.get(&local).await.unwrap().id(), pulled.id());
    let files = shelve(&room, &mine, &name).await;
    assert_eq!(room.get(&local).await.unwrap().id(), files.id());
}

#[tokio::test]
async fn who_wants_to_pull_does_not_get_a_named_image() {
    let room = Room::new();
    shelve(&room, &built("mine"), NOBODY).await;
    let pull = image(NOBODY, &[("image.resolvemode", "pull")]);
    let error = room.pin(&pull).await.unwrap_err();
    assert!(chain(&error).contains("connection refused"), "{}", chain(&error));
}

#[tokio::test]
async fn the_lower_layers_of_a_named_image_can_be_wanted_too() {
    let room = Room::new();
    let mine = built("mine");
    shelve(&room, &mine, NOBODY).await;
    let local = [("image.resolvemode", "local"), ("image.layerlimit", "1")];
    let lower = room.get(&image(NOBODY, &local)).await.unwrap();
    assert_eq!(lower.diff_ids(), Some(mine.diff_ids[..1].to_vec()));
}

#[tokio::test]
async fn a_named_image_for_another_platform_is_an_error_that_says_so() {
    let room = Room::new();
    let mut mine = built("mine");
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",
        "manifests":[{"mediaType":"application/vnd.oci.image.manifest.v1+json","size":1,
        "digest":"sha256:ab","platform":{"os":"linux","architecture":"riscv64"}}]}"#
        .replace("sha256:ab", &mine.manifest.0.digest.to_string());
    let media_type = kiln_oci::media_type::OCI_INDEX;
    let bytes = Bytes::from(index);
    let root = Descriptor::new(media_type, Digest::sha256(&bytes), bytes.len() as u64);
    mine.manifest = (root, bytes);
    shelve(&room, &mine, NOBODY).await;
    let error = room.pin(&image(NOBODY, &[])).await.unwrap_err();
    assert!(chain(&error).contains("available: linux/riscv64"), "{}", chain(&error));
}
