//! Single blobs of a real registry, and of a layout in the client.

use bytes::Bytes;
use kiln_graph::Identifier;
use kiln_oci::{Digest, Reference};
use kiln_registry::{Hosts, NoCredentials, Options, Registry};

use super::image::{example, push, start};
use super::{Client, Room, chain, identifier, skipped, tree};

fn source(scheme: &str, name: &str, digest: &Digest, attrs: &[(&str, &str)]) -> Identifier {
    identifier(&format!("{scheme}://{name}@{digest}"), attrs)
}

#[tokio::test]
async fn a_blob_of_a_registry_is_a_file_with_the_attributes_that_are_asked_for() {
    let Some(server) = start() else { return };
    let built = example();
    push(&built, &format!("{}/app:1", server.host())).await;
    let (layer, bytes) = &built.blobs[0];
    let room = Room::new();
    let name = format!("{}/app", server.host());
    let attrs = [("http.filename", "layer.tar"), ("http.perm", "0640")];
    let wanted = source("docker-image+blob", &name, &layer.digest, &attrs);
    let pin = room.pin(&wanted).await.unwrap();
    // As BuildKit spells it; 416 is 0640.
    let json = format!(
        r#"{{"Digest":"{}","Filename":"layer.tar","Perm":416,"UID":0,"GID":0}}"#,
        layer.digest
    );
    assert_eq!(pin.key.as_str(), Digest::sha256(json).to_string());
    let content = room.fetch(&wanted, &pin).await.unwrap();
    let again = room.fetch(&wanted, &pin).await.unwrap();
    assert_eq!(content.id(), again.id(), "it is fetched once");
    if kiln_store::owner::single_id() {
        return skipped("the right to mount");
    }
    let files = tree(&content).await;
    let text = String::from_utf8_lossy(bytes).into_owned();
    assert_eq!(
        files.into_iter().collect::<Vec<_>>(),
        [("layer.tar".into(), format!("640 {text}"))]
    );

    let absent = Digest::sha256("absent");
    let error = room.get(&source("docker-image+blob", &name, &absent, &[])).await.unwrap_err();
    assert!(chain(&error).contains(&absent.to_string()), "{}", chain(&error));
}

#[tokio::test]
async fn a_blob_of_a_layout_has_to_be_the_one_that_is_named() {
    let (good, other) = (Digest::sha256("good"), Digest::sha256("other"));
    let layout = [(good.clone(), Bytes::from("good")), (other.clone(), Bytes::from("tampered"))];
    let room = Room::with(Client { layout: layout.into(), ..Client::default() });
    let attrs = [("oci.store", "my-layout")];
    let content = room.get(&source("oci-layout+blob", "not/real", &good, &attrs)).await.unwrap();
    if !kiln_store::owner::single_id() {
        let files: Vec<_> = tree(&content).await.into_iter().collect();
        assert_eq!(files, [(good.hex().to_owned(), "600 good".to_owned())]);
    }
    let error = room.get(&source("oci-layout+blob", "not/real", &other, &attrs)).await.unwrap_err();
    let got = Digest::sha256("tampered");
    assert!(error.to_string().ends_with(&format!("have the digest {got}")), "{error}");
    let absent = source("oci-layout+blob", "not/real", &Digest::sha256("absent"), &attrs);
    let error = room.get(&absent).await.unwrap_err();
    assert!(chain(&error).ends_with("not found"), "{}", chain(&error));
}

#[tokio::test]
async fn the_size_of_a_blob_is_asked_of_the_registry() {
    let Some(server) = start() else { return };
    let built = example();
    let name = format!("{}/app:1", server.host());
    push(&built, &name).await;
    let registry = Registry::new(Hosts::default(), Options::default());
    let reference: Reference = name.parse().unwrap();
    let (layer, bytes) = &built.blobs[0];
    let size = registry.blob_size(&reference, &layer.digest, &NoCredentials).await.unwrap();
    assert_eq!(size, bytes.len() as u64);
    let absent = Digest::sha256("absent");
    assert!(registry.blob_size(&reference, &absent, &NoCredentials).await.is_err());
}
