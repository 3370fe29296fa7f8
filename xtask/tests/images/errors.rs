//! What a recipe, a lock or a script can do wrong, and what the user is told.

use std::error::Error;
use std::fs;

use keyway_xtask::cache::Cache;
use keyway_xtask::container::{Command, Image, Runner};
use keyway_xtask::failure::{Diagnose as _, Exit};
use keyway_xtask::image::recipe::RecipeError;
use keyway_xtask::image::{ImageError, Images, Lock};
use keyway_xtask::shell::Shell;
use snapbox::str;

use crate::debian::World;
use crate::fixture::file;

pub(crate) fn images(world: &World) -> Images {
    let cache = Cache::at(world.path().join("cache")).unwrap();
    Images::open(world.recipes(), cache).with_mirrors(vec![world.server.url("")])
}

/// What reading the lock of `name` ends with, this world's folder written as `[WORLD]`.
#[track_caller]
fn check_locked(world: &World, name: &str, expected: impl snapbox::IntoData) -> ImageError {
    let error = images(world).locked(name).unwrap_err();
    let text = error.to_string().replace(&*world.path().to_string_lossy(), "[WORLD]");
    snapbox::assert_data_eq!(text, expected);
    error
}

#[test]
fn recipes() {
    let world = World::new();
    let check = |text: &str, expected| {
        world.recipe("a", text);
        let error = check_locked(&world, "a", expected);
        assert_eq!(error.exit(), Exit::Usage);
        error
    };
    check_locked(
        &world,
        "a",
        str!["no recipe for image `a`: `[WORLD]/recipes/a.toml` does not exist"],
    );
    let error = check("pakages = []\n", str!["`[WORLD]/recipes/a.toml` is no recipe"]);
    let cause = error.source().unwrap().to_string();
    assert!(cause.contains("unknown field `pakages`"), "{cause}");
    check("drop = [\"[\"]\n", str!["`[WORLD]/recipes/a.toml` is no recipe"]);
    check("from = \"../a\"\n", str!["`[WORLD]/recipes/a.toml`: from `../a` is no plain name"]);
    check(
        "packages = [\"-rf\"]\n",
        str!["`[WORLD]/recipes/a.toml`: package `-rf` is no plain name"],
    );
    check(
        "without = [{ package = \"gcc\", why = \" \" }]\n",
        str!["`[WORLD]/recipes/a.toml`: without `gcc` gives no reason"],
    );
    check(
        "[[file]]\npath = \"/etc/x\"\nsource = \"x\"\n",
        str!["`[WORLD]/recipes/a.toml`: file path `/etc/x` is no plain relative path"],
    );
    check(
        "[[file]]\npath = \"x\"\nsource = \"../x\"\n",
        str!["`[WORLD]/recipes/a.toml`: file source `../x` is no plain relative path"],
    );
    check(
        "[[folder]]\npath = \"/x\"\nsource = \"x\"\n",
        str!["`[WORLD]/recipes/a.toml`: folder path `/x` is no plain relative path"],
    );
    check(
        "[[folder]]\npath = \"x\"\nsource = \"..\"\n",
        str!["`[WORLD]/recipes/a.toml`: folder source `..` is no plain relative path"],
    );
    check(
        "[[folder]]\npath = \"x\"\nsource = \"nowhere\"\n",
        str!["could not read `[WORLD]/recipes/nowhere` of the recipe of image `a`"],
    );
    check(
        "[[toolchain]]\ntarget = \"a-b\"\ncrt = \"x\"\nlinker = { name = \"ld\", command = [] }\n",
        str!["`[WORLD]/recipes/a.toml`: toolchain `a-b` names no command for its linker"],
    );
    check(
        "[[file]]\npath = \"x\"\nsource = \"nowhere\"\n",
        str!["could not read `[WORLD]/recipes/nowhere` of the recipe of image `a`"],
    );
    world.recipe("b", "from = \"a\"\n");
    check("from = \"b\"\n", str!["image `a` stands on itself: a -> b -> a"]);
    let nowhere = Images::open("/nowhere", Cache::at(world.path().join("cache")).unwrap());
    let error = nowhere.names().unwrap_err();
    snapbox::assert_data_eq!(error.to_string(), str!["could not read the recipes in `/nowhere`"]);
}

