//! Layers that are compiled in the image: what they are compiled on, and what makes them stale.

use std::cell::RefCell;
use std::error::Error;
use std::fs;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use keyway_xtask::container::{Command, Image, Runner};
use keyway_xtask::shell::Shell;

use crate::debian::World;
use crate::errors::images;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Leaves what a compilation of std and a first link leave, and notes on how many layers each ran.
#[derive(Default)]
struct Compiles(RefCell<Vec<String>>);

impl Runner for Compiles {
    fn run(&self, image: &Image, command: &Command) -> Result<(), Box<dyn Error + Send + Sync>> {
        let out = &command.mounts[0].host;
        let script = command.argv[2].to_string_lossy();
        let what = name_of(&script);
        let file = match what {
            "std" => "lib/libstd-1.rlib",
            _ => "zig/cache/o/11aa/libc.so.6",
        };
        fs::create_dir_all(out.join(file).parent().unwrap())?;
        fs::write(out.join(file), what)?;
        self.0.borrow_mut().push(format!("{what} on {} layers", image.layers.len()));
        Ok(())
    }
}

/// What a script compiles.
fn name_of(script: &str) -> &'static str {
    match script {
        script if script.contains("build-std") => "std",
        script if script.contains("build scripts") => "host link",
        _ => "first link",
    }
}

impl Compiles {
    fn lock(&self, world: &World) -> Vec<String> {
        images(world).lock(&["a".into(), "b".into()], self, &Shell::silent()).unwrap();
        self.0.take()
    }
}

fn recipe(below: &str) -> String {
    let file = |name: &str, early: bool| {
        format!("[[file]]\npath = \"usr/bin/{name}\"\nsource = \"{name}\"\nearly = {early}\n")
    };
    format!(
        "{below}packages = [\"tool\"]\n{}{}[[std]]\ntarget = \"{TARGET}\"\nsource = \"lib\"\nbootstrap = \"tool\"\n\
         [[first-link]]\ntarget = \"{TARGET}\"\n",
        file("early", true),
        file("late", false)
    )
}

/// An image and one that stands on it, each with a standard library; the upper one's is for `target`.
fn world(target: &str) -> World {
    let mut world = World::new();
    world.package("extra", "1", "", &[crate::fixture::file("usr/bin/extra", "more")]);
    world.publish();
    for name in ["early", "late"] {
        fs::write(world.recipes().join(name), "1").unwrap();
    }
    world.recipe("a", &recipe(""));
    let above = recipe("from = \"a\"\n").replace("\"tool\"", "\"extra\"");
    let above = above.replace("usr/bin/", "usr/bin/b-").replace(TARGET, target);
    world.recipe("b", &above);
    world
}

#[test]
fn an_edit_of_a_compiler_wrapper_compiles_no_standard_library() {
    let world = world(TARGET);
    let compiles = Compiles::default();

    // Packages, early files, the source and, once made on these, the host link; for the upper image also
    // those of the lower one, but nothing that was compiled in it, and not its late files.
    assert_eq!(
        compiles.lock(&world),
        [
            "host link on 3 layers",
            "std on 4 layers",
            "first link on 4 layers",
            "std on 6 layers",
            "first link on 9 layers"
        ],
    );
    assert!(compiles.lock(&world).is_empty(), "what is compiled is remembered");

    fs::write(world.recipes().join("late"), "2").unwrap();
    let again = compiles.lock(&world);
    assert!(
        again.len() == 2 && again.iter().all(|line| line.starts_with("first link")),
        "{again:?}"
    );

    fs::write(world.recipes().join("early"), "2").unwrap();
    assert_eq!(compiles.lock(&world).len(), 5, "an early file goes into all of it");
}

/// Compiles a standard library only when another one is being compiled.
struct Together {
    at_work: Mutex<usize>,
    changed: Condvar,
}

impl Runner for Together {
    fn run(&self, image: &Image, command: &Command) -> Result<(), Box<dyn Error + Send + Sync>> {
        if name_of(&command.argv[2].to_string_lossy()) == "std" {
            let mut at_work = self.at_work.lock().unwrap();
            *at_work += 1;
            self.changed.notify_all();
            let is_alone = |at_work: &mut usize| *at_work < 2;
            let wait = Duration::from_secs(60);
            let (_at_work, ended) =
                self.changed.wait_timeout_while(at_work, wait, is_alone).unwrap();
            if ended.timed_out() {
                return Err("no other standard library is compiled meanwhile".into());
            }
        }
        Compiles::default().run(image, command)
    }
}

#[test]
fn an_image_and_one_that_stands_on_it_compile_their_libraries_side_by_side() {
    let world = world("aarch64-unknown-linux-gnu");
    let shell = Shell::silent();
    images(&world).lock(&["a".into(), "b".into()], &Compiles::default(), &shell).unwrap();

    fs::remove_dir_all(world.path().join("cache/layers")).unwrap();
    let together = Together { at_work: Mutex::new(0), changed: Condvar::new() };
    images(&world).ensure_all(&["a".into(), "b".into()], 2, &together, &shell).unwrap();
}
