//! Layers and archives: what their bytes depend on, and what they say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Read as _;

use keyway_manifest::Digest;
use keyway_xtask::container::{Image, Layer};
use keyway_xtask::image::layer::{self, LayerError};
use keyway_xtask::image::oci::{self, Description};
use keyway_xtask::image::tree::{Below, Filter, Tree};
use keyway_xtask::image::write_archive;
use serde_json::Value;
use tar::{Archive, EntryType};

use crate::fixture::{Item, Workbench, file, folder, hard_link, symlink};

const EPOCH: u64 = 1_600_000_000;

fn write(bench: &Workbench, items: &[Item]) -> Layer {
    let mut members = vec![bench.member("p", items)];
    let tree = Tree::merge(&members, &Below::default(), Filter::default(), EPOCH).unwrap();
    layer::write(&tree, &mut members, bench.0.path(), bench.0.path()).unwrap()
}

#[test]
fn depends_on_nothing_but_the_tree() {
    let bench = Workbench::new();
    let items = [folder("usr"), file("usr/b", "2"), symlink("usr/l", "b"), file("usr/a", "1")];
    let first = write(&bench, &items);
    let turned: Vec<Item> = items.iter().rev().cloned().collect();
    let second = write(&Workbench::new(), &turned);
    assert_eq!(first.diff_id, second.diff_id);
    let bytes = fs::read(&first.file).unwrap();
    assert_eq!(Digest::of(&bytes), first.diff_id);
    assert_eq!(bytes.len() as u64, first.size);
    // So that a change of how layers are written does not pass unseen: it would move every digest.
    snapbox::assert_data_eq!(
        first.diff_id.to_string(),
        snapbox::str!["9c5f17e574969c05982f9a648107d85460ea15791751240a7bce3e41a58d71e8"]
    );
}

#[test]
fn writes_what_every_tar_reads() {
    let bench = Workbench::new();
    let deep = format!("usr/{}/{}", "d".repeat(90), "e".repeat(5));
    let items = [
        file("usr/b", "content"),
        hard_link("usr/c", "usr/b"),
        symlink("usr/l", &"t".repeat(99)),
        file(&deep, "deep"),
        file("usr/Főtanú", "text"),
        Item { mode: 0o4755, ..file("usr/su", "") },
    ];
    let layer = write(&bench, &items);
    let mut archive = Archive::new(fs::File::open(&layer.file).unwrap());
    let mut found = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        let header = entry.header().clone();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0), "{path}");
        assert_eq!(header.username().unwrap(), Some(""), "{path}");
        let link = entry.link_name_bytes().map(std::borrow::Cow::into_owned);
        let mut data = String::new();
        entry.read_to_string(&mut data).unwrap();
        found.insert(path, (header.entry_type(), header.mode().unwrap(), data, link));
    }
    let file = |data: &str| (EntryType::Regular, 0o644, data.to_owned(), None);
    assert_eq!(found["usr/b"], file("content"));
    assert_eq!(found["usr/c"], (EntryType::Link, 0o644, String::new(), Some(b"usr/b".to_vec())));
    assert_eq!(found["usr/l"].3, Some("t".repeat(99).into_bytes()));
    assert_eq!(found[&deep], file("deep"));
    assert_eq!(found["usr/Főtanú"], file("text"));
    assert_eq!(found["usr/su"].1, 0o755);
    assert_eq!(found["usr/"].0, EntryType::Directory);
}

#[test]
fn says_which_file_could_not_be_copied() {
    let bench = Workbench::new();
    let mut members = vec![bench.member("p", &[file("usr/b", "content")])];
    let tree = Tree::merge(&members, &Below::default(), Filter::default(), EPOCH).unwrap();
    members[0].content =
        keyway_xtask::image::member::Content::Files(vec!["/nowhere/b".into(); 600]);
    let error = layer::write(&tree, &mut members, bench.0.path(), bench.0.path()).unwrap_err();
    assert!(matches!(error, LayerError::Copy { .. }));
    assert_eq!(error.to_string(), "could not copy `usr/b` of `p` into a layer");
    let left = fs::read_dir(bench.0.path()).unwrap().count();
    assert_eq!(left, 1, "only the package is left");
}

