//! What mirrors, registries and networks do to those who believe them. Each is refused in words, and
//! nothing is left behind: no lock, no layer, no file outside the cache.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use keyway_manifest::Digest;
use keyway_xtask::image::http::{Expected, Http, HttpError};
use keyway_xtask::image::recipe::Fetch;
use keyway_xtask::image::{deb, fetched, wheel};
use snapbox::str;

use crate::debian::World;
use crate::fixture::{Workbench, package, xz};
use crate::server::Route;

/// What a hotel's network answers whatever it is asked for, with status 200.
const PORTAL: &[u8] =
    b"<!DOCTYPE html><html><title>Welcome</title><form>Room: <input></form></html>";

/// Files below a folder, sorted.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(at) = folders.pop() {
        for entry in fs::read_dir(at).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

/// Runs what must fail; only parts of downloads may be new then.
#[track_caller]
fn check(world: &World, arguments: &[&str], status: i32, expected: impl snapbox::IntoData) {
    let kept = |path: &String| {
        !path.starts_with("cache/downloads/")
            && !path.starts_with("cache/recipes/")
            && !path.starts_with("cache/locks/")
    };
    let before: Vec<String> = files(world.path()).into_iter().filter(kept).collect();
    let stderr = world.fail(arguments, status);
    let stderr = &stderr[stderr.find("error").unwrap()..];
    snapbox::assert_data_eq!(stderr, expected);
    let after: Vec<String> = files(world.path()).into_iter().filter(kept).collect();
    assert_eq!(after, before);
}

