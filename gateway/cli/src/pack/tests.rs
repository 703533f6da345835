//! Images of real executables, judged by other programs.

#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use kiln_oci::{ImageConfig, Platform, Reference};

use super::image::{FrontendImage, ImageOptions, PackError};
use super::layout::{write_directory, write_tar};

fn pack(executable: &str, options: &ImageOptions) -> FrontendImage {
    FrontendImage::pack(Path::new("/"), Path::new(executable), options).unwrap()
}

fn config(image: &FrontendImage) -> ImageConfig {
    serde_json::from_slice(&image.config.bytes).unwrap()
}

fn paths(image: &FrontendImage) -> Vec<PathBuf> {
    let gzip = flate2::read::GzDecoder::new(image.layer.bytes.as_slice());
    let mut tar = tar::Archive::new(gzip);
    tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect()
}

fn name() -> Reference {
    "registry.test/front:v1".parse().unwrap()
}

/// Runs a program that may not be installed; `None` if it is not.
fn run(program: &str, arguments: &[&OsStr]) -> Option<String> {
    match Command::new(program).args(arguments).output() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("skipped: needs {program}");
            None
        }
        Err(error) => panic!("{program}: {error}"),
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{program}: {errors}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        }
    }
}

#[test]
fn the_same_executable_makes_the_same_image() {
    let one = pack("/bin/true", &ImageOptions::default());
    let two = pack("/bin/true", &ImageOptions::default());
    assert_eq!(one.manifest.descriptor, two.manifest.descriptor);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    write_tar(&mut first, &one, Some(&name())).unwrap();
    write_tar(&mut second, &two, Some(&name())).unwrap();
    assert!(first == second);
}

#[test]
fn the_layer_holds_the_executable_its_loader_and_its_libraries_in_order() {
    let paths = paths(&pack("/bin/true", &ImageOptions::default()));
    assert!(paths.contains(&PathBuf::from("frontend")));
    assert!(paths.iter().any(|path| path.to_string_lossy().contains("libc.")), "{paths:?}");
    assert!(paths.iter().any(|path| path.to_string_lossy().contains("ld-")), "{paths:?}");
    assert!(paths.is_sorted());
    assert!(paths.iter().all(|path| path.is_relative()));
}

#[test]
fn labels_say_how_the_frontend_is_run() {
    let image = config(&pack("/bin/true", &ImageOptions::default()));
    assert_eq!(image.config.entrypoint, Some(vec!["/frontend".to_owned()]));
    assert_eq!(image.config.labels["moby.buildkit.frontend.network.none"], "true");
    assert!(image.config.labels["moby.buildkit.frontend.caps"].contains("frontend.inputs"));
    let options = ImageOptions {
        network: true,
        capabilities: Some(Vec::new()),
        labels: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        ..ImageOptions::default()
    };
    let image = config(&pack("/bin/true", &options));
    assert_eq!(image.config.labels, options.labels);
}

#[test]
fn a_platform_must_be_the_executables_own() {
    let options =
        ImageOptions { platform: Some(Platform::new("linux", "s390x")), ..ImageOptions::default() };
    let error = FrontendImage::pack(Path::new("/"), Path::new("/bin/true"), &options).unwrap_err();
    assert!(matches!(error, PackError::Platform { .. }), "{error}");
}

#[test]
fn what_is_no_executable_is_refused_with_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("script");
    std::fs::write(&script, "#!/bin/sh\n").unwrap();
    let error = FrontendImage::pack(Path::new("/"), &script, &ImageOptions::default()).unwrap_err();
    assert!(error.to_string().contains("script"), "{error}");
    let options = ImageOptions {
        files: BTreeMap::from([("/frontend".into(), script)]),
        ..ImageOptions::default()
    };
    let error = FrontendImage::pack(Path::new("/"), Path::new("/bin/true"), &options).unwrap_err();
    assert!(matches!(error, PackError::Occupied(_)), "{error}");
}

