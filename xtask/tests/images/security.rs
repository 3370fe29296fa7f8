//! Security updates, which come from an archive of their own: asked for once, kept from then on.

use std::fs;

use serde_json::Value;

use crate::debian::World;
use crate::fixture::file;
use crate::lifecycle::{digests, world};

const LATER: &str = "Sat, 01 Jan 2950 00:00:00 UTC";

/// Runs an action on all images with a mirror of each archive.
fn arguments<'a>(security: &'a str, action: &[&'a str]) -> Vec<&'a str> {
    [action, &["--mirror", security]].concat()
}

fn changes(stdout: &str) -> Vec<String> {
    let events = stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let changes = events.filter(|event| event["event"] == "change");
    let text = |change: &Value, key: &str| change[key].as_str().unwrap().to_owned();
    changes
        .map(|c| [text(&c, "image"), text(&c, "name"), text(&c, "old"), text(&c, "new")].join(" "))
        .collect()
}

/// Two images that are locked, and an update of `lib` that only the other archive has.
fn updated() -> (World, String) {
    let world = world();
    world.succeed(&["lock"]);
    world.publish_security(("lib", "1.0+deb1"), &[file("usr/lib/lib", "mended")], LATER);
    let security = world.server.url("security");
    (world, security)
}

#[test]
fn are_taken_on_request_and_from_then_on() {
    let (mut world, security) = updated();
    let before = (world.lock("base"), world.lock("upper"));
    let unasked = world.succeed(&arguments(&security, &["update", "--check"]));
    assert_eq!(changes(&unasked), Vec::<String>::new());

    let check = world.run(&arguments(&security, &["update", "--check", "--security"]));
    assert_eq!(check.status.code(), Some(1));
    let expected = ["base lib 1.0 1.0+deb1"];
    assert_eq!(changes(&String::from_utf8(check.stdout).unwrap()), expected);
    assert_eq!((world.lock("base"), world.lock("upper")), before, "a check writes nothing");

    let update = world.succeed(&arguments(&security, &["update", "--security"]));
    assert_eq!(changes(&update), expected);
    let lock = world.lock("base");
    let package = |name: &str| {
        let name = format!("name = \"{name}\"");
        lock.split("[[package]]").find(|package| package.contains(&name)).unwrap().to_owned()
    };
    assert!(package("lib").contains("archive = \"security\"\npath = \"pool/lib_1.0+deb1.deb\""));
    assert!(!package("tool").contains("archive"), "it comes from the main archive");
    assert!(lock.contains("\nsecurity_epoch = 1795252544\n"), "{lock}");

    // From the lock alone, anywhere.
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    let built = world.succeed(&arguments(&security, &["build"]));
    assert_eq!(digests(&built), digests(&update));

    // Nobody asks again, and nothing goes back to the main archive's older version.
    let lock = (world.lock("base"), world.lock("upper"));
    world.succeed(&arguments(&security, &["lock"]));
    assert_eq!((world.lock("base"), world.lock("upper")), lock);
    world.succeed(&arguments(&security, &["update", "--check"]));

    // A point release has it too, and more: its package is the main archive's again.
    world.package("lib", "1.1", "", &[file("usr/lib/lib", "newer")]);
    world.publish();
    let update = world.succeed(&arguments(&security, &["update"]));
    assert_eq!(changes(&update), ["base lib 1.0+deb1 1.1"]);
    assert!(!world.lock("base").contains("archive = "));
}

#[test]
fn an_image_takes_them_where_the_one_below_does() {
    let (world, security) = updated();
    world.succeed(&arguments(&security, &["update", "--security", "base"]));
    // `extra` above needs `lib`, which the main archive has in another version than the image below.
    world.succeed(&arguments(&security, &["update", "upper"]));
    assert!(world.lock("upper").contains("security_epoch"));
}

#[test]
fn a_mirror_that_holds_them_back_is_refused() {
    let (world, security) = updated();
    let long_ago = "Sun, 29 Nov 2020 19:58:57 UTC";
    world.publish_security(("lib", "1.0+deb0"), &[file("usr/lib/lib", "old")], long_ago);
    let stderr = world.fail(&arguments(&security, &["update", "--check", "--security"]), 3);
    snapbox::assert_data_eq!(
        stderr,
        snapbox::str![[r#"
error: `[SERVER]/security/dists/test-security/InRelease` was valid until 2020-11-29T19:58:57Z only: the mirror holds back what came out since
hint: name another mirror with `--mirror`, and look at this machine's clock

"#]]
    );
}

#[test]
fn no_mirror_of_their_archive_is_said() {
    let world = world();
    world.succeed(&["lock"]);
    let stderr = world.fail(&["update", "--check", "--security", "base"], 4);
    assert!(stderr.contains("no mirror has suite `test-security`\n  `[SERVER]/dists/test-security/InRelease` answered 404"), "{stderr}");
}
