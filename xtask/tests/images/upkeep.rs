//! `images verify`, `update`, `du` and `gc`, against an archive served here.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use keyway_manifest::Digest;
use serde_json::Value;

use crate::debian::World;
use crate::fixture::file;

/// A base with a file of the recipe's own, and an image on top.
fn world() -> World {
    let mut world = World::new();
    world.package("extra", "1", "lib", &[file("usr/bin/extra", "more")]);
    world.publish();
    fs::write(world.recipes().join("hello"), "#!/bin/sh\n").unwrap();
    let own = "[[file]]\npath = \"usr/bin/hello\"\nsource = \"hello\"\nexecutable = true\n";
    world.recipe("base", &format!("packages = [\"tool\"]\n{own}"));
    world.recipe("upper", "from = \"base\"\npackages = [\"extra\"]\n");
    world.succeed(&["lock"]);
    world
}

fn events(stdout: &str, event: &str) -> Vec<Value> {
    let all = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    all.filter(|found| found["event"] == event).collect()
}

#[test]
fn verifies_in_an_empty_store() {
    let world = world();
    // A damaged layer of the right size in the store is no evidence, one way or the other.
    for entry in fs::read_dir(world.path().join("cache/layers")).unwrap() {
        let path = entry.unwrap().path();
        let size = fs::metadata(&path).unwrap().len();
        fs::write(&path, vec![0; usize::try_from(size).unwrap()]).unwrap();
    }
    // Nor is a damaged download.
    let package =
        fs::read_dir(world.path().join("cache/downloads/sha256")).unwrap().next().unwrap();
    let package = package.unwrap().path();
    let size = fs::metadata(&package).unwrap().len();
    fs::write(&package, vec![0; usize::try_from(size).unwrap()]).unwrap();
    // A run that was killed left its store behind.
    fs::create_dir_all(world.path().join("cache/tmp/verify/store-left/layers")).unwrap();
    fs::write(world.path().join("cache/tmp/verify/store-left.lock"), "").unwrap();
    let verdicts = events(&world.succeed(&["verify"]), "verification");
    let of = |verdict: &Value| (verdict["image"].clone(), verdict["verdict"].clone());
    let expected = ["base", "upper"].map(|image| (image.into(), "verified".into()));
    assert_eq!(verdicts.iter().map(of).collect::<Vec<_>>(), expected);
    assert_eq!(fs::read_dir(world.path().join("cache/tmp/verify")).unwrap().count(), 0);
}

#[test]
fn names_the_first_file_and_attribute_that_differ() {
    let world = world();
    let lock = world.lock("base");
    // The lock as it would be had the recipe's file another mode then.
    let layer = lock.split("[[layer]]").find(|layer| layer.contains("\"files\"")).unwrap();
    let value = |key: &str| {
        let line = layer.lines().find_map(|line| line.strip_prefix(key)).unwrap();
        line.trim_start_matches(" = ").trim_matches('"').to_owned()
    };
    let digest = value("diff_id");
    let layers = world.path().join("cache/layers");
    let changed = with_mode(&fs::read(layers.join(format!("{digest}.tar"))).unwrap(), 0o700);
    let other = Digest::of(&changed).to_string();
    fs::write(layers.join(format!("{other}.tar")), changed).unwrap();
    fs::write(world.recipes().join("base.lock"), lock.replace(&digest, &other)).unwrap();
    let output = world.run(&["verify", "base"]);
    assert_eq!(output.status.code(), Some(3));
    let verdict = &events(&String::from_utf8(output.stdout).unwrap(), "verification")[0];
    assert_eq!(verdict["verdict"], "different");
    assert_eq!(verdict["part"], "layer `files`");
    assert_eq!(verdict["difference"], "`usr/bin/hello`: mode 755, the lock's has 700");

    fs::remove_file(layers.join(format!("{other}.tar"))).unwrap();
    let output = world.run(&["verify", "base"]);
    let verdict = &events(&String::from_utf8(output.stdout).unwrap(), "verification")[0];
    let why = verdict["difference"].as_str().unwrap();
    assert!(why.starts_with("the store does not have the layer"), "{why}");
}

