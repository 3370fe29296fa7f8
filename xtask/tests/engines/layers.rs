//! Layers as the sandbox unpacks them: the order of layers, hostile names, runs that were killed.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use keyway_manifest::Digest;
use keyway_xtask::container::Layer;
use keyway_xtask::engine::{Engine, EngineError};
use keyway_xtask::failure::{Diagnose, Exit};
use snapbox::{IntoData, assert_data_eq, str};

use crate::fixture::{EPOCH, Fixture, LayerBuilder, layer_of};

/// The root that these layers make.
fn root(fixture: &Fixture, layers: Vec<Layer>) -> PathBuf {
    fixture.sandbox().prepare(&fixture.image(layers)).unwrap().location.into()
}

/// The refusal of a layer, without its digest.
fn check_refused(expected: impl IntoData, fill: impl FnOnce(&mut LayerBuilder)) {
    let fixture = Fixture::new();
    let layer = fixture.layer("hostile", fill);
    let outside = fixture.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let error = fixture.sandbox().prepare(&fixture.image(vec![layer.clone()])).unwrap_err();
    assert_eq!(error.exit(), Exit::Environment);
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert_data_eq!(cause.replace(&layer.diff_id.short(), "[LAYER]"), expected);
    assert_eq!(fs::read_dir(outside).unwrap().count(), 0);
    // Nothing that looks finished, nothing half done.
    for folder in ["trees", "roots"] {
        let left = fs::read_dir(fixture.cache().root().join(folder)).unwrap().count();
        assert_eq!(left, 0, "{folder}");
    }
}

#[test]
fn a_name_that_leaves_the_root() {
    check_refused(
        str!["layer `[LAYER]` has the entry `../outside/x`, which leaves the root"],
        |tar| tar.file("../outside/x", 0o644, b"x"),
    );
    check_refused(
        str!["layer `[LAYER]` has the entry `a/../../outside/x`, which leaves the root"],
        |tar| tar.file("a/../../outside/x", 0o644, b"x"),
    );
}

#[test]
fn a_name_that_passes_through_a_link() {
    check_refused(
        str!["layer `[LAYER]` has the entry `a`, which passes through a link or a file"],
        |tar| {
            tar.link("a", "../../../outside");
            tar.file("a/x", 0o644, b"x");
        },
    );
    check_refused(
        str!["layer `[LAYER]` has the entry `a`, which passes through a link or a file"],
        |tar| {
            tar.link("a", "../../../outside");
            tar.folder("a", 0o777);
        },
    );
}

#[test]
fn a_hard_link_to_a_file_of_the_machine() {
    check_refused(
        str!["layer `[LAYER]` has the entry `../../etc/passwd`, which leaves the root"],
        |tar| tar.hard_link("a", "../../etc/passwd"),
    );
    check_refused(
        str!["layer `[LAYER]` has the entry `b/passwd`, which passes through a link or a file"],
        |tar| {
            tar.link("b", "/etc");
            tar.hard_link("a", "b/passwd");
        },
    );
    check_refused(
        str!["layer `[LAYER]` has the entry `a`, a hard link to no file of this layer"],
        |tar| tar.hard_link("a", "nowhere"),
    );
}

#[test]
fn a_file_in_place_of_a_link_does_not_follow_it() {
    let fixture = Fixture::new();
    let victim = fixture.path().join("victim");
    fs::write(&victim, "untouched").unwrap();
    let layer = fixture.layer("layer", |tar| {
        tar.link("a", victim.to_str().unwrap());
        tar.file("a", 0o644, b"new");
    });
    let root = root(&fixture, vec![layer]);
    assert_eq!(fs::read_to_string(victim).unwrap(), "untouched");
    assert_eq!(fs::read_to_string(root.join("a")).unwrap(), "new");
}

#[test]
fn modes_times_and_kinds() {
    let fixture = Fixture::new();
    let layer = fixture.layer("layer", |tar| {
        tar.folder("locked", 0o555);
        tar.file("locked/setuid", 0o6755, b"x");
        tar.file("locked/secret", 0o000, b"x");
        tar.hard_link("locked/twin", "/locked/secret");
        tar.link("link", "locked/secret");
        tar.device("null");
        tar.file("./dot", 0o644, b"x");
        tar.file("/absolute", 0o644, b"x");
        tar.file("parents/are/made", 0o644, b"x");
    });
    let root = root(&fixture, vec![layer]);
    let mode = |name: &str| {
        let meta = root.join(name).symlink_metadata().unwrap();
        assert_eq!(meta.uid(), rustix::process::geteuid().as_raw(), "{name}");
        meta.permissions().mode() & 0o7777
    };
    assert_eq!(mode("locked"), 0o755);
    assert_eq!(mode("locked/setuid"), 0o755);
    assert_eq!(mode("locked/secret"), 0o400);
    assert_eq!(mode("dot"), 0o644);
    assert_eq!(mode("absolute"), 0o644);
    assert_eq!(mode("parents/are/made"), 0o644);
    assert!(!root.join("null").exists());
    assert_eq!(fs::read_link(root.join("link")).unwrap(), PathBuf::from("locked/secret"));
    let inode = |name: &str| fs::metadata(root.join(name)).unwrap().ino();
    assert_eq!(inode("locked/twin"), inode("locked/secret"));
    for name in ["locked", "locked/setuid", "link", "dot"] {
        let time = root.join(name).symlink_metadata().unwrap().mtime();
        assert_eq!(time, EPOCH as i64, "{name}");
    }
}