/// Ten gibibytes in pieces of 64 MiB, each compressed to the same bytes.
fn ten_gibibytes(compress: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let bytes = compress(&vec![0; 64 << 20]).repeat(160);
    assert!(bytes.len() < 12 << 20, "a small file: {}", bytes.len());
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

#[test]
fn ten_gibibytes_of_zeros_in_a_small_package() {
    let bench = Workbench::new();
    let path = bench.put("p.deb", &package("data.tar.xz", &ten_gibibytes(xz)));
    let error = deb::open(&path, "p 1", &|_| true, bench.0.path(), 1 << 20).unwrap_err();
    snapbox::assert_data_eq!(error.to_string(), str!["`p 1` unpacks to more than 1048576 bytes"]);
    assert_eq!(files(bench.0.path()), ["p.deb"]);
}

#[test]
fn ten_gibibytes_of_zeros_in_a_small_tarball() {
    let bench = Workbench::new();
    let path = bench.put("t.tar.gz", &ten_gibibytes(gzip));
    let recipe = "url = \"https://host.example/t.tar.gz\"\ninto = \"opt\"\n";
    let recipe: Fetch = toml::from_str(recipe).unwrap();
    let error = fetched::open(&path, &recipe, bench.0.path(), 1 << 20).unwrap_err();
    snapbox::assert_data_eq!(
        error.to_string(),
        str!["`t.tar.gz` unpacks to more than 1048576 bytes"]
    );
    assert_eq!(files(bench.0.path()), ["t.tar.gz"]);
}

#[test]
fn ten_gibibytes_of_zeros_in_a_small_wheel() {
    let bench = Workbench::new();
    let mut piece = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    piece.start_file("piece", zip::write::SimpleFileOptions::default()).unwrap();
    piece.write_all(&vec![0; 64 << 20]).unwrap();
    let mut piece = piece.finish_into_readable().unwrap();
    let mut bomb = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for at in 0..160 {
        bomb.raw_copy_file_rename(piece.by_index(0).unwrap(), format!("zig/{at}")).unwrap();
    }
    let bytes = bomb.finish().unwrap().into_inner();
    assert!(bytes.len() < 12 << 20, "a small file: {}", bytes.len());
    let path = bench.put("z.whl", &bytes);
    let error = wheel::open(&path, "zig 1", "zig", "usr", 8 << 30).unwrap_err();
    snapbox::assert_data_eq!(
        error.to_string(),
        str!["`zig 1` unpacks to more than 8589934592 bytes"]
    );
    assert_eq!(files(bench.0.path()), ["z.whl"]);
}

#[test]
fn a_captive_portal_in_place_of_a_release_file() {
    let world = World::new();
    world.recipe("a", "packages = [\"lib\"]\n");
    world.server.put("dists/test/InRelease", Route::Whole(PORTAL.to_vec()));
    check(
        &world,
        &["lock", "a"],
        3,
        str![[r#"
error: `[SERVER]/dists/test/InRelease` carries no signature that can be read
  caused by: not enough bytes in buffer: cleartext header
hint: what does that address show in a browser? A network that wants a login answers for everyone; else name another mirror with `--mirror`

"#]],
    );
}

/// What is said about a mirror that answers so when it is asked for a package.
#[track_caller]
fn check_package(route: Route, expected: &str) {
    let world = World::new();
    world.recipe("a", "packages = [\"lib\"]\n");
    world.server.put("pool/lib_1.0.deb", route);
    let said = format!(
        "error: no mirror has `lib 1.0` (sha256 [..])\n  `[SERVER]/pool/lib_1.0.deb` {expected}\n  \
         [..]snapshot.debian.org/[..]\nhint: name a mirror with `--mirror` or `KEYWAY_DEBIAN_MIRROR`; [..]\n"
    );
    check(&world, &["lock", "a"], 4, said);
}

#[test]
fn a_captive_portal_in_place_of_a_package() {
    check_package(
        Route::Whole(PORTAL.to_vec()),
        "broke off after 76 bytes: unexpected end of file",
    );
}

#[test]
fn a_captive_portal_in_place_of_a_wheel() {
    let world = World::new();
    world.recipe(
        "a",
        "[[wheel]]\nname = \"zig\"\nversion = \"1.0\"\nplatform = \"manylinux2014_x86_64\"\n\
         member = \"zig\"\ninto = \"usr/lib/zig\"\n",
    );
    let lock = || {
        let mut command = world.command(&["lock", "a"]);
        command.env("KEYWAY_PYPI_INDEX", world.server.url("simple")).env("PATH", "/nowhere");
        let output = command.output().unwrap();
        let stderr =
            String::from_utf8_lossy(&output.stderr).replace(&world.server.url(""), "[SERVER]/");
        assert!(!world.recipes().join("a.lock").exists());
        assert_eq!(files(&world.path().join("cache/layers")), Vec::<String>::new());
        (output.status.code(), stderr[stderr.find("error").unwrap()..].to_owned())
    };
    // In place of the page.
    world.server.put("simple/zig/", Route::Whole(PORTAL.to_vec()));
    let (status, said) = lock();
    assert_eq!(status, Some(4));
    snapbox::assert_data_eq!(
        said,
        str![[r#"
error: could not fetch wheel `zig` 1.0 for `manylinux2014_x86_64`
  `[SERVER]/simple/zig/` lists no such wheel
hint: install pip or uv, or set `KEYWAY_PYPI_INDEX` to the address of a simple index

"#]]
    );
    // In place of the file.
    let file = "zig-1.0-py3-none-manylinux_2_12_x86_64.whl";
    let page = format!("<a href=\"../../files/{file}\">{file}</a>");
    world.server.put("simple/zig/", Route::Whole(page.into()));
    world.server.put(&format!("files/{file}"), Route::Whole(PORTAL.to_vec()));
    let (status, said) = lock();
    assert_eq!(status, Some(3));
    snapbox::assert_data_eq!(
        said,
        str![[r#"
error: could not read `zig 1.0` as a wheel
  caused by: invalid Zip archive: Could not find EOCD

"#]]
    );
}

#[test]
fn a_captive_portal_in_place_of_a_registry() {
    let world = World::new();
    let host = world.server.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    let digest = Digest::of("manifest").prefixed();
    world.recipe("a", &format!("reference = \"{host}/team/tools@{digest}\"\n"));
    let manifest = format!("v2/team/tools/manifests/{digest}");
    let failed = |status| {
        let stderr = world.fail(&["lock", "a"], status).replace(&host, "[HOST]");
        assert!(!world.recipes().join("a.lock").exists());
        stderr[stderr.find("error").unwrap()..].to_owned()
    };
    // In place of the manifest.
    world.server.put(&manifest, Route::Whole(PORTAL.to_vec()));
    snapbox::assert_data_eq!(
        failed(3),
        str![[r#"
error: the registry gives `[HOST]/team/tools@sha256:[..]` a document with sha256 [..], expected [..]

"#]]
    );
    // In place of a token.
    let realm = world.server.url("token");
    let challenge = format!("Bearer realm=\"{realm}\",service=\"registry\"");
    world.server.put(&manifest, Route::Guarded(Vec::new(), challenge));
    let token = "token?service=registry&scope=repository:team/tools:pull";
    world.server.put(token, Route::Whole(PORTAL.to_vec()));
    snapbox::assert_data_eq!(
        failed(4),
        str![[r#"
error: could not get `[HOST]/team/tools@sha256:[..]`
  caused by: could not log in to `http://[HOST]`: `[SERVER]/token` answers without a token
hint: does the registry answer here, and has it an image of that digest?

"#]]
    );
}

#[test]
fn a_mirror_that_resets_every_line() {
    check_package(Route::Reset(vec![0; 100_000], 10), "broke off after 10 bytes: [..]");
}

#[test]
fn a_mirror_that_lies_about_a_length() {
    // It says that more comes than does; more comes than the index says.
    check_package(Route::Cut(vec![0; 100_000], 10), "broke off after 10 bytes: [..]");
    check_package(Route::Whole(vec![0; 100_000]), "is larger than [..] bytes");
}

#[test]
fn a_mirror_that_stalls_is_left_after_a_while() {
    let server = crate::server::Server::start();
    let bytes = vec![7; 1000];
    server.put("x", Route::Stall(bytes.clone(), 10));
    let folder = tempfile::tempdir().unwrap();
    let part = folder.path().join("part");
    let http = Http::with_patience(Duration::from_millis(300));
    let expected = Expected { size: 1000, sha256: Digest::of(&bytes) };
    let start = Instant::now();
    let error = http.download(&server.url("x"), expected, &part, &mut |_| {}).unwrap_err();
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert!(matches!(error, HttpError::Broken { received: 10, .. }), "{error}");
    let text = error.to_string().replace(&server.url(""), "[SERVER]/");
    snapbox::assert_data_eq!(
        text,
        str!["`[SERVER]/x` broke off after 10 bytes: timeout: per read"]
    );
    // The next mirror goes on from there.
    server.put("x", Route::Whole(bytes));
    http.download(&server.url("x"), expected, &part, &mut |_| {}).unwrap();
    assert_eq!(server.log().last().unwrap(), "x 10");
}

#[test]
fn a_lock_with_a_path_for_a_name() {
    let world = World::new();
    world.recipe("a", "packages = [\"lib\"]\n");
    world.succeed(&["lock", "a"]);
    let lock = world.lock("a").replace("name = \"lib\"", "name = \"../../evil\"");
    fs::write(world.recipes().join("a.lock"), &lock).unwrap();
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    let before = files(world.path());
    world.succeed(&["build", "a"]);
    let after: Vec<String> =
        files(world.path()).into_iter().filter(|path| !path.starts_with("cache/")).collect();
    assert_eq!(after, before, "names are only shown");
    // A digest is what files are named by, and it is no path.
    let digest = lock.lines().find_map(|line| line.strip_prefix("diff_id = ")).unwrap();
    let lock = lock.replace(digest, "\"../../../evil\"");
    fs::write(world.recipes().join("a.lock"), lock).unwrap();
    check(
        &world,
        &["build", "a"],
        2,
        str![[r#"
error: `[WORLD]/recipes/a.lock` is no lock
  caused by: TOML parse error at line 14, column 11
     |
  14 | diff_id = "../../../evil"
     |           ^^^^^^^^^^^^^^^
  expected 64 lowercase hexadecimal digits, found `../../../evil`
hint: bring it back from version control, as by `git checkout -- [WORLD]/recipes/a.lock`; without `[WORLD]/recipes/a.lock`, `cargo xtask images lock` chooses every version anew

"#]],
    );
    // Nor is the name of an image.
    check(
        &world,
        &["build", "../a"],
        2,
        str![[r#"
error: there is no image `../a`
hint: there are recipes of a

"#]],
    );
}
