//! What a delivery changes, and above all what it does not.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use keyway_manifest::{Digest, Manifest};
use snapbox::{assert_data_eq, str};
use tempfile::TempDir;

use super::{Delivery, DistError, Index, recover};
use crate::failure::{Diagnose, Failure};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A workspace's folder with a `dist` that may not be there yet.
struct World {
    root: TempDir,
}

impl World {
    fn new() -> Self {
        Self { root: tempfile::tempdir().expect("a temporary folder") }
    }

    fn dist(&self) -> PathBuf {
        self.root.path().join("dist")
    }

    /// Writes a file of somebody else's.
    fn write(&self, relative: &str, text: &str) -> PathBuf {
        let path = self.dist().join(relative);
        fs::create_dir_all(path.parent().expect("has one")).expect("create");
        fs::write(&path, text).expect("write");
        path
    }

    fn read(&self, relative: &str) -> String {
        fs::read_to_string(self.dist().join(relative)).unwrap_or_default()
    }

    fn library(&self, plugin: &str) -> String {
        self.read(&format!("{TARGET}/{plugin}/libgreet.so"))
    }

    fn index(&self) -> Index {
        Index::read(&self.dist()).expect("an index")
    }

    fn begin(&self) -> Delivery {
        Delivery::begin(&self.dist(), &self.index()).expect("begin")
    }

    fn deliver(&self, plugin: &str, library: &str) -> Index {
        let mut delivery = self.begin();
        delivery.place(library.as_bytes(), &manifest(plugin, library)).expect("place");
        delivery.publish().expect("publish")
    }

    /// What a delivery of a plugin fails with, written as a user sees it.
    fn refused(&self, plugin: &str) -> String {
        let before = self.everything();
        let delivered = Index::read(&self.dist()).and_then(|index| {
            let mut delivery = Delivery::begin(&self.dist(), &index)?;
            delivery.place(b"1", &manifest(plugin, "1"))?;
            delivery.publish()
        });
        assert_eq!(self.everything(), before, "nothing has changed");
        self.told(delivered.expect_err("refused"))
    }

    fn told(&self, error: DistError) -> String {
        let failure = Failure::from(error);
        let hint = failure.hint.clone().unwrap_or_default();
        let root = self.root.path().to_string_lossy().into_owned();
        format!("{failure}\nhint: {hint}\n").replace(&root, "[ROOT]")
    }

    /// Every file and link below the root with what is in it.
    fn everything(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        collect(self.root.path(), self.root.path(), &mut found);
        found
    }
}

fn collect(root: &Path, folder: &Path, found: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).expect("list").flatten() {
        let path = entry.path();
        let kind = entry.file_type().expect("a kind");
        let name = path.strip_prefix(root).expect("below").to_owned();
        if kind.is_dir() {
            collect(root, &path, found);
        } else if kind.is_symlink() {
            found.insert(name, format!("-> {}", fs::read_link(&path).expect("a link").display()));
        } else {
            found.insert(name, fs::read_to_string(&path).expect("text"));
        }
    }
}

fn manifest(plugin: &str, library: &str) -> Manifest {
    let text = include_str!("../../tests/data/greet.manifest.json");
    let mut manifest = Manifest::parse(text.as_bytes()).expect("the sample is right");
    assert_eq!(manifest.target.as_str(), TARGET);
    manifest.plugin.name = plugin.parse().expect("a name");
    manifest.artifact.sha256 = Digest::of(library);
    manifest.artifact.size = library.len() as u64;
    manifest
}

fn plugins(index: &Index) -> Vec<&str> {
    index.artifacts.iter().map(|entry| entry.plugin.as_str()).collect()
}

#[test]
fn replaces_one_artifact_and_keeps_the_others() {
    let world = World::new();
    world.deliver("one", "1");
    world.deliver("two", "2");
    let index = world.deliver("one", "new");
    assert_eq!(index, world.index());
    assert_eq!(plugins(&index), ["one", "two"]);
    assert_eq!((world.library("one"), world.library("two")), ("new".into(), "2".into()));
    assert_eq!(world.everything().len(), 1 + 2 * 2, "nothing else is left");
}

#[test]
fn what_is_withdrawn_is_not_delivered_and_the_last_one_stays() {
    let world = World::new();
    let mut delivery = world.begin();
    let first = manifest("one", "1");
    delivery.place(b"1", &first).expect("place");
    delivery.withdraw(&first.target, "one");
    assert_eq!(delivery.publish().expect("publish").artifacts, []);
    assert!(!world.dist().join(TARGET).exists());

    let before = world.deliver("one", "1");
    let mut delivery = world.begin();
    delivery.place(b"2", &manifest("one", "2")).expect("place");
    delivery.withdraw(&first.target, "one");
    assert_eq!(delivery.publish().expect("publish"), before);
    assert_eq!(world.library("one"), "1");
}

