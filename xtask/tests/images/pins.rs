//! What `images lock` keeps though a server has something else by now.

use crate::debian::World;
use crate::rust_dist::{Compression, LINUX, Release, WINDOWS, run, succeed};

/// A server that has other files by now under the same version moves nothing but by an update.
#[test]
fn only_an_update_moves_a_release() {
    let world = World::new();
    Release::serve(&world, Compression::Xz);
    let recipe =
        |targets: &str| world.recipe("a", &format!("[[rust]]\nversion = \"1.85.0\"\n{targets}"));
    recipe("");
    succeed(&world, &["lock", "a"]);
    let before = world.lock("a");
    let mut other = Release::serve(&world, Compression::Xz);
    other.manifest = other.manifest.replace("x 2025", "y 2025");
    let old = format!("[pkg.rustc.target.{LINUX}]");
    let at = other.manifest.find(&old).unwrap();
    let rest = other.manifest[at..].split_once("\n[pkg.").unwrap().1.to_owned();
    other.manifest.truncate(at);
    other.add(&world, "rustc", LINUX, &[("bin/rustc", 0o755, "#!/bin/sh\nexit 1\n")]);
    other.manifest = format!("{}[pkg.{rest}", other.manifest);
    other.publish(&world);

    let requests = world.server.log().len();
    succeed(&world, &["lock", "a"]);
    assert_eq!(world.lock("a"), before);
    let asked: Vec<_> = world.server.log()[requests..]
        .iter()
        .filter(|path| path.contains("dist/"))
        .cloned()
        .collect();
    assert!(
        asked.iter().all(|path| path.contains("dists/")),
        "the release is not asked for: {asked:?}"
    );
    // An edited recipe has the server asked, and does not take the other compiler along.
    recipe(&format!("targets = [\"{WINDOWS}\"]\n"));
    let output = run(&world, &["lock", "a"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    let what =
        format!("what image `a` is locked to has changed since: rust rustc for {LINUX}: 1.85.0 (");
    assert!(
        said.contains(&what) && said.contains("hint: `cargo xtask images update` takes"),
        "{said}"
    );
    assert_eq!(world.lock("a"), before);

    let output = run(&world, &["update", "--check", "a"]);
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(told.contains(&format!("\"name\":\"rustc for {LINUX}\"")), "{told}");
    succeed(&world, &["update", "a"]);
    assert_ne!(world.lock("a"), before);
}
