//! Images on the way to a machine without network, and archives that bring something else.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keyway_manifest::Digest;
use keyway_xtask::cache::Cache;
use keyway_xtask::failure::{Diagnose as _, Exit};
use keyway_xtask::image::Images;
use keyway_xtask::image::transport::Imported;
use keyway_xtask::shell::Shell;
use snapbox::str;
use tar::{Archive, EntryType};

use crate::debian::World;
use crate::fixture::{Item, file, symlink, tar};
use crate::lifecycle::{digests, world};

/// A world of two images that were exported, and the archive.
struct Exported {
    world: World,
    archive: PathBuf,
}

impl Exported {
    fn new() -> Self {
        let world = world();
        world.succeed(&["lock"]);
        let archive = world.path().join("images.tar");
        world.succeed(&["export", "--output", archive.to_str().unwrap()]);
        Self { world, archive }
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(&self.archive).unwrap()
    }

    fn items(&self) -> Vec<Item> {
        items(&self.bytes())
    }

    /// Imports `bytes` into an empty cache.
    fn import(&self, bytes: &[u8]) -> Result<Imported, (Exit, String)> {
        let place = tempfile::tempdir().unwrap();
        let archive = place.path().join("x.tar");
        fs::write(&archive, bytes).unwrap();
        let cache = place.path().join("cache");
        let images = Images::open(self.world.recipes(), Cache::at(cache.clone()).unwrap());
        let imported = images.import(&archive, &Shell::silent());
        drop(images);
        check_store(&cache);
        let place = place.path().to_string_lossy().into_owned();
        imported.map_err(|error| (error.exit(), error.to_string().replace(&place, "[PLACE]")))
    }

    #[track_caller]
    fn refuses(&self, items: &[Item], expected: impl snapbox::IntoData) {
        let (exit, text) = self.import(&tar(items)).unwrap_err();
        snapbox::assert_data_eq!(text, expected);
        assert_eq!(exit, Exit::Refused);
    }
}

/// What is in the store is whole, and nothing lies about.
#[track_caller]
fn check_store(cache: &Path) {
    for entry in fs::read_dir(cache.join("layers")).unwrap() {
        let path = entry.unwrap().path();
        let digest = Digest::of(fs::read(&path).unwrap());
        assert_eq!(path.file_name().unwrap().to_str().unwrap(), format!("{digest}.tar"));
    }
    assert_eq!(fs::read_dir(cache.join("tmp/images")).unwrap().count(), 0);
}

fn items(bytes: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    for entry in Archive::new(bytes).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut data = Vec::new();
        entry.read_to_end(&mut data).unwrap();
        items.push(Item { data, ..file(&path, "") });
    }
    items
}

/// The last entry, which is a layer.
fn layer(items: &mut [Item]) -> &mut Item {
    items.last_mut().unwrap()
}

fn import(world: &World, archive: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["images", "import", "--json", "--recipes"])
        .arg(world.recipes())
        .arg(archive)
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .env("KEYWAY_CACHE", world.path().join("cache"))
        .output()
        .unwrap()
}

#[test]
fn images_travel_in_one_archive() {
    let Exported { world, archive } = Exported::new();
    let built = digests(&world.succeed(&["build"]));
    let bytes = fs::read(&archive).unwrap();
    world.succeed(&["export", "--output", archive.to_str().unwrap()]);
    assert_eq!(fs::read(&archive).unwrap(), bytes, "the same images, the same archive");

    // What both images stand on is in it once.
    let mut paths: Vec<String> = items(&bytes).into_iter().map(|item| item.path).collect();
    let index = String::from_utf8(items(&bytes)[1].data.clone()).unwrap();
    for (_, manifest) in &built {
        assert!(index.contains(manifest), "{index}");
    }
    paths.sort();
    let count = paths.len();
    paths.dedup();
    assert_eq!(paths.len(), count);

    fs::remove_dir_all(world.path().join("cache")).unwrap();
    let requests = world.server.log().len();
    let output = import(&world, &archive);
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    snapbox::assert_data_eq!(
        stdout,
        str![[r#"
{"event":"completeness","image":"base","complete":true,"missing":0}
{"event":"completeness","image":"upper","complete":true,"missing":0}
{"event":"import","added":3,"known":0}
{"event":"summary","added":3,"known":0,"seconds":[..]}

"#]]
    );
    check_store(&world.path().join("cache"));
    assert_eq!(digests(&world.succeed(&["build"])), built);
    assert_eq!(world.server.log().len(), requests, "no mirror was asked");

    let again = String::from_utf8(import(&world, &archive).stdout).unwrap();
    assert!(again.contains("{\"event\":\"import\",\"added\":0,\"known\":3}\n"), "{again}");
}

#[cfg(unix)]
#[test]
fn layers_are_for_all_users_to_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let Exported { world, archive } = Exported::new();
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    assert!(import(&world, &archive).status.success());
    for entry in fs::read_dir(world.path().join("cache/layers")).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o644);
    }
}

