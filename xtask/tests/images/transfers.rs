//! Downloads over lines that break, from mirrors that lack or change files.

use keyway_manifest::Digest;
use keyway_xtask::cache::Cache;
use keyway_xtask::image::Package;
use keyway_xtask::image::debian::DebianArchive;
use keyway_xtask::image::download::{DownloadError, Downloads};
use keyway_xtask::image::http::{Expected, Http, HttpError};
use keyway_xtask::image::mirror::Mirrors;
use keyway_xtask::shell::Shell;
use tempfile::TempDir;

use crate::server::{Route, Server};

fn content() -> Vec<u8> {
    (0..100_000_u32).flat_map(u32::to_le_bytes).collect()
}

fn expected(bytes: &[u8]) -> Expected {
    Expected { size: bytes.len() as u64, sha256: Digest::of(bytes) }
}

/// Downloads `x` from a server that answers with `route`, on top of a part that is there already.
fn download(route: Route, part: &[u8]) -> (Result<(), HttpError>, Vec<u8>, Vec<String>) {
    let server = Server::start();
    server.put("x", route);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.part");
    if !part.is_empty() {
        std::fs::write(&path, part).unwrap();
    }
    let done = Http::new().download(&server.url("x"), expected(&content()), &path, &mut |_| {});
    (done, std::fs::read(&path).unwrap_or_default(), server.log())
}

#[test]
fn goes_on_where_a_line_broke() {
    let (done, bytes, log) = download(Route::Pieces(content(), 150_000), b"");
    done.unwrap();
    assert_eq!(Digest::of(bytes), Digest::of(content()));
    assert_eq!(log, ["x 0", "x 150000", "x 300000"]);
}

#[test]
fn goes_on_where_an_earlier_run_was_killed() {
    let (done, bytes, log) = download(Route::Whole(content()), &content()[..1000]);
    done.unwrap();
    assert_eq!(Digest::of(bytes), Digest::of(content()));
    assert_eq!(log, ["x 1000"]);
}

#[test]
fn starts_again_where_a_server_knows_no_ranges() {
    let mut noise = content();
    noise.truncate(1000);
    let (done, _, log) = download(Route::Cut(content(), content().len()), &noise);
    done.unwrap();
    assert_eq!(log, ["x 1000"]);
}

#[test]
fn gives_up_on_a_line_that_brings_nothing() {
    let (done, bytes, log) = download(Route::Cut(content(), 10), b"");
    assert!(matches!(done, Err(HttpError::Broken { received: 10, .. })), "{done:?}");
    assert_eq!(bytes.len(), 10, "what came stays for another mirror");
    assert_eq!(log.len(), 2);
}

#[test]
fn keeps_nothing_of_wrong_content() {
    let mut wrong = content();
    wrong[5] ^= 1;
    let (done, bytes, _) = download(Route::Whole(wrong), b"");
    assert!(matches!(done, Err(HttpError::Content { .. })), "{done:?}");
    assert!(bytes.is_empty());
    let mut long = content();
    long.push(0);
    let (done, bytes, _) = download(Route::Whole(long), b"");
    assert!(matches!(done, Err(HttpError::TooLarge { .. })), "{done:?}");
    assert!(bytes.is_empty());
}

#[test]
fn starts_again_where_an_earlier_run_left_other_content() {
    let (done, _, log) = download(Route::Whole(content()), b"something else");
    done.unwrap();
    assert_eq!(log, ["x 14", "x 0"]);
}

#[test]
fn says_what_a_server_answers() {
    let (done, ..) = download(Route::Status(503), b"");
    assert!(done.unwrap_err().to_string().ends_with("/x` answered 503"));
    let error = Http::new().get("http://127.0.0.1:1/x", 10).unwrap_err();
    assert!(matches!(error, HttpError::Transport { .. }), "{error}");
    let server = Server::start();
    server.put("x", Route::Whole(vec![0; 11]));
    let error = Http::new().get(&server.url("x"), 10).unwrap_err();
    assert!(matches!(error, HttpError::TooLarge { limit: 10, .. }), "{error}");
    server.put("y", Route::Cut(vec![0; 11], 3));
    let error = Http::new().get(&server.url("y"), 100).unwrap_err();
    assert!(matches!(error, HttpError::Broken { received: 3, .. }), "{error}");
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("nowhere").join("x");
    let done = Http::new().download(&server.url("x"), expected(b"x"), &nowhere, &mut |_| {});
    assert!(matches!(done, Err(HttpError::Disk { .. })), "{done:?}");
}

