//! Runs that use one cache at the same time: who waits, for what, and who doesn't.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use keyway_xtask::cache::{Cache, OwnedDir, Turn};
use keyway_xtask::image::Lock;
use keyway_xtask::shell::Shell;

use crate::debian::World;

/// Two images that have nothing in common.
fn world() -> World {
    let world = World::new();
    world.recipe("a", "packages = [\"lib\"]\n");
    world.recipe("b", "packages = [\"tool\"]\n");
    world.succeed(&["lock"]);
    world
}

fn cache(world: &World) -> Cache {
    Cache::at(world.path().join("cache")).unwrap()
}

/// The turn at the first layer of an image, as another run has it.
fn turn(world: &World, image: &str) -> Turn {
    let lock = Lock::read(&world.recipes(), image).unwrap();
    let name = format!("layer-{}", lock.layers[0].diff_id.short());
    cache(world).turn(&name, &Shell::silent(), "").unwrap()
}

/// Starts `images ACTION`, whose words for people are read.
fn start(world: &World, arguments: &[&str]) -> Child {
    let json = world.command(arguments);
    let mut command = Command::new(json.get_program());
    command.args(json.get_args().filter(|argument| *argument != "--json"));
    command.env("KEYWAY_CACHE", world.path().join("cache"));
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The line that says for what a run waits.
fn waits_for(run: &mut Child) -> String {
    let lines = BufReader::new(run.stderr.take().unwrap()).lines().map(|line| line.unwrap());
    let found = lines.into_iter().find(|line| line.contains("Waiting"));
    found.unwrap().trim().to_owned()
}

#[test]
fn whose_layers_are_there_waits_for_nobody() {
    let world = world();
    let _turns = [turn(&world, "a"), turn(&world, "b")];
    let _alone = cache(&world).empty(&Shell::silent()).unwrap();
    world.succeed(&["build"]);
    world.succeed(&["list"]);
    world.succeed(&["gc", "--dry-run"]);
}

#[test]
fn who_needs_a_layer_that_another_makes_waits_for_that_alone() {
    let world = world();
    fs::remove_dir_all(world.path().join("cache/layers")).unwrap();
    let held = turn(&world, "a");
    let mut run = start(&world, &["build", "a"]);
    assert_eq!(waits_for(&mut run), "Waiting for another run that makes a (packages)");
    // Meanwhile another layer is made.
    world.succeed(&["build", "b"]);
    assert!(run.try_wait().unwrap().is_none(), "it still waits");
    drop(held);
    assert!(run.wait().unwrap().success());
    // Nothing is left of who waited for whom.
    let locks = fs::read_dir(world.path().join("cache/locks")).unwrap();
    let names = locks.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.collect::<Vec<_>>(), ["contents.lock"]);
}

#[test]
fn what_one_run_has_made_another_takes() {
    let world = world();
    let layers = world.path().join("cache/layers");
    let aside = world.path().join("layers");
    fs::rename(&layers, &aside).unwrap();
    let held = turn(&world, "a");
    let mut run = start(&world, &["build", "a"]);
    waits_for(&mut run);
    fs::remove_dir_all(world.path().join("cache/downloads")).unwrap();
    let requests = world.server.log().len();
    fs::remove_dir(&layers).unwrap();
    fs::rename(&aside, &layers).unwrap();
    drop(held);
    assert!(run.wait().unwrap().success());
    assert_eq!(world.server.log().len(), requests, "it is not made again");
}

#[test]
fn gc_waits_for_whoever_makes_images() {
    let world = world();
    let kept = cache(&world).keep(&Shell::silent()).unwrap();
    let _also = cache(&world).keep(&Shell::silent()).unwrap();
    let mut run = start(&world, &["gc"]);
    assert_eq!(waits_for(&mut run), "Waiting for runs that make images");
    // The other way round, too; and whoever shares does not wait.
    drop((kept, _also));
    assert!(run.wait().unwrap().success());
    let alone = cache(&world).empty(&Shell::silent()).unwrap();
    fs::remove_dir_all(world.path().join("cache/layers")).unwrap();
    let mut run = start(&world, &["build", "a"]);
    let waits = "Waiting for `images gc`, which removes from the cache";
    assert_eq!(waits_for(&mut run), waits);
    drop(alone);
    assert!(run.wait().unwrap().success());
}

#[test]
fn a_killed_runs_scratch_is_cleared_away_and_no_other() {
    let world = world();
    let scratch = cache(&world).dir("tmp/images").unwrap();
    let alive = OwnedDir::create(&scratch, "run-").unwrap();
    fs::write(alive.path().join("file"), "needed").unwrap();
    let killed = scratch.join("run-killed");
    fs::create_dir_all(killed.join("folder")).unwrap();
    fs::write(scratch.join("run-killed.lock"), "").unwrap();
    fs::remove_dir_all(world.path().join("cache/layers")).unwrap();
    world.succeed(&["build"]);
    assert!(!killed.exists());
    assert!(alive.path().join("file").exists());
    drop(alive);
    assert_eq!(fs::read_dir(scratch).unwrap().count(), 0);
}

/// Several at once from nothing: each file is downloaded and each layer made once.
#[test]
fn many_runs_do_each_thing_once() {
    let world = world();
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    let before = world.server.log().len();
    let started = Instant::now();
    let runs: Vec<_> = (0..6).map(|at| start(&world, &["build", ["a", "b"][at % 2]])).collect();
    for run in runs {
        assert!(run.wait_with_output().unwrap().status.success());
    }
    assert!(started.elapsed() < Duration::from_secs(60), "nobody waits for long");
    let log = world.server.log();
    let mut packages: Vec<_> =
        log[before..].iter().filter(|path| path.contains(".deb")).cloned().collect();
    packages.sort();
    packages.dedup_by(|a, b| a == b);
    let n_requests = log[before..].iter().filter(|path| path.contains(".deb")).count();
    assert_eq!((packages.len(), n_requests), (2, 2), "{log:#?}");
}