#[test]
fn locks() {
    let world = World::new();
    world.recipe("a", "packages = [\"lib\"]\n");
    let path = world.recipes().join("a.lock");
    let error = check_locked(
        &world,
        "a",
        str!["image `a` has no lock: `[WORLD]/recipes/a.lock` does not exist"],
    );
    snapbox::assert_data_eq!(
        error.hint().unwrap(),
        str!["run `cargo xtask images lock a` and review the lock's change"]
    );
    world.succeed(&["lock", "a"]);
    let lock = world.lock("a");
    assert_eq!(Lock::read(&world.recipes(), "a").unwrap().to_text(), lock);

    fs::write(&path, lock.replace("version = 1\n", "version = 9\n")).unwrap();
    check_locked(
        &world,
        "a",
        str!["the lock `[WORLD]/recipes/a.lock` is of format version 9, this tool reads 1"],
    );
    for broken in ["", "version = 1", &lock[..lock.len() / 2], &lock.replace("size = ", "bytes = ")]
    {
        fs::write(&path, broken).unwrap();
        check_locked(&world, "a", str!["`[WORLD]/recipes/a.lock` is no lock"]);
    }
    fs::write(&path, lock.replace("\"packages\"", "\"what\"")).unwrap();
    check_locked(&world, "a", str!["`[WORLD]/recipes/a.lock` is no lock"]);
    fs::write(&path, lock.replace("image = \"a\"", "image = \"b\"")).unwrap();
    check_locked(
        &world,
        "a",
        str!["the lock `[WORLD]/recipes/a.lock` is of image `b`, expected `a`"],
    );
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    check_locked(&world, "a", str!["could not read the lock `[WORLD]/recipes/a.lock`"]);
    fs::remove_dir(&path).unwrap();

    fs::write(&path, &lock).unwrap();
    world.recipe("a", "packages = [\"lib\"]\n# edited\n");
    check_locked(&world, "a", str!["the recipe of image `a` was edited after it was locked"]);
}

#[test]
fn an_edited_file_of_a_recipe_is_noticed_and_other_line_ends_are_not() {
    let world = World::new();
    world.recipe("a", "[[file]]\npath = \"x\"\nsource = \"x\"\n");
    let write = |text: &str| fs::write(world.recipes().join("x"), text).unwrap();
    write("one\n");
    world.succeed(&["lock", "a"]);
    write("one\r\n");
    images(&world).locked("a").unwrap();
    write("two\n");
    check_locked(&world, "a", str!["the recipe of image `a` was edited after it was locked"]);
}

#[test]
fn an_edited_added_or_renamed_file_of_a_folder_is_noticed() {
    let world = World::new();
    world.recipe("a", "[[folder]]\npath = \"usr/lib/x\"\nsource = \"x\"\n");
    let path = |name: &str| world.recipes().join("x").join(name);
    let edited = || {
        check_locked(&world, "a", str!["the recipe of image `a` was edited after it was locked"]);
    };
    fs::create_dir_all(path("deep/er")).unwrap();
    fs::write(path("one"), "1\n").unwrap();
    fs::write(path("deep/er/two"), "2\n").unwrap();
    world.succeed(&["lock", "a"]);
    fs::write(path("one"), "1\r\n").unwrap();
    images(&world).locked("a").unwrap();
    fs::write(path("one"), "3\n").unwrap();
    edited();
    fs::write(path("one"), "1\n").unwrap();
    images(&world).locked("a").unwrap();
    fs::write(path("three"), "").unwrap();
    edited();
    fs::rename(path("three"), path("deep/three")).unwrap();
    edited();
    fs::remove_file(path("deep/three")).unwrap();
    images(&world).locked("a").unwrap();

    // Every file is in the image, below the folder's path there.
    let layer = fs::read_dir(world.path().join("cache/layers")).unwrap().next().unwrap().unwrap();
    let mut archive = tar::Archive::new(fs::File::open(layer.path()).unwrap());
    let names = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string());
    let names: Vec<_> = names.filter(|name| !name.ends_with('/')).collect();
    assert_eq!(names, ["usr/lib/x/deep/er/two", "usr/lib/x/one"]);
}

#[test]
fn a_base_that_was_locked_again_is_noticed() {
    let world = World::new();
    world.recipe("a", "packages = [\"lib\"]\n");
    world.recipe("b", "from = \"a\"\npackages = [\"tool\"]\n");
    world.succeed(&["lock"]);
    world.recipe("a", "packages = [\"lib\"]\n[env]\nX = \"1\"\n");
    world.succeed(&["lock", "a"]);
    check_locked(&world, "b", str!["image `b` was locked on `a` [..], which is now [..]"]);
    world.succeed(&["lock", "b"]);
    images(&world).locked("b").unwrap();
}

#[test]
fn a_lock_without_its_wheel_is_no_panic() {
    let world = World::new();
    world.recipe("a", "packages = [\"lib\"]\n");
    world.succeed(&["lock", "a"]);
    fs::remove_dir_all(world.path().join("cache/layers")).unwrap();
    let lock = world.lock("a").replace("content = \"packages\"", "content = \"wheel zig\"");
    fs::write(world.recipes().join("a.lock"), lock).unwrap();
    let error = images(&world).ensure("a", &Fails, &Shell::silent()).unwrap_err();
    snapbox::assert_data_eq!(
        error.to_string(),
        str!["the lock of image `a` does not say what layer `wheel zig` is made of"]
    );
}