/// A layer with another mode for all its files.
fn with_mode(layer: &[u8], mode: u32) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    for entry in tar::Archive::new(layer).entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut header = entry.header().clone();
        if header.entry_type().is_file() {
            header.set_mode(mode);
            header.set_cksum();
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        out.append(&header, content.as_slice()).unwrap();
    }
    out.into_inner().unwrap()
}

#[test]
fn removes_what_no_lock_names() {
    let world = world();
    let cache = world.path().join("cache");
    let stray = Digest::of("stray").to_string();
    let strays = [
        format!("layers/{stray}.tar"),
        format!("downloads/sha256/{stray}"),
        format!("std/{stray}"),
    ];
    fs::create_dir_all(cache.join("std")).unwrap();
    for path in &strays {
        fs::write(cache.join(path), "stray").unwrap();
    }
    let root = cache.join("roots").join(&stray[..12]);
    fs::create_dir_all(root.join("locked")).unwrap();
    let there = || strays.iter().filter(|path| cache.join(path).exists()).count();
    let summary = |stdout: &str| events(stdout, "summary")[0].clone();
    let shown = summary(&world.succeed(&["gc", "--dry-run"]));
    assert_eq!((there(), shown["dry_run"].clone()), (3, true.into()));
    assert!(shown["removed"].as_u64().unwrap() >= 4, "{shown}");
    // Several at once, beside a build.
    let runs: Vec<_> = ["gc", "build", "gc"]
        .map(|action| world.command(&[action]).stdout(std::process::Stdio::null()).spawn().unwrap())
        .into();
    for run in runs {
        assert!(run.wait_with_output().unwrap().status.success());
    }
    assert_eq!((there(), root.exists()), (0, false));
    let requests = world.server.log().len();
    world.succeed(&["build"]);
    assert_eq!(world.server.log().len(), requests, "what the locks name was kept");

    // Another workspace that used the cache keeps what it needs, until it is gone.
    let elsewhere = world.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    for name in ["base.toml", "base.lock", "hello"] {
        fs::copy(world.recipes().join(name), elsewhere.join(name)).unwrap();
    }
    let n_layers = || fs::read_dir(cache.join("layers")).unwrap().count();
    let all = n_layers();
    let gc = |recipes: &std::path::Path| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(["images", "gc", "--json", "--recipes"]).arg(recipes);
        let workspace = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        command.arg("--manifest-path").arg(workspace).env("KEYWAY_CACHE", &cache);
        assert!(command.output().unwrap().status.success());
    };
    gc(&elsewhere);
    assert_eq!(n_layers(), all);
    fs::rename(world.recipes(), world.path().join("moved")).unwrap();
    gc(&elsewhere);
    assert_eq!(n_layers(), all - 1, "the upper image's layer is nobody's any more");
}

#[test]
fn shows_bytes_shared_and_own() {
    let world = world();
    let stdout = world.succeed(&["du"]);
    let usage = events(&stdout, "usage");
    let bytes = |image: usize, key: &str| usage[image][key].as_u64().unwrap();
    assert_eq!(bytes(0, "shared"), bytes(0, "total"), "the upper image has all of the base");
    assert_eq!(bytes(1, "shared"), bytes(0, "total"));
    assert_eq!(bytes(1, "own"), bytes(1, "total") - bytes(1, "shared"));
    let folders = events(&stdout, "folder");
    let layers = folders.iter().find(|folder| folder["folder"] == "layers").unwrap();
    assert_eq!(layers["size"].as_u64().unwrap(), bytes(1, "total"), "each layer lies there once");
}

