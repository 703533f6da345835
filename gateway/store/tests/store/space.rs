//! Bounds that are kept while something is written.

use kiln_store::{PruneOptions, Store};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::support::*;

/// Collects whenever the store says so, and tells of what is removed. Ends with the test.
fn collecting(store: &Store, policies: &[PruneOptions]) -> UnboundedReceiver<String> {
    let (sender, removed) = unbounded_channel();
    let (store, policies) = (store.clone(), policies.to_vec());
    let collector = store.keep_to(&policies);
    tokio::spawn(async move {
        loop {
            collector.due().await;
            let tell = &mut |usage: kiln_store::Usage| drop(sender.send(usage.id));
            store.collect(&policies, tell).await.unwrap();
        }
    });
    removed
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let words = (0..).map(|n: u64| (n + seed * 1_000_003).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    words.flat_map(u64::to_le_bytes).take(length).collect()
}

#[tokio::test]
async fn who_writes_waits_until_there_is_space_and_the_oldest_makes_it() {
    let (_root, store) = store();
    let ids = records(&store, 10).await;
    let bound = used(&store).await + (1 << 20);
    let policies = [PruneOptions { max_used_space: bound, ..PruneOptions::default() }];
    let mut removed = collecting(&store, &policies);
    let mut blobs = Vec::new();
    for seed in 0..6 {
        blobs.push(store.write_blob(noise(seed, 1 << 20)).await.unwrap());
        let used = used(&store).await;
        assert!(used <= bound, "{used} of {bound} after {seed}");
    }
    assert_eq!(removed.recv().await.unwrap(), ids[0]);
    for blob in blobs {
        store.verify(blob.digest()).await.unwrap();
    }
}

#[tokio::test]
async fn who_writes_more_than_can_be_removed_goes_on() {
    let (_root, store) = store();
    let ids = records(&store, 2).await;
    let held: Vec<_> = ids.iter().map(|id| store.load(id).unwrap()).collect();
    let bound = used(&store).await;
    let policies = [PruneOptions { max_used_space: bound, ..PruneOptions::default() }];
    let mut removed = collecting(&store, &policies);
    for seed in 0..4 {
        let blob = store.write_blob(noise(seed, 1 << 20)).await.unwrap();
        store.verify(blob.digest()).await.unwrap();
    }
    for (id, _held) in ids.iter().zip(&held) {
        store.load(id).unwrap();
    }
    removed.close();
    while let Some(id) = removed.recv().await {
        assert!(!ids.contains(&id), "{id} is in use");
    }
}

#[tokio::test]
async fn no_one_waits_if_no_one_collects() {
    let (_root, store) = store();
    let bound = PruneOptions { max_used_space: 1, ..PruneOptions::default() };
    drop(store.keep_to(&[bound]));
    let allocation = store.allocate(1 << 40).await;
    drop(allocation);
    store.allocate_blocking(1 << 40);
}