#[test]
fn an_archive_of_one_image_leaves_the_others_incomplete() {
    let Exported { world, archive } = Exported::new();
    world.succeed(&["export", "base", "--output", archive.to_str().unwrap()]);
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    let stdout = String::from_utf8(import(&world, &archive).stdout).unwrap();
    snapbox::assert_data_eq!(
        stdout,
        str![[r#"
{"event":"completeness","image":"base","complete":true,"missing":0}
{"event":"completeness","image":"upper","complete":false,"missing":1}
{"event":"import","added":2,"known":0}
{"event":"summary","added":2,"known":0,"seconds":[..]}

"#]]
    );
}

#[test]
fn exporting_assembles_what_is_missing_and_keeps_the_old_file_on_failure() {
    let Exported { world, archive } = Exported::new();
    let bytes = fs::read(&archive).unwrap();
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    world.succeed(&["export", "--output", archive.to_str().unwrap()]);
    assert_eq!(fs::read(&archive).unwrap(), bytes);

    let nowhere = world.path().join("nowhere/images.tar");
    let stderr = world.fail(&["export", "--output", nowhere.to_str().unwrap()], 4);
    assert!(
        stderr.starts_with("error: could not write the images to `[WORLD]/nowhere/images.tar`\n"),
        "{stderr}"
    );
    assert!(!world.path().join("nowhere").exists());
}

#[test]
fn refuses_what_was_tampered_with() {
    let exported = Exported::new();
    let mut items = exported.items();
    layer(&mut items).data[0] ^= 1;
    exported
        .refuses(&items, str!["`[PLACE]/x.tar` holds `blobs/sha256/[..]`, which has sha256 [..]"]);

    let mut items = exported.items();
    layer(&mut items).data.push(0);
    exported.refuses(
        &items,
        str!["`[PLACE]/x.tar` holds `blobs/sha256/[..]`, which has [..] bytes, expected [..]"],
    );

    // A layer that is here already does not make a bad one pass.
    let bad = exported.world.path().join("bad.tar");
    let mut items = exported.items();
    layer(&mut items).data[0] ^= 1;
    fs::write(&bad, tar(&items)).unwrap();
    let output = import(&exported.world, &bad);
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains(&layer(&mut items).path), "{stderr}");
    assert!(stderr.contains("hint: copy the archive again"), "{stderr}");
    check_store(&exported.world.path().join("cache"));
}

#[test]
fn refuses_what_no_lock_names() {
    let exported = Exported::new();
    let check = |item: Item, expected| {
        exported.refuses(&[exported.items(), vec![item]].concat(), expected);
    };
    let digest = Digest::of("foreign");
    let foreign = str!["`[PLACE]/x.tar` holds `[..]`, which no lock of the recipes names"];
    check(file(&format!("blobs/sha256/{digest}"), "foreign"), foreign.clone());
    check(
        file("../escape", "x"),
        str!["`[PLACE]/x.tar` holds `../escape`, which no lock of the recipes names"],
    );
    check(file("/etc/passwd", "x"), foreign.clone());
    check(file("blobs/sha256/../../escape", "x"), foreign.clone());
    // One name for one blob.
    let mut other = exported.items().pop().unwrap();
    other.path = format!("./{}", other.path);
    check(other, foreign.clone());
    let mut upper = exported.items().pop().unwrap();
    upper.path = upper.path.replace("blobs/sha256/", "").to_uppercase();
    upper.path = format!("blobs/sha256/{}", upper.path);
    check(upper, foreign);

    let link = str!["`[PLACE]/x.tar` holds `[..]`, which is no regular file"];
    let path = exported.items().pop().unwrap().path;
    check(symlink(&path, "/etc/passwd"), link.clone());
    check(symlink("index.json", "/etc/passwd"), link.clone());
    check(crate::fixture::hard_link(&path, "index.json"), link.clone());
    check(crate::fixture::folder("blobs/"), link.clone());
    // Headers that would give the next entry another name or size.
    for kind in [EntryType::XHeader, EntryType::GNULongName, EntryType::XGlobalHeader] {
        check(Item { kind, ..file("index.json", "20 path=../escape\n") }, link.clone());
    }
}

#[test]
fn refuses_an_archive_that_was_cut_wherever() {
    let exported = Exported::new();
    let bytes = exported.bytes();
    // It ends with two empty blocks; the first of them is the end mark.
    for at in (0..=bytes.len() - 1024).step_by(256) {
        let (exit, text) = exported.import(&bytes[..at]).expect_err("was cut");
        assert_eq!(exit, Exit::Refused);
        assert!(text.starts_with("`[PLACE]/x.tar` is cut "), "{at}: {text}");
    }
    let (_, text) = exported.import(&[]).unwrap_err();
    snapbox::assert_data_eq!(text, str!["`[PLACE]/x.tar` is cut before its first entry"]);
    let (_, text) = exported.import(&bytes[..bytes.len() - 1024]).unwrap_err();
    snapbox::assert_data_eq!(text, str!["`[PLACE]/x.tar` is cut after `blobs/sha256/[..]`"]);
    let (_, text) = exported.import(&bytes[..bytes.len() - 2048]).unwrap_err();
    snapbox::assert_data_eq!(text, str!["`[PLACE]/x.tar` is cut within `blobs/sha256/[..]`"]);
    assert_eq!(exported.import(&bytes).unwrap(), Imported { added: 3, known: 0 });
}

#[test]
fn refuses_what_is_no_archive() {
    let exported = Exported::new();
    let (exit, text) = exported.import(&[b'x'; 4096]).unwrap_err();
    assert_eq!(exit, Exit::Refused);
    snapbox::assert_data_eq!(text, str!["`[PLACE]/x.tar` is no archive of images"]);

    let output = import(&exported.world, Path::new("/nowhere/images.tar"));
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.starts_with("error: could not open the archive `/nowhere/images.tar`\n"),
        "{stderr}"
    );
}
