//! Files and archives from any address: placed, unpacked, pinned, refused.

use std::fs;
use std::io::Write as _;

use keyway_manifest::Digest;
use keyway_xtask::image::Lock;
use snapbox::str;

use crate::debian::World;
use crate::fixture::{file, folder, symlink, tar, xz};
use crate::server::Route;

/// What layer 0 of image `a` holds: path, mode, and the text or what a link says.
fn listing(world: &World) -> Vec<String> {
    let lock = Lock::read(&world.recipes(), "a").unwrap();
    let path = world.path().join(format!("cache/layers/{}.tar", lock.layers[0].diff_id));
    let mut archive = tar::Archive::new(fs::File::open(path).unwrap());
    let mut lines = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut text = String::new();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
        if let Some(link) = entry.link_name().unwrap() {
            text = format!("-> {}", link.display());
        }
        let mode = entry.header().mode().unwrap();
        lines.push(format!("{mode:o} {} {text}", entry.path().unwrap().display()));
    }
    lines
}

fn zip() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let options = zip::write::SimpleFileOptions::default().unix_permissions(0o755);
    zip.start_file("tool-1/bin/tool", options).unwrap();
    zip.write_all(b"program").unwrap();
    zip.start_file("tool-1/README", options.unix_permissions(0o600)).unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn archives_are_unpacked_and_files_placed() {
    let world = World::new();
    let plain = tar(&[
        folder("tool-1"),
        file("tool-1/bin/tool", "program"),
        symlink("tool-1/bin/alias", "tool"),
        file("elsewhere", ""),
    ]);
    let member = "member = \"tool-1\"\n";
    let cases = [
        ("t.tar", plain.clone(), member),
        ("t.tar.xz", xz(&plain), member),
        ("t?name=x", xz(&plain), "member = \"tool-1\"\nunpack = \"tar\"\n"),
    ];
    for (name, bytes, more) in cases {
        let digest = Digest::of(&bytes);
        world.server.put(name, Route::Whole(bytes));
        let url = world.server.url(name);
        world.recipe(
            "a",
            &format!(
                "[[fetch]]\nurl = \"{url}\"\nsha256 = \"{digest}\"\ninto = \"opt/tool\"\n{more}"
            ),
        );
        world.succeed(&["lock", "a"]);
        assert_eq!(
            listing(&world),
            [
                "755 opt/ ",
                "755 opt/tool/ ",
                "755 opt/tool/bin/ ",
                "777 opt/tool/bin/alias -> tool",
                "644 opt/tool/bin/tool program",
            ],
            "{name}"
        );
        fs::remove_dir_all(world.path().join("cache/layers")).unwrap();
    }

    let fetch = |name: &str, more: &str| {
        let url = world.server.url(name);
        world.recipe("a", &format!("[[fetch]]\nurl = \"{url}\"\n{more}"));
        world.succeed(&["lock", "a"]);
        listing(&world)
    };
    world.server.put("t.zip", Route::Whole(zip()));
    assert_eq!(
        fetch("t.zip", "into = \"usr\"\nmember = \"tool-1\"\n"),
        ["755 usr/ ", "644 usr/README ", "755 usr/bin/ ", "755 usr/bin/tool program"]
    );
    assert_eq!(
        fetch("t.zip", "into = \"bin/it\"\nmember = \"tool-1/bin/tool\"\n"),
        ["755 bin/ ", "755 bin/it program"],
        "one file of an archive"
    );
    world.server.put("tool", Route::Whole(b"program".to_vec()));
    assert_eq!(
        fetch("tool", "into = \"usr/bin/tool\"\nexecutable = true\n"),
        ["755 usr/ ", "755 usr/bin/ ", "755 usr/bin/tool program"]
    );
    assert_eq!(
        fetch("t.tar", "into = \"x.tar\"\nunpack = \"no\"\n")[0].split(' ').nth(1),
        Some("x.tar")
    );
}