#[test]
fn only_an_update_moves_a_pin() {
    let mut world = world();
    let before = world.lock("base");
    let nothing = world.succeed(&["update", "--check"]);
    assert_eq!(events(&nothing, "change"), Vec::<Value>::new());
    world.package("tool", "2.1", "lib (>= 1)", &[file("usr/bin/tool", "newer")]);
    world.publish();
    world.server.remove("pool/tool_2.0.deb");
    let output = world.run(&["update", "--check", "base"]);
    assert_eq!(output.status.code(), Some(1));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let change = &events(&stdout, "change")[0];
    assert_eq!((&change["old"], &change["new"]), (&"2.0".into(), &"2.1".into()));
    assert_eq!(events(&stdout, "gone")[0]["package"], "tool 2.0");
    assert_eq!(world.lock("base"), before, "a check writes nothing");

    let stderr = world.fail(&["lock", "base"], 3);
    assert!(stderr.contains("package tool: 2.0 -> 2.1"), "{stderr}");
    assert!(stderr.contains("hint: `cargo xtask images update`"), "{stderr}");
    assert_eq!(world.lock("base"), before);

    let changes = events(&world.succeed(&["update"]), "change");
    assert_eq!(changes.len(), 1, "{changes:#?}");
    assert!(world.lock("base").contains("version = \"2.1\""));
}

/// A lock with the marks of a merge, or cut by a full disk, still says what was pinned to whoever mends it.
#[test]
fn a_lock_that_cant_be_read_is_never_taken_for_none() {
    let mut world = world();
    let lock = world.lock("base");
    world.package("tool", "2.1", "lib (>= 1)", &[file("usr/bin/tool", "newer")]);
    world.publish();
    let path = world.recipes().join("base.lock");
    let conflict = format!("<<<<<<< HEAD\n{lock}=======\n{lock}>>>>>>> theirs\n");
    for broken in ["", &lock[..lock.len() / 2], &conflict] {
        fs::write(&path, broken).unwrap();
        for arguments in [&["lock"][..], &["lock", "base"], &["update"], &["update", "--check"]] {
            let said = world.fail(arguments, 2);
            assert!(said.contains("error: `[WORLD]/recipes/base.lock` is no lock"), "{said}");
            let hint = "hint: bring it back from version control, as by `git checkout -- \
                        [WORLD]/recipes/base.lock`; without `[WORLD]/recipes/base.lock`, `cargo xtask \
                        images lock` chooses every version anew";
            assert!(said.contains(hint), "{said}");
            assert_eq!(fs::read_to_string(&path).unwrap(), broken);
        }
        let said = world.fail(&["list"], 2);
        assert!(said.contains("base.lock` is no lock"), "nor is it shown as unlocked: {said}");
    }
    fs::write(&path, lock.replace("version = 1\n", "version = 9\n")).unwrap();
    let said = world.fail(&["lock", "base"], 2);
    assert!(said.contains("is of format version 9, this tool reads 1"), "{said}");
    // Without it, it is as its user was told.
    fs::remove_file(&path).unwrap();
    world.succeed(&["lock"]);
    assert!(world.lock("base").contains("version = \"2.1\""));
}

/// A workspace with a host, in which `upper` builds for a target.
fn with_host(world: &World) -> PathBuf {
    let root = world.path().join("workspace");
    fs::create_dir_all(root.join("crates/host")).unwrap();
    fs::write(root.join("Cargo.toml"), "[workspace]\nresolver = \"3\"\n").unwrap();
    fs::rename(world.recipes(), root.join("docker")).unwrap();
    let path = root.join("docker/upper.lock");
    let (record, hash) = (Digest::of("std"), Digest::of("toolchain"));
    let toolchain = format!(
        "[[toolchain]]\nhash = \"{hash}\"\n[toolchain.record]\ncrt = \"x\"\npanic = \"unwind\"\n\
         std = \"{record}\"\ntarget = \"a-b-c\"\n[toolchain.record.linker]\nname = \"ld\"\n\
         version = \"1\"\n[toolchain.record.rustc]\nrelease = \"1\"\ncommit = \"c\"\nllvm = \"1\"\n"
    );
    let lock = fs::read_to_string(&path).unwrap();
    fs::write(path, lock + &toolchain).unwrap();
    root
}

#[test]
fn locking_one_image_takes_no_toolchain_from_the_host() {
    let world = world();
    let root = with_host(&world);
    let recipe = root.join("docker/base.toml");
    let edited = fs::read_to_string(&recipe).unwrap() + "[env]\nPATH = \"/usr/bin\"\n";
    fs::write(recipe, edited).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["images", "lock", "base", "--mirror", &world.server.url("")]);
    command.arg("--manifest-path").arg(root.join("Cargo.toml"));
    let output = command.env("KEYWAY_CACHE", world.path().join("cache")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // `upper` stands on what `base` was, and what it has built is trusted until it is locked again.
    let trusted = fs::read_to_string(root.join("crates/host/toolchains.txt")).unwrap();
    assert!(trusted.contains(&format!("{} a-b-c\n", Digest::of("toolchain"))), "{trusted}");
}