#[test]
fn later_layers_replace_hide_and_add() {
    let fixture = Fixture::new();
    let lower = fixture.layer("lower", |tar| {
        for folder in ["kept", "opaque", "to-file"] {
            tar.folder(folder, 0o755);
            tar.file(&format!("{folder}/lower"), 0o644, b"lower");
        }
        tar.file("to-folder", 0o644, b"lower");
        tar.file("hidden", 0o644, b"lower");
        tar.link("link", "kept");
    });
    let upper = fixture.layer("upper", |tar| {
        tar.file("kept/upper", 0o644, b"upper");
        tar.file("opaque/.wh..wh..opq", 0o644, b"");
        tar.file("opaque/upper", 0o644, b"upper");
        tar.file("to-file", 0o644, b"upper");
        tar.file("to-folder/upper", 0o644, b"upper");
        tar.file(".wh.hidden", 0o644, b"");
        tar.file("link/upper", 0o644, b"upper");
    });
    let root = root(&fixture, vec![lower, upper]);
    let mut seen = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() {
                folders.push(path);
            } else {
                seen.push(path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    seen.sort();
    let expected =
        ["kept/lower", "kept/upper", "link/upper", "opaque/upper", "to-file", "to-folder/upper"];
    assert_eq!(seen, expected);
}

#[test]
fn a_layer_is_on_disk_once() {
    let fixture = Fixture::new();
    let shared = fixture.layer("shared", |tar| tar.file("file", 0o644, b"x"));
    let own = fixture.layer("own", |tar| tar.file("other", 0o644, b"x"));
    let one = root(&fixture, vec![shared.clone()]);
    let two = root(&fixture, vec![shared, own]);
    assert_ne!(one, two);
    let inode = |root: &PathBuf| fs::metadata(root.join("file")).unwrap().ino();
    assert_eq!(inode(&one), inode(&two));
}

#[test]
fn a_killed_run_is_taken_up() {
    let fixture = Fixture::new();
    let layer = fixture.layer("layer", |tar| tar.file("file", 0o644, b"x"));
    for folder in ["trees", "roots"] {
        let name = match folder {
            "trees" => layer.diff_id,
            _ => fixture.image(vec![layer.clone()]).manifest,
        };
        let partial = fixture.cache().dir(format!("{folder}/{name}.partial")).unwrap();
        fs::write(partial.join("left over"), "x").unwrap();
    }
    let root = root(&fixture, vec![layer]);
    assert!(!root.join("left over").exists());
    assert!(root.join("file").exists());
}

#[test]
fn a_layer_with_other_bytes_than_its_name_says() {
    let fixture = Fixture::new();
    let mut layer = fixture.layer("layer", |tar| tar.file("file", 0o644, b"x"));
    layer.diff_id = Digest::of("another");
    let error = fixture.sandbox().prepare(&fixture.image(vec![layer])).unwrap_err();
    let EngineError::Unpack { source, .. } = &error else { panic!("{error:?}") };
    assert!(source.to_string().contains("expected `"), "{source}");
    assert!(error.hint().unwrap().contains("delete the layer"));
}

#[test]
fn a_layer_that_is_cut_or_no_tar() {
    let fixture = Fixture::new();
    let layer = fixture.layer("layer", |tar| tar.file("file", 0o644, &[b'x'; 4000]));
    let cut = fixture.path().join("cut.tar");
    fs::copy(&layer.file, &cut).unwrap();
    File::options().write(true).open(&cut).unwrap().set_len(1000).unwrap();
    let noise = fixture.path().join("noise.tar");
    fs::write(&noise, [b'?'; 2048]).unwrap();
    for file in [cut, noise] {
        let error = fixture.sandbox().prepare(&fixture.image(vec![layer_of(file)])).unwrap_err();
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(cause.ends_with("is no readable tar"), "{cause}");
    }
    let gone = Layer { file: fixture.path().join("gone.tar"), ..layer };
    let error = fixture.sandbox().prepare(&fixture.image(vec![gone])).unwrap_err();
    assert!(std::error::Error::source(&error).unwrap().to_string().starts_with("could not open"));
}