#[test]
fn a_layout_keeps_other_images_and_replaces_its_own_name() {
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path();
    let other: Reference = "registry.test/front:v2".parse().unwrap();
    let image = pack("/bin/true", &ImageOptions::default());
    for reference in [&name(), &other, &name()] {
        write_directory(layout, &image, Some(reference)).unwrap();
    }
    let index = std::fs::read(layout.join("index.json")).unwrap();
    let index: kiln_oci::Index = serde_json::from_slice(&index).unwrap();
    assert_eq!(index.manifests.len(), 2);
}

#[test]
fn skopeo_accepts_the_layout_and_the_tar() {
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path().join("layout");
    let image = pack("/bin/true", &ImageOptions::default());
    write_directory(&layout, &image, Some(&name())).unwrap();
    let reference = format!("oci:{}:v1", layout.display());
    let Some(json) = run("skopeo", &["inspect".as_ref(), reference.as_ref()]) else { return };
    let inspected: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(inspected["Digest"], image.manifest.descriptor.digest.to_string());
    assert_eq!(inspected["Labels"]["moby.buildkit.frontend.network.none"], "true");

    let tar = directory.path().join("image.tar");
    write_tar(std::fs::File::create(&tar).unwrap(), &image, Some(&name())).unwrap();
    let reference = format!("oci-archive:{}:v1", tar.display());
    run("skopeo", &["inspect".as_ref(), "--raw".as_ref(), reference.as_ref()]);
}

#[test]
fn the_unpacked_image_runs() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let layout = directory.path().join("layout");
    let bundle = directory.path().join("bundle");
    // More libraries than libc, so that the search has something to do.
    for executable in ["/bin/true", "/bin/grep", "/bin/ls"].iter().filter(|e| Path::new(e).exists())
    {
        write_directory(&layout, &pack(executable, &ImageOptions::default()), Some(&name()))
            .unwrap();
        let image = format!("{}:v1", layout.display());
        let unpack: [&OsStr; 4] =
            ["unpack".as_ref(), "--image".as_ref(), image.as_ref(), bundle.as_ref()];
        if run("umoci", &unpack).is_none() {
            return;
        }
        let root = bundle.join("rootfs");
        let output = run("chroot", &[root.as_ref(), "/frontend".as_ref(), "--version".as_ref()]);
        assert!(output.is_some_and(|text| *executable == "/bin/true" || !text.is_empty()));
        std::fs::remove_dir_all(&bundle).unwrap();
    }
}

#[test]
fn libraries_beside_the_executable_are_found_in_the_image() {
    let directory = tempfile::tempdir().unwrap();
    let source = directory.path().join("lib.c");
    std::fs::write(&source, "int answer(void) { return 0; }\n").unwrap();
    let main = directory.path().join("main.c");
    std::fs::write(&main, "int answer(void); int main(void) { return answer(); }\n").unwrap();
    let library = directory.path().join("lib/libanswer.so");
    std::fs::create_dir(directory.path().join("lib")).unwrap();
    let front = directory.path().join("front");
    let compile = ["-shared", "-fPIC", "-Wl,-soname,libanswer.so", "-o"].map(OsStr::new);
    if run("cc", &[&compile[..], &[library.as_ref(), source.as_ref()]].concat()).is_none() {
        return;
    }
    let link = ["-Wl,-rpath,$ORIGIN/lib,--enable-new-dtags", "-o"].map(OsStr::new);
    run("cc", &[&link[..], &[front.as_ref(), main.as_ref(), library.as_ref()]].concat());
    let image = pack(front.to_str().unwrap(), &ImageOptions::default());
    assert!(paths(&image).contains(&library.strip_prefix("/").unwrap().to_owned()));
    // The executable moved away from its library, so that the loader must be told.
    let told = config(&image).config.env_value("LD_LIBRARY_PATH").map(PathBuf::from);
    assert_eq!(told.as_deref(), library.parent());
}

#[test]
fn a_library_that_is_nowhere_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    // A machine with the loader and nothing else.
    let elf = super::elf::Elf::parse(&std::fs::read("/bin/true").unwrap()).unwrap();
    let loader = PathBuf::from(elf.interpreter.unwrap());
    let copy = root.join(loader.strip_prefix("/").unwrap());
    std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
    std::fs::copy(&loader, copy).unwrap();
    let error = FrontendImage::pack(root, Path::new("/bin/true"), &ImageOptions::default());
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("/bin/true needs libc.so"), "{error}");
}
