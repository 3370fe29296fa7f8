//! `images lock`, `build` and `list` as a user runs them, against an archive served here.

use std::fs;
use std::io::Read as _;
use std::process::Command;

use keyway_manifest::Digest;
use serde_json::Value;
use snapbox::{assert_data_eq, str};

use crate::debian::World;
use crate::fixture::{file, folder, symlink};
use crate::server::Route;

/// A base with a file and a link, and an image on top with a wheel.
pub(crate) fn world() -> World {
    let mut world = World::new();
    world.package("extra", "1", "lib", &[file("usr/bin/extra", "more")]);
    world.publish();
    fs::write(world.recipes().join("hello"), "#!/bin/sh\n").unwrap();
    world.recipe(
        "base",
        "packages = [\"tool\"]\n[[file]]\npath = \"usr/bin/hello\"\nsource = \"hello\"\nexecutable = true\n\
         [[link]]\npath = \"usr/bin/hi\"\ntarget = \"hello\"\n[env]\nPATH = \"/usr/bin\"\n",
    );
    world.recipe("upper", "from = \"base\"\npackages = [\"extra\"]\n");
    world
}

/// The digests of the images that a run reports.
pub(crate) fn digests(stdout: &str) -> Vec<(String, String)> {
    let events = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events
        .filter(|event| event["event"] == "image")
        .map(|event| {
            let text = |name: &str| event[name].as_str().unwrap().to_owned();
            (text("image"), text("manifest"))
        })
        .collect()
}

#[test]
fn locks_builds_and_lists() {
    let world = world();
    let locked = digests(&world.succeed(&["lock"]));
    assert_eq!(locked.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["base", "upper"]);
    let lock = world.lock("upper");
    assert!(lock.contains("name = \"extra\""));
    assert!(!lock.contains("name = \"lib\""), "what is below is not locked again");
    assert!(!lock.contains("127.0.0.1"), "no mirror is written into a lock");

    // Locking again writes the same; building from the lock alone makes the same.
    assert_eq!(digests(&world.succeed(&["lock"])), locked);
    assert_eq!(world.lock("upper"), lock);
    let requests = world.server.log().len();
    assert_eq!(digests(&world.succeed(&["build"])), locked);
    assert_eq!(world.server.log().len(), requests, "all is there: nothing is asked for");

    fs::remove_dir_all(world.path().join("cache")).unwrap();
    let listed = world.succeed(&["list"]);
    assert!(listed.contains("\"state\":\"locked\""), "{listed}");
    assert_eq!(digests(&world.succeed(&["build"])), locked);
    let listed = world.succeed(&["list"]);
    assert!(listed.contains("\"state\":\"built\""), "{listed}");
    assert_eq!(fs::read_dir(world.path().join("cache/tmp/images")).unwrap().count(), 0);
}