#[test]
fn packages_that_do_not_go_together() {
    let mut world = World::new();
    world.package("other", "1", "", &[file("usr/lib/lib", "mine")]);
    world.package("evil", "1", "", &[file("../evil", "")]);
    world.publish();
    world.recipe("a", "packages = [\"lib\", \"other\"]\n");
    let stderr = world.fail(&["lock", "a"], 3);
    snapbox::assert_data_eq!(
        stderr,
        str![[r#"
error: `usr/lib/lib` is both in `lib 1.0` and in `other 1`

"#]]
    );
    world.recipe("a", "packages = [\"evil\"]\n");
    let stderr = world.fail(&["lock", "a"], 3);
    snapbox::assert_data_eq!(
        stderr,
        str![[r#"
error: `evil 1`: entry `../evil` has `..` in its path

"#]]
    );
    world.recipe("a", "packages = [\"absent\"]\n");
    let stderr = world.fail(&["lock", "a"], 2);
    snapbox::assert_data_eq!(
        stderr,
        str![[r#"
error: package `absent` is not in the suite

"#]]
    );
}

#[test]
fn an_index_that_is_not_xz() {
    let world = World::new();
    let index = b"no xz";
    let digest = keyway_manifest::Digest::of(index);
    let text = crate::debian::release(&format!(" {digest} 5 main/binary-amd64/Packages.xz\n"));
    use crate::server::Route;
    world.server.put("dists/test/InRelease", Route::Whole(world.key.sign(&text)));
    let by_hash = format!("dists/test/main/binary-amd64/by-hash/SHA256/{digest}");
    world.server.put(&by_hash, Route::Whole(index.to_vec()));
    world.recipe("a", "packages = [\"lib\"]\n");
    let stderr = world.fail(&["lock", "a"], 3);
    assert!(
        stderr.starts_with("error: could not unpack the index `main/binary-amd64/Packages.xz`\n"),
        "{stderr}"
    );
}

#[test]
fn no_mirror_at_all() {
    let world = World::new();
    world.server.remove("dists/test/InRelease");
    world.recipe("a", "packages = [\"lib\"]\n");
    let stderr = world.fail(&["lock", "a"], 4);
    assert!(
        stderr.starts_with(
            "error: no mirror has suite `test`\n  `[SERVER]/dists/test/InRelease` answered 404"
        ),
        "{stderr}"
    );
    assert!(stderr.contains("hint: name a mirror"), "{stderr}");
}

/// A runner of an image in which nothing works.
pub(crate) struct Fails;

impl Runner for Fails {
    fn run(&self, _: &Image, _: &Command) -> Result<(), Box<dyn Error + Send + Sync>> {
        Err("`rustc` ended with status 101".into())
    }
}

/// A runner that links build scripts, as for every standard library, and fails at all else.
struct FailsAtStd;

impl Runner for FailsAtStd {
    fn run(&self, image: &Image, command: &Command) -> Result<(), Box<dyn Error + Send + Sync>> {
        if links_build_scripts(command)? { Ok(()) } else { Fails.run(image, command) }
    }
}

/// Whether this is the link of build scripts; what it leaves is then there.
fn links_build_scripts(command: &Command) -> std::io::Result<bool> {
    let is_it = command.argv.iter().any(|word| word.to_string_lossy().contains("build scripts"));
    let is_it = is_it && !command.argv[2].to_string_lossy().contains("build-std");
    if is_it {
        let folder = command.mounts[0].host.join("zig/cache/o/11aa");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("libc.so.6"), "")?;
    }
    Ok(is_it)
}

/// A runner whose commands succeed and write nothing.
struct Silent;

impl Runner for Silent {
    fn run(&self, _: &Image, _: &Command) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

/// A runner that writes what a compilation of std would, then what a linker says.
pub(crate) struct Writes(pub(crate) &'static [(&'static str, &'static str)]);

impl Runner for Writes {
    fn run(&self, _: &Image, command: &Command) -> Result<(), Box<dyn Error + Send + Sync>> {
        if links_build_scripts(command)? {
            return Ok(());
        }
        let out = &command.mounts[0].host;
        for (path, text) in self.0 {
            let path = out.join(path);
            fs::create_dir_all(path.parent().unwrap())?;
            fs::write(path, text)?;
        }
        Ok(())
    }
}

pub(crate) const STD: &str =
    "packages = [\"tool\"]\n[[std]]\ntarget = \"x86_64-pc-windows-gnu\"\nsource = \"lib\"\n";
const TOOLCHAIN: &str = "[[toolchain]]\ntarget = \"x86_64-pc-windows-gnu\"\ncrt = \"msvcrt\"\n\
                         linker = { name = \"ld\", command = [\"ld\", \"--version\"] }\n";

pub(crate) fn lock(world: &World, runner: &dyn Runner) -> Result<Image, ImageError> {
    let mut made = images(world).lock(&["a".into()], runner, &Shell::silent())?;
    Ok(made.pop().unwrap())
}

#[test]
fn a_standard_library_that_does_not_compile() {
    let world = World::new();
    world.recipe("a", STD);
    let error = lock(&world, &Fails).unwrap_err();
    snapbox::assert_data_eq!(
        error.to_string(),
        str!["could not link a build script of standard libraries"]
    );
    let error = lock(&world, &FailsAtStd).unwrap_err();
    assert_eq!(error.exit(), Exit::Failed);
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}\n{error}");
        cause = error.source();
    }
    snapbox::assert_data_eq!(
        text + "\n",
        str![[r#"
could not compile the standard library for `x86_64-pc-windows-gnu`
a command in image `a.unfinished` failed
`rustc` ended with status 101

"#]]
    );
    let error = lock(&world, &Writes(&[("lib/rsbegin.o", "")])).unwrap_err();
    snapbox::assert_data_eq!(
        error.to_string(),
        str!["compiling the standard library for `x86_64-pc-windows-gnu` brought no `libstd`"]
    );
    assert!(!world.recipes().join("a.lock").exists());
}

#[test]
fn toolchains_that_do_not_say_what_they_are() {
    let world = World::new();
    world.recipe("a", &format!("packages = [\"tool\"]\n{TOOLCHAIN}"));
    let error = lock(&world, &Silent).unwrap_err();
    snapbox::assert_data_eq!(
        error.to_string(),
        str!["image `a` has no standard library for `x86_64-pc-windows-gnu`"]
    );
    world.recipe("a", &format!("{STD}{TOOLCHAIN}"));
    let compiler = "release: 1.96.0\ncommit-hash: abc\nLLVM version: 22\n";
    let check = |runner: &dyn Runner, expected| {
        snapbox::assert_data_eq!(lock(&world, runner).unwrap_err().to_string(), expected);
    };
    check(
        &Writes(&[("lib/libstd-1.rlib", ""), ("rustc", "rustc 1.96.0")]),
        str!["`rustc -vV` in image `a` does not say its release; it says `rustc 1.96.0`"],
    );
    let said = [("lib/libstd-1.rlib", ""), ("rustc", compiler)];
    check(
        &Writes(Box::leak(Box::new(said))),
        str!["`ld --version` in image `a` does not say its version; it says ``"],
    );
    let said = [("lib/libstd-1.rlib", ""), ("rustc", compiler), ("linker", "GNU ld 2.44\nmore\n")];
    lock(&world, &Writes(Box::leak(Box::new(said)))).unwrap();
    let target = "x86_64-pc-windows-gnu".parse().unwrap();
    let locked = images(&world).locked("a").unwrap();
    let toolchain = locked.toolchain(&target).unwrap();
    assert_eq!(toolchain.hash, toolchain.record.hash());
    assert_eq!(toolchain.record.linker.version, "2.44");
    assert_eq!(toolchain.record.std, locked.layers.last().unwrap().diff_id);
}

#[test]
fn a_layer_below_that_is_damaged() {
    let world = World::new();
    world.recipe("a", "packages = [\"lib\"]\n");
    world.recipe("b", "from = \"a\"\npackages = [\"tool\"]\n");
    world.succeed(&["lock"]);
    let lower = Lock::read(&world.recipes(), "a").unwrap().layers.remove(0);
    let upper = Lock::read(&world.recipes(), "b").unwrap().layers.remove(0);
    let layer = |digest| world.path().join(format!("cache/layers/{digest}.tar"));
    fs::write(layer(lower.diff_id), vec![1; usize::try_from(lower.size).unwrap()]).unwrap();
    fs::remove_file(layer(upper.diff_id)).unwrap();
    let error = images(&world).ensure("b", &Silent, &Shell::silent()).unwrap_err();
    assert!(matches!(error, ImageError::Below { .. }), "{error}");
    assert_eq!(error.exit(), Exit::Environment);
}

#[test]
fn recipe_errors_are_of_their_own_type() {
    let world = World::new();
    let error = images(&world).locked("a").unwrap_err();
    assert!(matches!(error, ImageError::Recipe(RecipeError::Missing { .. })));
}
