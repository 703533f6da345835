//! Which files are archives. What unpacking them does is tested where it is done, in the store.

use std::fs;
use std::io::Write;

use super::*;

fn archive() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_mode(0o755);
    header.set_size(5);
    header.set_mtime(1);
    header.set_cksum();
    builder.append_data(&mut header, "bin/tool", &b"hello"[..]).unwrap();
    builder.into_inner().unwrap()
}

fn zip() -> Vec<u8> {
    let mut zip = ::zip::ZipWriter::new(io::Cursor::new(Vec::new()));
    let options = ::zip::write::SimpleFileOptions::default().unix_permissions(0o755);
    zip.start_file("bin/tool", options).unwrap();
    zip.write_all(b"hello").unwrap();
    zip.add_symlink("bin/link", "tool", options).unwrap();
    zip.finish().unwrap().into_inner()
}

/// What a file unpacks to; `None` if it is no archive.
fn unpacked(bytes: &[u8], zip: bool) -> Option<tempfile::TempDir> {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("dest")).unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().write_all(bytes).unwrap();
    let archive = Archive::open(file.path(), "/a", zip).unwrap()?;
    archive.unpack(root.path(), &root.path().join("dest"), Some(Ids { uid: 0, gid: 0 })).unwrap();
    Some(root)
}

#[test]
fn every_compression_is_recognised_by_its_bytes() {
    let tar = archive();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
    xz.write_all(&tar).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    bzip2.write_all(&tar).unwrap();
    let forms = [
        tar.clone(),
        gzip.finish().unwrap(),
        xz.finish().unwrap(),
        bzip2.finish().unwrap(),
        zstd::encode_all(&tar[..], 1).unwrap(),
    ];
    for form in forms {
        let root = unpacked(&form, false).expect("an archive");
        assert_eq!(fs::read_to_string(root.path().join("dest/bin/tool")).unwrap(), "hello");
    }
}

#[test]
fn other_files_are_no_archives() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&[7; 4096]).unwrap();
    let mut damaged = gzip.finish().unwrap();
    let compressed = damaged.clone();
    damaged.truncate(12);
    let others: [&[u8]; 7] = [
        b"",
        b"#!/bin/sh\n",
        &[0; 10240],
        &compressed,
        &damaged,
        b"\x1f\x8b\x08 that is no gzip",
        &archive()[..511],
    ];
    for bytes in others {
        assert!(unpacked(bytes, true).is_none(), "{:?}", &bytes[..bytes.len().min(12)]);
    }
}

#[test]
fn zip_files_are_archives_only_for_who_asks() {
    let zip = zip();
    assert!(unpacked(&zip, false).is_none());
    let root = unpacked(&zip, true).expect("an archive");
    assert_eq!(fs::read_to_string(root.path().join("dest/bin/link")).unwrap(), "hello");
}

#[test]
fn a_damaged_archive_is_named() {
    let root = tempfile::tempdir().unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let tar = archive();
    file.as_file().write_all(&tar[..514]).unwrap();
    let archive = Archive::open(file.path(), "/a.tar", false).unwrap().expect("an archive");
    let error = archive.unpack(root.path(), root.path(), None).unwrap_err();
    assert!(error.to_string().starts_with("archive /a.tar: "), "{error}");
}