/// What a person sees of `images ACTION`, without times and digests.
fn said(world: &World, arguments: &[&str]) -> String {
    let json = world.command(arguments);
    let mut command = Command::new(json.get_program());
    command.args(json.get_args().filter(|argument| *argument != "--json"));
    for (name, value) in json.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let output = command.args(["--color", "never"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn says_how_far_it_is_and_what_was_done() {
    let world = world();
    assert_data_eq!(
        said(&world, &["lock"]),
        str![[r#"
     Locking base (1 of 2)
  Assembling base (packages)
 Downloading 2 packages, 1 MB
  Assembling base (files)
      Locked base [..] (1 MB)
     Locking upper (2 of 2)
  Assembling upper (packages)
 Downloading 1 package, 1 MB
      Locked upper [..] (1 MB)
       Ready keyway/base:[..] (1 MB)
       Ready keyway/upper:[..] (1 MB)
    Finished 2 images locked, 1 MB in [..] s

"#]]
    );
    assert_data_eq!(
        said(&world, &["update", "--check"]),
        str![[r#"
   Resolving base (1 of 2)
   Resolving upper (2 of 2)
    Finished 0 changes to take, 0 files gone, in 2 images in [..] s

"#]]
    );
    assert_data_eq!(
        said(&world, &["verify", "base"]),
        str![[r#"
   Verifying base
  Assembling base (packages)
  Assembling base (files)
    Finished 1 verified of 1 image in [..] s

"#]]
    );
    assert_data_eq!(
        said(&world, &["build"]),
        str![[r#"
       Ready keyway/base:[..] (1 MB)
       Ready keyway/upper:[..] (1 MB)
    Finished 2 images ready, 1 MB in [..] s

"#]]
    );
}

/// `images lock | head`: what was asked for is done, and the status says that not all was read.
#[test]
fn work_goes_on_without_a_reader() {
    let world = world();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = world.command(&["lock"]).stdout(writer).output().unwrap();
    assert_eq!(output.status.code(), Some(141), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(world.lock("upper").contains("name = \"extra\""), "both are locked");
}

#[test]
fn gives_the_same_digests_whoever_builds_where_and_when() {
    let world = world();
    let locked = digests(&world.succeed(&["lock"]));
    // Another time zone, umask and folder; another user where that can be tried.
    let mut shells = vec![("TZ=Asia/Kolkata", "umask 077"), ("TZ=America/Caracas", "umask 000")]
        .into_iter()
        .map(|(zone, umask)| format!("export {zone}; {umask}; exec \"$@\""))
        .collect::<Vec<_>>();
    let setpriv = Command::new("setpriv").args(["--reuid", "65534", "true"]).status();
    if setpriv.is_ok_and(|status| status.success()) {
        shells.push(
            "chmod -R a+rX \"$WORLD\"; exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"".into(),
        );
    } else {
        eprintln!("skipped: building as another user, since this one may not change to it");
    }
    for (at, shell) in shells.iter().enumerate() {
        let cache = tempfile::tempdir().unwrap();
        let place = cache.path().join(format!("another place {at}"));
        fs::create_dir(&place).unwrap();
        open_to_all(cache.path());
        open_to_all(&place);
        let built = world.command(&["build"]);
        let mut command = Command::new("/bin/sh");
        command.args(["-c", shell, "sh"]).arg(built.get_program()).args(built.get_args());
        command.env("KEYWAY_CACHE", &place).env("WORLD", world.path());
        let output = command.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{shell}: {stderr}");
        assert_eq!(digests(&String::from_utf8(output.stdout).unwrap()), locked, "{shell}");
    }
}

fn open_to_all(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
}

#[test]
fn two_runs_at_once_build_once() {
    let world = world();
    let locked = digests(&world.succeed(&["lock"]));
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    let runs: Vec<_> = (0..3)
        .map(|_| {
            let mut command = world.command(&["build"]);
            command.stdout(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    for run in runs {
        let output = run.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(digests(&String::from_utf8(output.stdout).unwrap()), locked);
    }
}

#[test]
fn goes_on_after_a_run_that_was_killed() {
    let world = world();
    let locked = digests(&world.succeed(&["lock"]));
    let cache = world.path().join("cache");
    // What a kill leaves behind: a part of a package, a part of a layer, a folder of a script.
    let store = cache.join("downloads/sha256");
    for entry in fs::read_dir(&store).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        fs::write(path.with_extension("part"), &bytes[..bytes.len() / 2]).unwrap();
        fs::remove_file(path).unwrap();
    }
    fs::remove_dir_all(cache.join("layers")).unwrap();
    fs::create_dir_all(cache.join("tmp/images/run-x/run-y")).unwrap();
    fs::write(cache.join("tmp/images/run-x/layer-x"), "half").unwrap();
    fs::write(cache.join("tmp/images/run-x.lock"), "").unwrap();
    assert_eq!(digests(&world.succeed(&["build"])), locked);
    assert_eq!(fs::read_dir(cache.join("tmp/images")).unwrap().count(), 0);
    let ranges: Vec<String> = world
        .server
        .log()
        .into_iter()
        .filter(|line| line.contains("pool/") && !line.ends_with(" 0"))
        .collect();
    assert_eq!(ranges.len(), 3, "each package was taken up where it was cut");
}

#[test]
fn a_layer_that_was_cut_is_made_again() {
    let world = world();
    let locked = digests(&world.succeed(&["lock"]));
    for entry in fs::read_dir(world.path().join("cache/layers")).unwrap() {
        fs::write(entry.unwrap().path(), "cut").unwrap();
    }
    assert_eq!(digests(&world.succeed(&["build"])), locked);
}

#[test]
fn refuses_another_digest_than_the_locks() {
    let world = world();
    world.succeed(&["lock"]);
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    let path = world.recipes().join("base.lock");
    let lock = world.lock("base");
    let diff_id = lock.lines().find_map(|line| line.strip_prefix("diff_id = ")).unwrap();
    let wrong = format!("\"{}\"", Digest::of("wrong"));
    fs::write(&path, lock.replace(diff_id, &wrong)).unwrap();
    let stderr = world.fail(&["build", "base"], 3);
    let expected = format!(
        "error: layer `packages` of image `base` came out as {}, the lock expects {}\n",
        diff_id.trim_matches('"'),
        wrong.trim_matches('"')
    );
    assert!(stderr.starts_with(&expected), "{stderr}");
    assert!(stderr.contains("hint: "), "{stderr}");
    assert_eq!(fs::read_dir(world.path().join("cache/layers")).unwrap().count(), 0);

    let config = lock.lines().find_map(|line| line.strip_prefix("config = ")).unwrap();
    fs::write(&path, lock.replace(config, &wrong)).unwrap();
    let stderr = world.fail(&["build", "base"], 3);
    assert!(stderr.starts_with("error: config of image `base` came out as "), "{stderr}");
}

#[test]
fn refuses_a_package_that_was_changed_on_the_mirror() {
    let world = world();
    world.succeed(&["lock"]);
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    let changed = crate::fixture::package("data.tar", &crate::fixture::tar(&[file("evil", "")]));
    world.server.put("pool/tool_2.0.deb", Route::Whole(changed));
    let output = world.run(&["build"]);
    assert_eq!(output.status.code(), Some(4));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("no mirror has `tool 2.0` (sha256 "), "{stderr}");
    assert!(stderr.contains("cargo xtask images update"), "{stderr}");
}

#[test]
fn refuses_a_suite_that_another_key_signed() {
    let mut world = world();
    world.key = crate::debian::Key::new();
    world.publish();
    let stderr = world.fail(&["lock", "base"], 3);
    assert!(stderr.contains("no valid signature on `[SERVER]/dists/test/InRelease`"), "{stderr}");
    assert!(!world.recipes().join("base.lock").exists());
}

#[test]
fn takes_wheels_from_an_index() {
    let world = world();
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
    zip.start_file("zig/zig", options).unwrap();
    let wheel = zip.finish().unwrap().into_inner();
    let file = "zig-1.0-py3-none-manylinux_2_12_x86_64.whl";
    let page = format!("<a href=\"../../files/{file}#sha256=0\">{file}</a>");
    world.server.put("simple/zig/", Route::Whole(page.into()));
    world.server.put(&format!("files/{file}"), Route::Whole(wheel.clone()));
    world.recipe(
        "zig",
        "[[wheel]]\nname = \"zig\"\nversion = \"1.0\"\nplatform = \"manylinux2014_x86_64\"\n\
         member = \"zig\"\ninto = \"usr/lib/zig\"\n",
    );
    let index = world.server.url("simple");
    let run = |action: &str, path: Option<&str>| {
        let mut command = world.command(&[action, "zig"]);
        command.env("KEYWAY_PYPI_INDEX", &index);
        if let Some(path) = path {
            command.env("PATH", path);
        }
        command.output().unwrap()
    };
    let locked = run("lock", None);
    assert!(locked.status.success(), "{}", String::from_utf8_lossy(&locked.stderr));
    assert!(world.lock("zig").contains(&format!("sha256 = \"{}\"", Digest::of(&wheel))));

    // Another file under the same name.
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    let mut other = wheel.clone();
    other.push(0);
    world.server.put(&format!("files/{file}"), Route::Whole(other));
    let built = run("build", None);
    assert_eq!(built.status.code(), Some(3));
    let stderr = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(stderr.contains(&format!("wheel `{file}` has sha256 ")), "{stderr}");

    // Nobody brings it: the index lacks it and there is no client.
    world.server.remove("simple/zig/");
    let built = run("build", Some("/nowhere"));
    assert_eq!(built.status.code(), Some(4));
    let stderr = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(
        stderr.contains("could not fetch wheel `zig` 1.0 for `manylinux2014_x86_64`"),
        "{stderr}"
    );
    assert!(stderr.contains("/simple/zig/` answered 404"), "{stderr}");
}

#[test]
fn content_whose_path_was_to_be_dropped_is_there_where_a_link_leads_to() {
    let mut world = World::new();
    let (link, place) = (symlink("old", "new"), folder("new"));
    world.package("links", "1", "", &[link, place]);
    world.package("moved", "1", "links", &[file("old/tool", "content"), file("old/doc", "text")]);
    world.publish();
    world.recipe("a", "packages = [\"moved\"]\ndrop = [\"old/*\", \"new/doc\"]\n");
    world.succeed(&["lock", "a"]);

    let layers = fs::read_dir(world.path().join("cache/layers")).unwrap();
    let mut found = Vec::new();
    for layer in layers {
        let mut archive = tar::Archive::new(fs::File::open(layer.unwrap().path()).unwrap());
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            found.push((path, content));
        }
    }
    assert!(found.contains(&("new/tool".into(), "content".into())), "{found:?}");
    assert!(found.iter().all(|(path, _)| !path.ends_with("doc")), "{found:?}");
}