#[test]
fn the_first_lock_pins_what_was_there() {
    let world = World::new();
    world.server.put("tool", Route::Whole(b"first".to_vec()));
    let url = world.server.url("tool");
    let recipe = format!("[[fetch]]\nurl = \"{url}\"\ninto = \"tool\"\n");
    world.recipe("a", &recipe);
    let locked = world.succeed(&["lock", "a"]);
    let lock = world.lock("a");
    assert!(lock.contains(&format!("sha256 = \"{}\"", Digest::of("first"))), "{lock}");

    // The server changes its mind: what is here is kept, and what is not is refused.
    world.server.put("tool", Route::Whole(b"other".to_vec()));
    assert_eq!(world.succeed(&["lock", "a"]), locked);
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    let stderr = world.fail(&["lock", "a"], 3);
    snapbox::assert_data_eq!(
        &stderr[stderr.find("error").unwrap()..],
        str![[r#"
error: `[SERVER]/tool` has sha256 [..], the lock says [..]
hint: find out why it changed; if the new one is wanted, pin it in the recipe: `sha256 = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa"`

"#]]
    );
    let stderr = world.fail(&["build", "a"], 4);
    assert!(stderr.contains("/tool` has sha256 d9298a10"), "{stderr}");
    assert_eq!(world.lock("a"), lock, "nothing was written");

    // As the hint says.
    world.recipe("a", &format!("{recipe}sha256 = \"{}\"\n", Digest::of("other")));
    world.succeed(&["lock", "a"]);
    assert!(world.lock("a").contains(&Digest::of("other").to_string()));
}

#[test]
fn what_can_go_wrong() {
    let world = World::new();
    let check = |recipe: &str, status, expected| {
        world.recipe(
            "a",
            &format!("[[fetch]]\n{recipe}\n").replace("[SERVER]/", &world.server.url("")),
        );
        let stderr = world.fail(&["lock", "a"], status);
        snapbox::assert_data_eq!(&stderr[stderr.find("error").unwrap()..], expected);
        assert!(!world.recipes().join("a.lock").exists());
    };
    check(
        "url = \"http://tools.example/t.tar\"\ninto = \"x\"",
        2,
        str![[r#"
error: `[WORLD]/recipes/a.toml`: fetch url `http://tools.example/t.tar` is plain `http`, which anyone on the way can answer; name its `sha256`

"#]],
    );
    check(
        "url = \"http://127.0.0.1.example/t.tar\"\ninto = \"x\"",
        2,
        str![[r#"
error: `[WORLD]/recipes/a.toml`: fetch url `http://127.0.0.1.example/t.tar` is plain `http`, which anyone on the way can answer; name its `sha256`

"#]],
    );
    check(
        "url = \"file:///etc/passwd\"\ninto = \"x\"",
        2,
        str![[r#"
error: `[WORLD]/recipes/a.toml`: fetch url `file:///etc/passwd` is no `https://` or `http://` address

"#]],
    );
    check(
        "url = \"[SERVER]/t\"\ninto = \"../x\"",
        2,
        str![[r#"
error: `[WORLD]/recipes/a.toml`: fetch into `../x` is no plain relative path

"#]],
    );
    check(
        "url = \"[SERVER]/t\"\ninto = \"x\"\nmember = \"y\"",
        2,
        str![[r#"
error: `[WORLD]/recipes/a.toml`: fetch url `[SERVER]/t` is no archive by its name, so it has no `member`; set `unpack`

"#]],
    );
    check(
        "url = \"[SERVER]/t.tar\"\ninto = \"x\"",
        4,
        str![[r#"
error: could not fetch `t.tar`
  `[SERVER]/t.tar` answered 404
hint: is the address right? What is in the cache's `downloads/sha256` is not asked for again

"#]],
    );
    world.server.put("t.tar", Route::Cut(tar(&[file("a", "b")]), 700));
    check(
        "url = \"[SERVER]/t.tar\"\ninto = \"x\"",
        4,
        str![[r#"
error: could not fetch `t.tar`
  `[SERVER]/t.tar` broke off after [..] bytes: [..]
hint: is the address right? What is in the cache's `downloads/sha256` is not asked for again

"#]],
    );
    world.server.put("t.tar", Route::Whole(tar(&[file("a", "b"), file("../../evil", "")])));
    check(
        "url = \"[SERVER]/t.tar\"\ninto = \"x\"",
        3,
        str![[r#"
error: `t.tar`: entry `../../evil` has `..` in its path

"#]],
    );
    check(
        &format!("url = \"[SERVER]/t.tar\"\ninto = \"x\"\nsha256 = \"{}\"", Digest::of("it")),
        3,
        str![[r#"
error: `[SERVER]/t.tar` has sha256 [..], the recipe says [..]
hint: compare the digest with the one that its publisher names

"#]],
    );
    world.server.put("t.tar", Route::Whole(tar(&[file("a", "b")])));
    check(
        "url = \"[SERVER]/t.tar\"\ninto = \"x\"\nmember = \"nothing\"",
        3,
        str![[r#"
error: could not read `t.tar` as an archive
  caused by: it has no `nothing`

"#]],
    );
    world.server.put("t.zip", Route::Whole(b"no zip".to_vec()));
    check(
        "url = \"[SERVER]/t.zip\"\ninto = \"x\"",
        3,
        str![[r#"
error: could not read `t.zip` as a zip archive
  caused by: [..]

"#]],
    );
}