/// A package `x` of `content`, a store, and mirrors.
fn fetch(servers: &[&Server], folder: &TempDir) -> Result<(), DownloadError> {
    let shell = Shell::silent();
    let cache = Cache::at(folder.path().to_owned()).unwrap();
    let downloads = Downloads::open(&cache, &shell).unwrap();
    let user: Vec<String> = servers.iter().map(|server| server.url("")).collect();
    let package = Package {
        name: "x".into(),
        version: "1".into(),
        architecture: "all".into(),
        archive: DebianArchive::Main,
        path: "pool/x.deb".into(),
        size: content().len() as u64,
        sha256: Digest::of(content()),
    };
    downloads.packages(&Http::new(), &Mirrors::new("trixie", &user, &[], &[]), &[&package])
}

#[test]
fn takes_a_file_from_the_first_mirror_that_has_it() {
    let (lacks, wrong, cut, has) =
        (Server::start(), Server::start(), Server::start(), Server::start());
    wrong.put("pool/x.deb", Route::Whole(vec![1; content().len()]));
    cut.put("pool/x.deb", Route::Cut(content(), 5000));
    has.put("pool/x.deb", Route::Whole(content()));
    let folder = tempfile::tempdir().unwrap();
    fetch(&[&lacks, &wrong, &cut, &has], &folder).unwrap();
    assert_eq!(has.log(), ["pool/x.deb 5000"], "what the broken one sent was kept");
    fetch(&[&has], &folder).unwrap();
    assert_eq!(has.log().len(), 1, "a second time nothing is asked for");
}

#[test]
fn names_a_file_that_no_mirror_has() {
    let (one, two) = (Server::start(), Server::start());
    let folder = tempfile::tempdir().unwrap();
    let error = fetch(&[&one, &two], &folder).unwrap_err().to_string();
    let expected = format!(
        "no mirror has `x 1` (sha256 {})\n  `{}` answered 404\n  `{}` answered 404",
        Digest::of(content()),
        one.url("pool/x.deb"),
        two.url("pool/x.deb")
    );
    assert_eq!(error, expected);
    let error = fetch(&[], &folder).unwrap_err().to_string();
    assert!(error.ends_with(": there is no mirror to ask"), "{error}");
}

#[test]
fn asks_the_machines_mirrors_only_if_they_say_that_they_are_debians() {
    let (debian, other, silent) = (Server::start(), Server::start(), Server::start());
    let release = |origin: &str| Route::Whole(format!("Origin: {origin}\nLabel: Debian\n").into());
    debian.put("dists/trixie/InRelease", release("Debian"));
    other.put("dists/trixie/InRelease", release("Example"));
    let security = Server::start();
    let label = b"Origin: Debian\nLabel: Debian-Security\n".to_vec();
    security.put("dists/trixie-security/InRelease", Route::Whole(label.clone()));
    // A mirror of the one archive is none of the other, wherever its release file lies.
    security.put("dists/trixie/InRelease", Route::Whole(label));
    let machine = [silent.url(""), other.url(""), security.url(""), debian.url("")];
    let mirrors = Mirrors::new("trixie", &[], &machine, &[]);
    let http = Http::new();
    let addresses = |archive| mirrors.addresses(&http, archive, "pool/x.deb").collect::<Vec<_>>();
    assert_eq!(addresses(DebianArchive::Main), [debian.url("pool/x.deb")]);
    assert_eq!(addresses(DebianArchive::Security), [security.url("pool/x.deb")]);
}