#[test]
fn what_others_have_there_is_left_alone() {
    use std::os::unix::fs::MetadataExt as _;
    let world = World::new();
    let others = [
        world.write("CHANGELOG.md", "1.0"),
        world.write("web/js/app.js", "app"),
        world.write("wheels/a.whl", "wheel"),
        // Beside artifacts, too.
        world.write(&format!("{TARGET}/README"), "linux"),
        world.write(&format!("{TARGET}/one/one.sig"), "signature"),
        world.write(&format!("{TARGET}/one/symbols/one.dbg"), "debug"),
    ];
    symlink("CHANGELOG.md", world.dist().join("link")).expect("a link");
    let mut all = others.to_vec();
    all.extend([world.dist(), world.dist().join("web/js"), world.dist().join(TARGET)]);
    let look = |path: &PathBuf| {
        let found = fs::symlink_metadata(path).expect("it is there");
        (found.ino(), found.mode(), found.is_file().then(|| found.mtime_nsec()))
    };
    let before: Vec<_> = all.iter().map(look).collect();
    let theirs = world.everything();
    world.deliver("one", "1");
    world.deliver("one", "2");
    let mut delivery = world.begin();
    delivery.place(b"3", &manifest("two", "3")).expect("place");
    delivery.remove(world.index().artifacts.first().expect("one"));
    assert_eq!(plugins(&delivery.publish().expect("publish")), ["two"]);
    assert_eq!(all.iter().map(look).collect::<Vec<_>>(), before);
    let mut after = world.everything();
    after.retain(|path, _| theirs.contains_key(path));
    assert_eq!(after, theirs);
    assert_eq!(world.everything().len(), theirs.len() + 3);
}

#[test]
fn a_damaged_index_is_made_again_from_the_manifests() {
    let world = World::new();
    world.deliver("one", "1");
    let whole = world.deliver("two", "2");
    let text = world.read("index.json");
    let conflict = format!("<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> theirs\n");
    let outside = text.replace(&format!("{TARGET}/one/libgreet.so"), "../../precious");
    let halves = ["", &text[..text.len() / 2], &conflict, &outside];
    let newer = text.replace("\"format\": 1", "\"format\": 2");
    for damaged in halves.into_iter().chain([&*newer]) {
        fs::write(world.dist().join("index.json"), damaged).expect("write");
        assert_eq!(world.index(), whole, "{damaged}");
        assert_eq!(world.read("index.json"), damaged, "reading writes nothing");
        assert_eq!(recover(&world.dist()).expect("recovered"), Some(2), "{damaged}");
        assert_eq!(world.read("index.json"), text);
    }
    for delivered_next in [false, true] {
        fs::remove_file(world.dist().join("index.json")).expect("remove");
        assert_eq!(world.index(), whole);
        if !delivered_next {
            assert_eq!(recover(&world.dist()).expect("recovered"), Some(2));
            assert_eq!(world.read("index.json"), text);
        }
    }
    // The next delivery of one keeps the other.
    assert_eq!(plugins(&world.deliver("one", "new")), ["one", "two"]);
    assert_eq!((world.library("one"), world.library("two")), ("new".into(), "2".into()));
}

