//! Stories of owners that share a file: across restarts, damage, other versions and a full disk.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use redb::{ReadableTable as _, TableDefinition, TableHandle as _};
use tempfile::TempDir;

use crate::{Durability, Earlier, FILE, Found, Metadata, OpenError, Owner, copy, is_full};

const CATS: TableDefinition<'_, &str, u64> = TableDefinition::new("cats.all");
const DOGS: TableDefinition<'_, &str, u64> = TableDefinition::new("dogs.all");
/// Its name begins like those of cats, and it is not theirs.
const CATTLE: TableDefinition<'_, &str, u64> = TableDefinition::new("cattle.all");
/// The table of cats when they had a file of their own.
const OLD_CATS: TableDefinition<'_, &str, u64> = TableDefinition::new("all");

const CAT: Owner = Owner {
    name: "cats",
    schema: 1,
    holds: "the cats",
    create: |transaction| transaction.open_table(CATS).map(drop).map_err(redb::Error::from),
    earlier: Some(Earlier {
        file: "cats.redb",
        copy: |from, to| {
            if from.list_tables()?.any(|table| table.name() == "unknown") {
                return Err(redb::Error::Corrupted("another version".into()));
            }
            copy(from, OLD_CATS, to, CATS)
        },
    }),
};
const DOG: Owner = Owner {
    name: "dogs",
    schema: 7,
    holds: "the dogs",
    create: |transaction| transaction.open_table(DOGS).map(drop).map_err(redb::Error::from),
    earlier: None,
};

type Table = TableDefinition<'static, &'static str, u64>;

fn open(root: &TempDir) -> Metadata {
    Metadata::open(root.path(), None).unwrap()
}

fn put(metadata: &Metadata, durability: Durability, table: Table, name: &str, age: u64) {
    let written = metadata.write(durability, |transaction| {
        transaction.open_table(table)?.insert(name, age)?;
        Ok(())
    });
    written.unwrap();
}

fn age(metadata: &Metadata, table: Table, name: &str) -> Option<u64> {
    let read = metadata
        .read(|transaction| Ok(transaction.open_table(table)?.get(name)?.map(|age| age.value())));
    read.unwrap()
}

