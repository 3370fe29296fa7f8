//! Tools on top of an image: what a composition is made of, and packages that a workspace names.

use std::error::Error;
use std::fs;

use keyway_xtask::cache::Cache;
use keyway_xtask::container::{Command, Image, Runner};
use keyway_xtask::failure::Diagnose as _;
use keyway_xtask::image::{ImageError, Images, Tool};
use keyway_xtask::shell::Shell;

use crate::debian::World;
use crate::fixture::file;

/// No image here needs a command.
struct Nothing;

impl Runner for Nothing {
    fn run(&self, image: &Image, _: &Command) -> Result<(), Box<dyn Error + Send + Sync>> {
        Err(format!("a command in `{}`", image.name).into())
    }
}

/// Images `base` and `upper`, which stands on it, and `lone`, which does not; tools `one` and `two` on
/// `common`.
fn world() -> World {
    let mut world = World::new();
    for name in ["extra", "common", "one", "two", "more"] {
        let depends = if name == "more" { "two" } else { "" };
        world.package(name, "1", depends, &[file(&format!("usr/bin/{name}"), name)]);
    }
    world.publish();
    fs::create_dir(world.recipes().join("tools")).unwrap();
    world.recipe("base", "packages = [\"tool\"]\n[env]\nPATH = \"/usr/bin\"\n");
    world.recipe("upper", "from = \"base\"\npackages = [\"extra\"]\n");
    world.recipe("lone", "packages = [\"extra\"]\n");
    world.recipe("tools/common", "from = \"base\"\npackages = [\"common\"]\n");
    world.recipe(
        "tools/one",
        "from = \"tools/common\"\npackages = [\"one\"]\n[env]\nONE = \"1\"\n\
         [[target]]\ntriples = [\"*-linux-*\"]\nenv = { \"ONE_{triple}\" = \"{triple}\" }\n",
    );
    world.recipe("tools/two", "from = \"tools/common\"\npackages = [\"two\"]\n");
    world.succeed(&["lock"]);
    world
}

fn images(world: &World) -> Images {
    let cache = Cache::at(world.path().join("cache")).unwrap();
    let mirrors = vec![world.server.url("")];
    Images::open(world.recipes(), cache).with_mirrors(mirrors).with_workspace(world.path())
}

fn names(tools: &[&str]) -> Vec<String> {
    tools.iter().map(|&name| name.to_owned()).collect()
}

fn ensure(images: &Images, name: &str) -> Image {
    images.ensure(name, &Nothing, &Shell::silent()).unwrap()
}

fn said(error: &ImageError) -> String {
    format!("{error}\nhint: {}", error.hint().unwrap_or_default())
}

#[test]
fn a_composition_follows_from_the_locks_of_its_parts() {
    let world = world();
    let images = images(&world);
    let name = images.with_tools("upper", &names(&["one", "two"])).unwrap();
    assert_eq!(name, "upper + one + two");
    // Known before any layer is there.
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    let locked = images.locked(&name).unwrap();
    assert!(images.find(&name).unwrap().is_none());
    let made = ensure(&images, &name);
    assert_eq!((made.config, made.manifest), (locked.config, locked.manifest));
    assert_eq!(images.find(&name).unwrap().as_ref(), Some(&made));
    assert_eq!(made.epoch, images.locked("upper").unwrap().epoch);
    assert_eq!(made.env["PATH"], "/usr/bin");
    assert_eq!(made.env["ONE"], "1");

    // Its layers are those of the parts; what stands on `base` is the same on whatever else does.
    let own = |name: &str| images.locked(name).unwrap().layers.into_iter().map(|l| l.diff_id);
    let tools = ["tools/common", "tools/one", "tools/two"];
    let expected: Vec<_> =
        ["base", "upper"].iter().chain(&tools).flat_map(|name| own(name)).collect();
    let found = |image: &Image| image.layers.iter().map(|l| l.diff_id).collect::<Vec<_>>();
    assert_eq!(found(&made), expected, "what two tools stand on is there once");
    let base = ensure(&images, "base + one + two");
    assert_eq!(found(&base)[1..], found(&made)[2..]);

    let linux = "x86_64-unknown-linux-gnu".parse().unwrap();
    let env = images.tool_environment(&name, &linux).unwrap();
    let value = ("ONE_x86_64_unknown_linux_gnu".to_owned(), linux.to_string());
    assert_eq!(env, [value]);
    let windows = "x86_64-pc-windows-gnu".parse().unwrap();
    assert_eq!(images.tool_environment(&name, &windows).unwrap(), []);
}

#[test]
fn a_workspace_that_names_no_tool_has_its_images_as_they_are() {
    let world = world();
    assert_eq!(images(&world).with_tools("upper", &[]).unwrap(), "upper");
}