#[test]
fn an_index_of_another_program_is_in_the_way() {
    let world = World::new();
    world.write("index.json", "{\"pages\": []}");
    world.write("app.js", "app");
    assert_data_eq!(
        world.refused("one"),
        str![[r#"
`[ROOT]/dist/index.json` is in the way: it is no index of artifacts, and not Keyway's
hint: move `[ROOT]/dist/index.json` away, or deliver to another folder with `--dist DIR`

"#]]
    );
    world.write("index.json", "no JSON at all");
    assert!(world.refused("one").contains("dist/index.json` is in the way"));
}

#[test]
fn a_file_of_others_under_a_name_that_is_needed_is_in_the_way() {
    let world = World::new();
    world.write(&format!("{TARGET}/one/libgreet.so"), "built by hand");
    assert_data_eq!(
        world.refused("one"),
        str![[r#"
`[ROOT]/dist/x86_64-unknown-linux-gnu/one/libgreet.so` is in the way: no manifest says what it is, and not Keyway's
hint: move `[ROOT]/dist/x86_64-unknown-linux-gnu/one/libgreet.so` away, or deliver to another folder with `--dist DIR`

"#]]
    );
    world.write(&format!("{TARGET}/two"), "a file");
    assert!(world.refused("two").contains("gnu/two` is in the way: it is no folder"));
    let elsewhere = world.root.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("create");
    symlink(&elsewhere, world.dist().join(TARGET).join("three")).expect("a link");
    assert!(world.refused("three").contains("gnu/three` is in the way: it is a link"));
    let file = World::new();
    fs::write(file.dist(), "a file").expect("write");
    assert!(file.refused("one").contains("dist` is in the way: it is no folder"));
}

#[test]
fn a_dist_that_is_a_link_stays_one() {
    let world = World::new();
    let elsewhere = world.root.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("create");
    symlink("elsewhere", world.dist()).expect("a link");
    world.deliver("one", "1");
    world.deliver("one", "2");
    assert!(fs::symlink_metadata(world.dist()).expect("there").is_symlink());
    assert!(elsewhere.join(TARGET).join("one/libgreet.so").is_file());
    assert_eq!(world.library("one"), "2");
}

/// Stops a delivery where a kill could, with its folder left behind.
fn killed(world: &World, before_the_kill: impl FnOnce(&Path)) {
    let mut delivery = world.begin();
    delivery.place(b"2", &manifest("one", "2")).expect("place");
    let staging = delivery.abandon();
    before_the_kill(&staging);
}

#[test]
fn killed_before_the_first_move_nothing_has_changed() {
    let world = World::new();
    let before = world.deliver("one", "1");
    let files = world.everything();
    killed(&world, |_| {});
    assert_eq!((world.index(), world.library("one")), (before, "1".into()));
    assert_eq!(recover(&world.dist()).expect("recovered"), None);
    assert_eq!(world.everything(), files);
    assert_eq!(recover(&world.dist()).expect("recovered"), None);
}

#[test]
fn killed_between_the_moves_the_index_catches_up() {
    let world = World::new();
    world.deliver("one", "1");
    world.write(&format!("{TARGET}/one/notes"), "mine");
    let index = world.read("index.json");
    killed(&world, |staging| {
        fs::write(staging.join("index.json"), &index).expect("write");
        let place = world.dist().join(TARGET).join("one");
        super::files::change_places(&staging.join(TARGET).join("one"), &place).expect("moved");
    });
    assert_eq!(world.library("one"), "2");
    assert_eq!(recover(&world.dist()).expect("recovered"), Some(1));
    assert_eq!(world.index().artifacts[0].sha256, Digest::of("2"));
    assert_eq!(world.read(&format!("{TARGET}/one/notes")), "mine", "it is put back");
    assert_eq!(world.everything().len(), 1 + 2 + 1);
}

#[test]
fn a_new_artifact_that_was_not_moved_yet_is_moved() {
    let world = World::new();
    killed(&world, |staging| {
        let index = Index { artifacts: Vec::new(), ..Index::default() };
        let json = serde_json::to_string(&index).expect("JSON");
        fs::write(staging.join("index.json"), json).expect("write");
    });
    assert_eq!(recover(&world.dist()).expect("recovered"), Some(1));
    assert_eq!((plugins(&world.index()), &*world.library("one")), (vec!["one"], "2"));
}

#[test]
fn folders_that_look_like_a_delivery_are_not_removed() {
    let world = World::new();
    world.write(".keyway-backup/file", "mine");
    fs::create_dir(world.root.path().join(".dist-backup")).expect("create");
    fs::write(world.root.path().join(".dist-backup/file"), "mine").expect("write");
    let files = world.everything();
    assert_eq!(recover(&world.dist()).expect("recovered"), None);
    assert_eq!(world.everything(), files);
}

#[test]
fn the_hint_of_a_failure_names_what_failed() {
    let error = |kind: std::io::ErrorKind| {
        DistError::io("write", Path::new("/w/dist/index.json"))(kind.into()).hint()
    };
    assert_data_eq!(
        error(std::io::ErrorKind::StorageFull).expect("a hint"),
        str![
            "free some space on the disk of `/w/dist/index.json`, or deliver to another folder with `--dist DIR`"
        ]
    );
    assert_data_eq!(
        error(std::io::ErrorKind::PermissionDenied).expect("a hint"),
        str![
            "let this user write to `/w/dist/index.json`, or deliver to another folder with `--dist DIR`"
        ]
    );
}