/// Every file and folder below `root`, with size and time.
fn everything(root: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let (mut found, mut folders) = (Vec::new(), vec![root.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let (entry, path) =
                entry.map(|entry| (entry.metadata().unwrap(), entry.path())).unwrap();
            if entry.is_dir() {
                folders.push(path.clone());
            }
            found.push((path, entry.len(), entry.modified().unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_dry_run_of_gc_changes_nothing() {
    let world = world();
    let note = world.path().join("cache/recipes").join(Digest::of("/nowhere").short());
    fs::write(&note, "/nowhere").unwrap();
    // Nor are folders made that are not there.
    for folder in ["trees", "roots", "std", "zig", "vendor", "locks"] {
        let _ = fs::remove_dir_all(world.path().join("cache").join(folder));
    }
    let before = everything(world.path());
    let removed = events(&world.succeed(&["gc", "--dry-run"]), "removed");
    assert_eq!(everything(world.path()), before);
    assert!(removed.iter().any(|found| found["what"] == note.to_str().unwrap()), "{removed:#?}");
    let mut elsewhere = world.command(&["gc", "--dry-run"]);
    let nowhere = world.path().join("no cache");
    assert!(elsewhere.env("KEYWAY_CACHE", &nowhere).output().unwrap().status.success());
    assert!(!nowhere.exists());
    // Recipes that never used this cache count all the same.
    fs::remove_dir_all(world.path().join("cache/recipes")).unwrap();
    let removed = world.succeed(&["gc", "--dry-run"]);
    assert!(!removed.contains("/layers/"), "{removed}");
    fs::create_dir(world.path().join("cache/recipes")).unwrap();
    fs::write(&note, "/nowhere").unwrap();
    world.succeed(&["gc"]);
    assert!(!note.exists());
}

#[test]
fn a_full_disk_is_said_and_the_store_stays_whole() {
    let world = world();
    let cache = world.path().join("cache");
    fs::remove_dir_all(&cache).unwrap();
    fs::create_dir(&cache).unwrap();
    // A small file system, filled but for a few pages; then emptied again.
    let script = "mount -t tmpfs -o size=256k tmpfs \"$KEYWAY_CACHE\" || exit 99\n\
                  dd if=/dev/zero of=\"$KEYWAY_CACHE/ballast\" bs=4k 2>/dev/null\n\
                  truncate -s -24k \"$KEYWAY_CACHE/ballast\"\n\
                  \"$@\"; echo \"status $?\"\n\
                  rm \"$KEYWAY_CACHE/ballast\"\n\
                  \"$@\"; echo \"status $?\"\n";
    let build = world.command(&["build"]);
    let mut command = std::process::Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]);
    command.arg(build.get_program()).args(build.get_args()).env("KEYWAY_CACHE", &cache);
    let output = command.output().unwrap();
    if output.status.code() == Some(99)
        || !String::from_utf8_lossy(&output.stdout).contains("status")
    {
        println!("skipped: no small file system can be mounted here");
        return;
    }
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let statuses: Vec<_> = stdout.lines().filter(|line| line.starts_with("status")).collect();
    assert_eq!(statuses, ["status 4", "status 0"], "{stderr}");
    assert!(stderr.contains("No space left on device"), "{stderr}");
    assert!(stderr.contains("hint: free some space"), "{stderr}");
}

#[test]
fn only_names_of_recipes_are_taken() {
    let world = world();
    for name in ["nothing", "../base"] {
        let output = world.command(&["lock", name]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(&format!("there is no image `{name}`")), "{said}");
    }
}

#[test]
fn the_engine_is_taken_from_the_environment() {
    let world = world();
    let output = world.command(&["lock"]).env("KEYWAY_ENGINE", "steam").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("'steam'") && said.contains("sandbox"), "{said}");
}