fn names(root: &Path) -> Vec<String> {
    let entries = fs::read_dir(root).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// What a crash leaves: the file as it is on disk while it is open.
fn crashed(root: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    for name in names(root.path()) {
        fs::copy(root.path().join(&name), copy.path().join(&name)).unwrap();
    }
    copy
}

/// The file that cats had for themselves.
fn earlier(root: &Path, table: Table) -> PathBuf {
    let path = root.join("cats.redb");
    let database = redb::Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(table).unwrap().insert("tom", 3).unwrap();
    transaction.commit().unwrap();
    path
}

#[test]
fn owners_find_their_tables_again_in_one_file_of_their_users() {
    let root = tempfile::tempdir().unwrap();
    let metadata = open(&root);
    assert_eq!(metadata.begin(&CAT).unwrap(), Found::Nothing);
    assert_eq!(metadata.begin(&DOG).unwrap(), Found::Nothing);
    put(&metadata, Durability::None, CATS, "tom", 3);
    put(&metadata, Durability::None, DOGS, "rex", 4);
    drop(metadata);
    assert_eq!(names(root.path()), [FILE]);
    let mode = fs::metadata(root.path().join(FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let metadata = open(&root);
    assert_eq!(metadata.begin(&CAT).unwrap(), Found::Kept);
    assert_eq!(metadata.begin(&DOG).unwrap(), Found::Kept);
    assert_eq!(age(&metadata, CATS, "tom"), Some(3));
    assert_eq!(age(&metadata, DOGS, "rex"), Some(4));
}

#[test]
fn another_schema_of_one_owner_drops_only_its_tables() {
    let root = tempfile::tempdir().unwrap();
    let metadata = open(&root);
    metadata.begin(&CAT).unwrap();
    metadata.begin(&DOG).unwrap();
    for (table, name) in [(CATS, "tom"), (CATTLE, "bess"), (DOGS, "rex")] {
        put(&metadata, Durability::None, table, name, 4);
    }
    drop(metadata);
    let metadata = open(&root);
    assert_eq!(metadata.begin(&Owner { schema: 2, ..CAT }).unwrap(), Found::Nothing);
    assert_eq!(metadata.begin(&DOG).unwrap(), Found::Kept);
    assert_eq!(age(&metadata, CATS, "tom"), None);
    assert_eq!(age(&metadata, CATTLE, "bess"), Some(4));
    assert_eq!(age(&metadata, DOGS, "rex"), Some(4));
    // Nor is it gone back.
    assert_eq!(metadata.begin(&CAT).unwrap(), Found::Nothing);
}

#[test]
fn what_is_no_database_of_ours_is_set_aside() {
    let foreign = |path: &Path| {
        let database = redb::Database::create(path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction.open_table(OLD_CATS).unwrap().insert("tom", 3).unwrap();
        transaction.commit().unwrap();
    };
    let spoils: [&dyn Fn(&Path); 5] = [
        &|path| fs::write(path, vec![7; 9000]).unwrap(),
        &|path| fs::write(path, "short").unwrap(),
        &foreign,
        &|path| {
            // The layout of a later version.
            let database = redb::Database::create(path).unwrap();
            let transaction = database.begin_write().unwrap();
            let schemas = TableDefinition::<&str, u64>::new("schemas");
            transaction.open_table(schemas).unwrap().insert("", 9).unwrap();
            transaction.commit().unwrap();
        },
        &|path| {
            let file = File::options().write(true).open(path).unwrap();
            file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        },
    ];
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join(FILE);
    for (number, spoil) in spoils.into_iter().enumerate() {
        let metadata = open(&root);
        metadata.begin(&CAT).unwrap();
        put(&metadata, Durability::Immediate, CATS, "tom", 3);
        drop(metadata);
        if number < 4 {
            fs::remove_file(&path).unwrap();
        }
        spoil(&path);
        let spoilt = fs::read(&path).unwrap();
        let metadata = open(&root);
        assert_eq!(metadata.begin(&CAT).unwrap(), Found::Nothing, "{number}");
        put(&metadata, Durability::Immediate, CATS, "kit", 1);
        assert_eq!(age(&metadata, CATS, "tom"), None);
        let aside = fs::read(root.path().join("metadata.redb.broken")).unwrap();
        assert_eq!(aside.len(), spoilt.len(), "{number}");
    }
}

/// A few bytes are turned over here and there, in all that the file has.
#[test]
fn damage_inside_is_never_a_panic_and_never_outlives_a_restart() {
    let root = tempfile::tempdir().unwrap();
    let metadata = open(&root);
    metadata.begin(&CAT).unwrap();
    for number in 0..200 {
        put(&metadata, Durability::None, CATS, &format!("cat {number:04}"), number);
    }
    drop(metadata);
    let whole = fs::read(root.path().join(FILE)).unwrap();
    let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let mut seen = 0;
    for place in (0..=used).step_by(1021) {
        let copy = tempfile::tempdir().unwrap();
        let mut spoilt = whole.clone();
        let end = (place + 16).min(spoilt.len());
        spoilt[place..end].iter_mut().for_each(|byte| *byte ^= 0xa5);
        fs::write(copy.path().join(FILE), spoilt).unwrap();
        let metadata = open(&copy);
        metadata.begin(&CAT).unwrap();
        let sum = metadata.read(|transaction| {
            let mut sum = 0;
            for entry in transaction.open_table(CATS)?.iter()? {
                sum += entry?.1.value();
            }
            Ok(sum)
        });
        let written = metadata.write(Durability::Immediate, |transaction| {
            transaction.open_table(CATS)?.insert("new", 1)?;
            Ok(())
        });
        drop(metadata);
        seen += usize::from(sum.is_err() || written.is_err());
        let metadata = open(&copy);
        metadata.begin(&CAT).unwrap();
        put(&metadata, Durability::Immediate, CATS, "newer", 1);
        assert_eq!(age(&metadata, CATS, "newer"), Some(1), "{place}");
    }
    assert!(seen > 0, "some damage is only found by reading or writing");
}

#[test]
fn what_is_durable_takes_with_it_what_is_not_and_flushing_nothing_touches_no_disk() {
    let root = tempfile::tempdir().unwrap();
    let metadata = open(&root);
    metadata.begin(&CAT).unwrap();
    metadata.begin(&DOG).unwrap();
    put(&metadata, Durability::None, CATS, "tom", 3);
    let reopened = |table, name| {
        let copy = crashed(&root);
        let metadata = open(&copy);
        metadata.begin(&CAT).unwrap();
        metadata.begin(&DOG).unwrap();
        age(&metadata, table, name)
    };
    assert_eq!(reopened(CATS, "tom"), None, "a crash loses what nobody waited for");
    put(&metadata, Durability::Immediate, DOGS, "rex", 4);
    assert_eq!((reopened(CATS, "tom"), reopened(DOGS, "rex")), (Some(3), Some(4)));
    put(&metadata, Durability::None, CATS, "kit", 1);
    metadata.flush().unwrap();
    assert_eq!(reopened(CATS, "kit"), Some(1));
    let before = fs::read(root.path().join(FILE)).unwrap();
    metadata.flush().unwrap();
    assert!(fs::read(root.path().join(FILE)).unwrap() == before);
    // And once there are many, nobody has to ask.
    for number in 0..40 {
        put(&metadata, Durability::None, DOGS, "rex", number);
    }
    assert!(reopened(DOGS, "rex").is_some_and(|age| (20..40).contains(&age)));
}

#[test]
fn a_change_that_fails_leaves_everything_as_it_was() {
    let root = tempfile::tempdir().unwrap();
    let metadata = open(&root);
    metadata.begin(&CAT).unwrap();
    metadata.begin(&DOG).unwrap();
    put(&metadata, Durability::None, DOGS, "rex", 4);
    let failed = metadata.write(Durability::Immediate, |transaction| {
        transaction.open_table(CATS)?.insert("tom", 3)?;
        Err::<(), _>(redb::Error::TableDoesNotExist("mice".into()))
    });
    assert!(matches!(failed, Err(redb::Error::TableDoesNotExist(_))));
    assert_eq!((age(&metadata, CATS, "tom"), age(&metadata, DOGS, "rex")), (None, Some(4)));
    assert_eq!(names(root.path()), [FILE], "that was no damage");
}

#[test]
fn an_earlier_file_is_taken_over_once() {
    let root = tempfile::tempdir().unwrap();
    let path = earlier(root.path(), OLD_CATS);
    let before = fs::read(&path).unwrap();
    let metadata = open(&root);
    metadata.begin(&DOG).unwrap();
    assert_eq!(metadata.begin(&CAT).unwrap(), Found::TakenOver);
    assert_eq!(age(&metadata, CATS, "tom"), Some(3));
    assert_eq!(names(root.path()), [FILE]);
    // It is on disk before the earlier file is removed.
    let copy = crashed(&root);
    drop(metadata);
    assert_eq!(open(&copy).begin(&CAT).unwrap(), Found::Kept);
    // A crash before that leaves both.
    let metadata = open(&root);
    put(&metadata, Durability::Immediate, CATS, "tom", 5);
    fs::write(&path, before).unwrap();
    assert_eq!(metadata.begin(&CAT).unwrap(), Found::Kept);
    assert_eq!(age(&metadata, CATS, "tom"), Some(5));
    assert_eq!(names(root.path()), [FILE]);
}

#[test]
fn an_earlier_file_that_cannot_be_read_is_set_aside() {
    let spoils: [fn(&Path); 3] = [
        |root| fs::write(root.join("cats.redb"), "no database").unwrap(),
        |root| drop(earlier(root, TableDefinition::new("unknown"))),
        |root| fs::write(root.join("cats.redb"), "").unwrap(),
    ];
    for (spoil, left) in spoils.into_iter().zip([true, true, false]) {
        let root = tempfile::tempdir().unwrap();
        spoil(root.path());
        let metadata = open(&root);
        assert_eq!(metadata.begin(&CAT).unwrap(), Found::Nothing);
        put(&metadata, Durability::None, CATS, "kit", 1);
        let aside = root.path().join("cats.redb.broken");
        assert_eq!((aside.exists(), root.path().join("cats.redb").exists()), (left, false));
    }
}

/// Runs this very test in another process, which holds the file until it is told otherwise.
#[test]
fn two_processes_do_not_have_it_at_once() {
    const ROOT: &str = "KILN_METADATA_TEST_ROOT";
    // The environment of the test itself, and nothing that a user may set.
    #[expect(clippy::disallowed_methods, reason = "tells the two processes of this test apart")]
    if let Ok(root) = std::env::var(ROOT) {
        let metadata = Metadata::open(Path::new(&root), None).unwrap();
        fs::write(Path::new(&root).join("ready"), "").unwrap();
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
        return drop(metadata);
    }
    let root = tempfile::tempdir().unwrap();
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "tests::two_processes_do_not_have_it_at_once"])
        .env(ROOT, root.path())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    while !root.path().join("ready").exists() {
        assert!(other.try_wait().unwrap().is_none(), "the other process failed");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let error = Metadata::open(root.path(), None).unwrap_err();
    assert!(matches!(error, OpenError::Database { .. }) && !error.is_full(), "{error}");
    assert!(root.path().join(FILE).exists(), "a file that is in use is not set aside");
    // One that ends soon is waited for.
    let waiting = std::thread::spawn({
        let root = root.path().to_owned();
        move || Metadata::open(&root, None)
    });
    drop(other.stdin.take());
    assert!(other.wait().unwrap().success());
    waiting.join().unwrap().unwrap();
}

#[test]
fn the_lock_of_the_directory_is_let_go_after_the_database() {
    let root = tempfile::tempdir().unwrap();
    let lock = || File::create(root.path().join("lock")).unwrap();
    let first = lock();
    first.try_lock().unwrap();
    let metadata = Metadata::open(root.path(), Some(first)).unwrap();
    let other = metadata.clone();
    drop(metadata);
    lock().try_lock().unwrap_err();
    drop(other);
    lock().try_lock().unwrap();
    open(&root);
}

#[test]
fn a_full_quota_is_a_full_disk() {
    for code in [libc::ENOSPC, libc::EDQUOT] {
        let error = redb::Error::Io(std::io::Error::from_raw_os_error(code));
        assert!(is_full(&error), "{error}");
        assert!(OpenError::database(Path::new("x"), error).is_full());
    }
    assert!(!is_full(&redb::Error::PreviousIo));
}