#[test]
fn what_does_not_go_together_is_an_error() {
    let world = world();
    let images = images(&world);
    let error = images.with_tools("upper", &names(&["three"])).unwrap_err();
    snapbox::assert_data_eq!(
        said(&error),
        snapbox::str![[r#"
there is no tool `three`
hint: there are common, one, two; any other package of Debian is `"debian:NAME"`
"#]]
    );
    let error = images.locked("lone + one").unwrap_err();
    snapbox::assert_data_eq!(
        said(&error),
        snapbox::str![[r#"
tool `common` was locked on `base`, which image `lone` does not stand on
hint: copy Keyway's `docker/tools` beside your recipes and run `cargo xtask images lock`
"#]]
    );
    let path = world.recipes().join("tools/two.lock");
    let lock = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        lock.replace("name = \"two\"", "name = \"one\"")
            .replace("version = \"1\"", "version = \"9\""),
    )
    .unwrap();
    let error = images.locked("upper + one + two").unwrap_err();
    snapbox::assert_data_eq!(
        said(&error),
        snapbox::str![[r#"
package `one` is 1 in `tools/one` and 9 in `tools/two`
hint: run `cargo xtask images update`
"#]]
    );
}

#[test]
fn packages_that_a_workspace_names_are_locked_there() {
    let world = world();
    let images = images(&world);
    let tools = names(&["debian:more", "two"]);
    let name = images.with_tools("upper", &tools).unwrap();
    let error = images.locked(&name).unwrap_err();
    let said = said(&error).replace(&*world.path().to_string_lossy(), "[WORLD]");
    snapbox::assert_data_eq!(
        said,
        snapbox::str![[r#"
`[WORLD]/keyway.lock` does not lock what `tools` names: more
hint: run `cargo xtask images lock keyway`, and commit `keyway.lock`
"#]]
    );
    let packages = Images::packages(&tools).unwrap();
    images.lock(&[packages], &Nothing, &Shell::silent()).unwrap();
    let lock = fs::read_to_string(world.path().join("keyway.lock")).unwrap();
    assert!(lock.starts_with("# Written by `cargo xtask images lock keyway`"), "{lock}");
    assert!(lock.contains("name = \"more\"") && !lock.contains("name = \"two\""), "{lock}");
    assert!(!lock.contains(&*world.path().to_string_lossy()), "{lock}");

    let locked = images.locked(&name).unwrap();
    fs::remove_dir_all(world.path().join("cache/layers")).unwrap();
    let made = ensure(&images, &name);
    assert_eq!(made.manifest, locked.manifest);
    assert_eq!(made.layers.len(), 5, "base, upper, common, two, and the packages");

    // Another list, or other tools below it, is another lock.
    for other in [&["debian:extra", "debian:more", "two"][..], &["debian:more", "one", "two"]] {
        let name = images.with_tools("upper", &names(other)).unwrap();
        let error = images.locked(&name).unwrap_err();
        assert!(error.to_string().contains("does not lock what `tools` names"), "{error}");
    }
    // What they made is kept.
    let layers = || fs::read_dir(world.path().join("cache/layers")).unwrap().count();
    let before = layers();
    let _ = world.succeed(&["gc"]);
    assert_eq!(layers(), before);
}

/// The tools that come with Keyway: none has a package that another one has too.
#[test]
fn every_package_of_a_tool_is_there_once() {
    let recipes = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docker");
    let cache = tempfile::tempdir().unwrap();
    let images = Images::open(&recipes, Cache::at(cache.path().to_owned()).unwrap());
    let tools = images.tools().unwrap();
    assert!(tools.len() >= 12, "{tools:?}");
    let mut seen = std::collections::BTreeMap::new();
    for tool in &tools {
        let lock = images.locked(&format!("tools/{tool}")).unwrap();
        for package in lock.packages {
            let other = seen.insert(package.name.clone(), tool);
            assert_eq!(other, None, "`{}` of `{tool}`", package.name);
        }
    }
    // All of them together, on an image that brings some of the same packages.
    for image in ["base", "mingw"] {
        let name = images.with_tools(image, &tools).unwrap();
        let layers = images.locked(&name).map(|lock| lock.image).unwrap();
        assert_eq!(layers, name);
    }
}

#[test]
fn tools_are_looked_for_one_by_one() {
    let world = world();
    let images = images(&world);
    let look_for = |tools: &[&str]| {
        let found = images.look_for(&names(tools)).into_iter();
        let text = |(name, tool): (String, Result<_, ImageError>)| match tool {
            Ok(Tool { size, is_here }) => format!("{name} {} {is_here}\n", size > 0),
            Err(error) => format!("{name} {error}\n"),
        };
        found.map(text).collect::<String>()
    };
    let look = || look_for(&["debian:extra", "one", "two"]);
    // Locking leaves layers in the cache.
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    let lock = world.path().join("keyway.lock");
    snapbox::assert_data_eq!(
        look().replace(&lock.display().to_string(), "[..]"),
        snapbox::str![[r#"
one true false
two true false
debian:extra `[..]` does not lock what `tools` names: extra

"#]]
    );
    assert_eq!(look_for(&["debian:extra", "three"]), "three there is no tool `three`\n");
    // What it stands on is no part of it, but for another tool.
    ensure(&images, "tools/one");
    let layers = images.locked("base").unwrap().layers;
    let layer = world.path().join("cache/layers").join(format!("{}.tar", layers[0].diff_id));
    fs::remove_file(layer).unwrap();
    assert!(look().contains("one true true\n"), "{}", look());
    assert!(look().contains("two true false\n"), "{}", look());
    let layers = images.locked("tools/common").unwrap().layers;
    let layer = world.path().join("cache/layers").join(format!("{}.tar", layers[0].diff_id));
    fs::remove_file(layer).unwrap();
    assert!(look().contains("one true false\n"), "{}", look());
}