fn image(bench: &Workbench) -> Image {
    let layers = vec![
        ("packages".to_owned(), write(bench, &[file("a", "1")])),
        ("files".to_owned(), write(bench, &[file("b", "2")])),
    ];
    let description = Description {
        name: "base".into(),
        architecture: "amd64".into(),
        env: BTreeMap::from([("PATH".into(), "/usr/bin".into())]),
        epoch: EPOCH,
    };
    oci::image(description, layers)
}

#[test]
fn writes_one_archive_for_docker_and_oci() {
    let bench = Workbench::new();
    let image = image(&bench);
    let mut bytes = Vec::new();
    write_archive(&[&image], &mut bytes).unwrap();
    let mut again = Vec::new();
    write_archive(&[&image], &mut again).unwrap();
    assert_eq!(Digest::of(&bytes), Digest::of(&again));

    let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    for entry in Archive::new(bytes.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        files.insert(path, data);
    }
    for (path, data) in &files {
        if let Some(digest) = path.strip_prefix("blobs/sha256/") {
            assert_eq!(digest, Digest::of(data).to_string());
        }
    }
    let json = |path: &str| -> Value { serde_json::from_slice(&files[path]).unwrap() };
    let blob = |digest: &str| format!("blobs/sha256/{}", digest.trim_start_matches("sha256:"));

    let docker = json("manifest.json");
    assert_eq!(docker[0]["Config"], blob(&image.config.to_string()));
    assert_eq!(docker[0]["Layers"].as_array().unwrap().len(), 2);

    assert_eq!(json("oci-layout")["imageLayoutVersion"], "1.0.0");
    let manifest = json("index.json")["manifests"][0]["digest"].as_str().unwrap().to_owned();
    assert_eq!(manifest, image.manifest.prefixed());
    let manifest = json(&blob(&manifest));
    let config = json(&blob(manifest["config"]["digest"].as_str().unwrap()));
    let layers: BTreeSet<String> = manifest["layers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| layer["digest"].as_str().unwrap().to_owned())
        .collect();
    let diff_ids = config["rootfs"]["diff_ids"].as_array().unwrap();
    assert!(diff_ids.iter().all(|id| layers.contains(id.as_str().unwrap())));
    snapbox::assert_data_eq!(
        serde_json::to_string(&config["config"]).unwrap(),
        snapbox::str![[r#"{"Env":["PATH=/usr/bin"]}"#]]
    );
    assert_eq!(config["created"], "2020-09-13T12:26:40Z");
}

#[test]
fn names_architectures_as_oci_does() {
    let named = |debian: &str| {
        let description = Description {
            name: "base".into(),
            architecture: debian.into(),
            env: BTreeMap::new(),
            epoch: EPOCH,
        };
        let config: Value =
            serde_json::from_slice(&oci::image(description, Vec::<(String, _)>::new()).config_json)
                .unwrap();
        config["architecture"].as_str().unwrap().to_owned()
    };
    let known = ["amd64", "arm64", "armhf", "i386", "ppc64el", "riscv64", "s390x"].map(named);
    assert_eq!(known, ["amd64", "arm64", "arm", "386", "ppc64le", "riscv64", "s390x"]);
}

#[test]
fn does_not_archive_a_layer_that_was_cut() {
    let bench = Workbench::new();
    let image = image(&bench);
    fs::write(&image.layers[1].file, "cut").unwrap();
    let error = write_archive(&[&image], &mut std::io::sink()).unwrap_err();
    assert!(error.to_string().ends_with("is not of its size any more"), "{error}");
}
