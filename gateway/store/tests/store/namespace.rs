//! The same in a user namespace that maps one user id only.

use std::process::Command;

use kiln_store::Compression;

use crate::support::*;

#[test]
fn one_user_id_is_enough() {
    if !can_mount() {
        return;
    }
    let test = "namespace::inside_a_user_namespace";
    let output = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args(["unshare", "--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--ignored", "--nocapture"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    if text.contains("Operation not permitted") && text.contains("unshare") {
        skip("user namespaces");
        return;
    }
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[tokio::test]
#[ignore = "started by one_user_id_is_enough"]
async fn inside_a_user_namespace() {
    let (_root, store) = store();
    assert!(store.in_user_namespace());
    let base = [
        Item { owner: (33, 44), mode: 0o4711, ..file("a", "1") },
        file("d/gone", ""),
        directory("e"),
        file("e/x", ""),
        Item { device: (1, 3), ..item(b'3', "null") },
    ];
    let base = apply(&store, None, &base).await;
    let top = [item(b'0', "d/.wh.gone"), item(b'0', "e/.wh..wh..opq"), file("e/y", "")];
    let top = apply(&store, Some(&base), &top).await;
    let step = store.prepare(Some(&top.here())).await.unwrap();
    {
        let mounted = step.mount().await.unwrap();
        assert_eq!(names(mounted.path()), ["a", "d", "e", "e/y"]);
        put(mounted.path(), "new", "n");
        kiln_store::owner::set_owner(&mounted.path().join("new"), 7, 8).unwrap();
        std::fs::remove_file(mounted.path().join("e/y")).unwrap();
    }
    let step = step.commit().await.unwrap();
    let before = tree(step.mount().await.unwrap().path());
    assert!(before["a"].starts_with("4711 33:44 "), "{before:?}");
    assert!(before["new"].contains(" 7:8 "), "{before:?}");
    let mut copy = None;
    for layer in store.layer_blobs(&step, Compression::default(), &nobody(), &|_| {}).await.unwrap()
    {
        // On top of another bottom, so that nothing is shared.
        let below = match copy {
            Some(copy) => copy,
            None => apply(&store, None, &[]).await,
        };
        copy = Some(store.apply(Some(&below), &layer).await.unwrap());
    }
    assert_eq!(tree(copy.unwrap().mount().await.unwrap().path()), before);
}
