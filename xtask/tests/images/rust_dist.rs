//! Rust's own distribution, in the shape of the real one and served from this process: a channel
//! manifest, its digest, and component tarballs. Only what lies in them is small.

use std::fmt::Write as _;
use std::fs;
use std::io::Read as _;
use std::process::Output;

use keyway_manifest::Digest;
use keyway_xtask::image::{Lock, rust_installer};
use tar::{Builder, Header};

use crate::debian::{World, without_time};
use crate::fixture::{self, Item, Workbench, file, hard_link, symlink, xz};
use crate::server::Route;

pub(crate) const LINUX: &str = "x86_64-unknown-linux-gnu";
pub(crate) const WINDOWS: &str = "x86_64-pc-windows-gnu";
/// A compiler as far as an image's record of it goes: it says which it is.
pub(crate) const RUSTC: &str = "#!/bin/sh\nprintf 'rustc 1.85.0\\nrelease: 1.85.0\\ncommit-hash: 4d91de4e48198da2e33413efdcd9cd2cc0c46688\\nLLVM version: 19.1.7\\n'\n";

/// How a tarball is compressed.
#[derive(Clone, Copy)]
pub(crate) enum Compression {
    Xz,
    Gzip,
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    writer.write_all(bytes).unwrap();
    writer.finish().unwrap()
}

/// A tarball of one component with these files, each with its mode, in the installer's layout. Its
/// paths are long enough to need extensions, as the real ones are.
fn tarball(name: &str, version: &str, triple: &str, files: &[(&str, u32, &str)]) -> Vec<u8> {
    let component = if name == "rust-std" { format!("{name}-{triple}") } else { name.to_owned() };
    let top = format!("{name}-{version}-{triple}");
    let listed: String = files.iter().map(|(path, ..)| format!("file:{path}\n")).collect();
    let listed = format!("{listed}dir:share/doc/{name}\n");
    let mut all = vec![
        ("components".to_owned(), 0o644, format!("{component}\n")),
        ("install.sh".to_owned(), 0o755, "#!/bin/sh\n".to_owned()),
        ("rust-installer-version".to_owned(), 0o644, "3".to_owned()),
        (format!("{component}/manifest.in"), 0o644, listed),
        (format!("{component}/share/doc/{name}/html/README"), 0o644, name.to_owned()),
    ];
    let own = files.iter();
    all.extend(
        own.map(|(path, mode, text)| (format!("{component}/{path}"), *mode, (*text).to_owned())),
    );
    let mut builder = Builder::new(Vec::new());
    for (path, mode, text) in all {
        let mut header = Header::new_gnu();
        header.set_mode(mode);
        header.set_mtime(1_740_000_000);
        header.set_size(text.len() as u64);
        builder.append_data(&mut header, format!("{top}/{path}"), text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A release that `world`'s server has.
pub(crate) struct Release {
    version: &'static str,
    compression: Compression,
    pub(crate) manifest: String,
}

impl Release {
    /// Rust 1.85.0 for Linux, with a standard library for Windows too.
    pub(crate) fn serve(world: &World, compression: Compression) -> Self {
        let mut release = Self { version: "1.85.0", compression, manifest: String::new() };
        release.manifest.push_str("manifest-version = \"2\"\ndate = \"2025-02-20\"\n");
        for package in ["rustc", "cargo", "rust-std", "rust-docs"] {
            let version = if package == "cargo" { "0.86.0" } else { "1.85.0" };
            let _ = write!(release.manifest, "[pkg.{package}]\nversion = \"{version} (x 2025)\"\n");
        }
        release.add(world, "rustc", LINUX, &[("bin/rustc", 0o755, RUSTC)]);
        release.add(
            world,
            "cargo",
            LINUX,
            &[
                ("bin/cargo", 0o755, "#!/bin/sh\n"),
                ("etc/bash_completion.d/cargo", 0o644, "complete\n"),
            ],
        );
        for target in [LINUX, WINDOWS] {
            let library = format!("lib/rustlib/{target}/lib/libstd-0123456789abcdef.rlib");
            release.add(world, "rust-std", target, &[(&library, 0o600, target)]);
        }
        release.publish(world);
        release
    }

    fn path(&self, name: &str, triple: &str) -> String {
        let ending = match self.compression {
            Compression::Xz => "xz",
            Compression::Gzip => "gz",
        };
        format!("dist/2025-02-20/{name}-{}-{triple}.tar.{ending}", self.version)
    }

    pub(crate) fn add(
        &mut self,
        world: &World,
        name: &str,
        triple: &str,
        files: &[(&str, u32, &str)],
    ) {
        let tar = tarball(name, self.version, triple, files);
        let (bytes, prefix) = match self.compression {
            Compression::Xz => (xz(&tar), "xz_"),
            Compression::Gzip => (gzip(&tar), ""),
        };
        let hash = if prefix.is_empty() { "hash" } else { "xz_hash" };
        let path = self.path(name, triple);
        let _ = write!(
            self.manifest,
            "[pkg.{name}.target.{triple}]\navailable = true\n\
             {prefix}url = \"https://official.example/{path}\"\n{hash} = \"{}\"\n",
            Digest::of(&bytes)
        );
        world.server.put(&path, Route::Whole(bytes));
    }

    pub(crate) fn publish(&self, world: &World) {
        let path = format!("dist/channel-rust-{}.toml", self.version);
        let line = format!("{}  channel-rust.toml\n", Digest::of(&self.manifest));
        world.server.put(&format!("{path}.sha256"), Route::Whole(line.into()));
        world.server.put(&path, Route::Whole(self.manifest.clone().into()));
    }
}

/// `images ACTION a` with the server named.
pub(crate) fn run(world: &World, arguments: &[&str]) -> Output {
    let mut command = world.command(arguments);
    command.env("RUSTUP_DIST_SERVER", world.server.url("")).output().unwrap()
}

#[track_caller]
pub(crate) fn succeed(world: &World, arguments: &[&str]) -> String {
    let output = run(world, arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    without_time(&output)
}

#[track_caller]
fn check_fail(world: &World, status: i32, expected: impl snapbox::IntoData) {
    let output = run(world, &["lock", "a"]);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    let start = stderr.find("error: ").unwrap();
    let text = stderr[start..].replace(&world.server.url(""), "[SERVER]/");
    snapbox::assert_data_eq!(text, expected);
    assert!(!world.recipes().join("a.lock").exists());
}

const RECIPE: &str = "[[rust]]\nversion = \"1.85.0\"\ntargets = [\"x86_64-pc-windows-gnu\"]\n";

/// The paths of a layer with their modes, folders aside.
fn listing(world: &World, lock: &Lock, at: usize) -> Vec<String> {
    let path = world.path().join(format!("cache/layers/{}.tar", lock.layers[at].diff_id));
    let mut archive = tar::Archive::new(fs::File::open(path).unwrap());
    let entries = archive.entries().unwrap().map(Result::unwrap);
    let files = entries.filter(|entry| entry.header().entry_type().is_file());
    files
        .map(|entry| {
            let mode = entry.header().mode().unwrap();
            format!("{mode:o} {}", entry.path().unwrap().display())
        })
        .collect()
}

#[test]
fn a_release_becomes_layers() {
    let world = World::new();
    let release = Release::serve(&world, Compression::Xz);
    world.recipe("a", RECIPE);
    let locked = succeed(&world, &["lock", "a"]);
    let text = world.lock("a");
    assert!(!text.contains("127.0.0.1") && !text.contains("official"), "no server in a lock");
    let lock = Lock::read(&world.recipes(), "a").unwrap();
    let contents: Vec<String> = lock.layers.iter().map(|layer| layer.content.to_string()).collect();
    assert_eq!(contents, ["rust 1.85.0", &format!("std {LINUX}"), &format!("std {WINDOWS}")]);
    assert_eq!(
        listing(&world, &lock, 0),
        [
            "644 etc/bash_completion.d/cargo",
            "755 usr/bin/cargo",
            "755 usr/bin/rustc",
            "644 usr/share/doc/cargo/html/README",
            "644 usr/share/doc/rustc/html/README",
        ]
    );
    assert_eq!(
        listing(&world, &lock, 2)[0],
        format!("644 usr/lib/rustlib/{WINDOWS}/lib/libstd-0123456789abcdef.rlib")
    );
    let rust = lock.rust.as_ref().unwrap();
    assert_eq!(rust.manifest, Digest::of(&release.manifest));
    let named: Vec<String> =
        rust.components.iter().map(|c| format!("{} {}", c.name, c.target)).collect();
    assert_eq!(
        named,
        [
            format!("rustc {LINUX}"),
            format!("cargo {LINUX}"),
            format!("rust-std {LINUX}"),
            format!("rust-std {WINDOWS}"),
        ]
    );

    // From what is downloaded, no server is needed; from nothing, the lock alone decides.
    fs::remove_dir_all(world.path().join("cache/layers")).unwrap();
    assert_eq!(world.succeed(&["build", "a"]), locked);
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    world.server.remove("dist/channel-rust-1.85.0.toml");
    assert_eq!(succeed(&world, &["build", "a"]), locked);
    fs::remove_dir_all(world.path().join("cache")).unwrap();
    let stderr = world.fail(&["build", "a"], 4);
    assert!(stderr.contains("hint: set `RUSTUP_DIST_SERVER`"), "{stderr}");
}

#[test]
fn gzip_is_taken_where_there_is_no_xz() {
    let world = World::new();
    Release::serve(&world, Compression::Gzip);
    world.recipe("a", RECIPE);
    succeed(&world, &["lock", "a"]);
    let lock = Lock::read(&world.recipes(), "a").unwrap();
    assert!(lock.rust.as_ref().unwrap().components[0].path.ends_with(".tar.gz"));
    assert_eq!(listing(&world, &lock, 0).len(), 5);
}

/// This machine's shell with the libraries it needs, where it expects them.
pub(crate) fn shell() -> Vec<Item> {
    let program = fs::canonicalize("/bin/sh").unwrap();
    let libraries = std::process::Command::new("ldd").arg(&program).output().unwrap();
    let libraries = String::from_utf8(libraries.stdout).unwrap();
    let paths = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    let mut items = Vec::new();
    for (from, to) in paths.map(|path| (path, path)).chain([(program.to_str().unwrap(), "/bin/sh")])
    {
        let mut data = Vec::new();
        fs::File::open(from).unwrap().read_to_end(&mut data).unwrap();
        items.push(Item { data, mode: 0o755, ..file(to.trim_start_matches('/'), "") });
    }
    items.push(Item { mode: 0o755, ..file("bin/ld", "#!/bin/sh\nprintf 'GNU ld 2.44\\n'\n") });
    items
}

#[cfg(target_os = "linux")]
#[test]
fn the_toolchain_is_what_the_compiler_says() {
    if !crate::fixture::has_sandbox() {
        return;
    }
    let mut world = World::new();
    world.package("shell", "1", "", &shell());
    world.publish();
    Release::serve(&world, Compression::Xz);
    let toolchain = |target| {
        format!(
            "[[toolchain]]\ntarget = \"{target}\"\ncrt = \"x\"\n\
             linker = {{ name = \"ld\", command = [\"/bin/ld\", \"--version\"] }}\n"
        )
    };
    world.recipe(
        "a",
        &format!(
            "packages = [\"shell\"]\n{RECIPE}{}{}[env]\nPATH = \"/usr/bin:/bin\"\n",
            toolchain(LINUX),
            toolchain(WINDOWS)
        ),
    );
    succeed(&world, &["lock", "a", "--engine", "sandbox"]);
    let lock = Lock::read(&world.recipes(), "a").unwrap();
    for (target, layer) in [(LINUX, 2), (WINDOWS, 3)] {
        let record = &lock.toolchain(&target.parse().unwrap()).unwrap().record;
        assert_eq!(record.rustc.release, "1.85.0");
        assert_eq!(record.rustc.commit, "4d91de4e48198da2e33413efdcd9cd2cc0c46688");
        assert_eq!(record.std, lock.layers[layer].diff_id, "the std is a layer of its own");
    }
}

#[test]
fn what_a_server_can_do_wrong() {
    use snapbox::str;

    let world = World::new();
    world.recipe("a", RECIPE);
    check_fail(
        &world,
        4,
        str![[r#"
error: could not get the manifest of Rust 1.85.0
  caused by: `[SERVER]/dist/channel-rust-1.85.0.toml.sha256` answered 404
hint: is the version right, and does `RUSTUP_DIST_SERVER` name a full mirror?

"#]],
    );

    let mut release = Release::serve(&world, Compression::Xz);
    let manifest = "dist/channel-rust-1.85.0.toml";
    world.server.put(manifest, Route::Whole(b"portal".to_vec()));
    check_fail(
        &world,
        3,
        str![[r#"
error: `[SERVER]/dist/channel-rust-1.85.0.toml` has sha256 [..], the `.sha256` beside it says [..]

"#]],
    );

    let good = release.manifest.clone();
    release.manifest = good.replace("\"1.85.0 (x 2025)\"", "\"1.84.1 (x 2025)\"");
    release.publish(&world);
    check_fail(
        &world,
        3,
        str![[r#"
error: `[SERVER]/dist/channel-rust-1.85.0.toml` is the manifest of Rust 1.84.1, expected 1.85.0

"#]],
    );

    release.manifest = "pkg = 1".into();
    release.publish(&world);
    check_fail(
        &world,
        2,
        str![[r#"
error: `[SERVER]/dist/channel-rust-1.85.0.toml` is no channel manifest
  caused by: [..]
...
"#]],
    );

    release.manifest = good.replace(
        "https://official.example/dist/2025-02-20/cargo",
        "https://official.example/dist/../cargo",
    );
    release.publish(&world);
    check_fail(
        &world,
        2,
        str![[r#"
error: the manifest of Rust 1.85.0 names `https://official.example/dist/../cargo-1.85.0-x86_64-unknown-linux-gnu.tar.xz`, which lies outside of `/dist/`

"#]],
    );

    release.manifest = good;
    release.publish(&world);
    let path = release.path("rust-std", WINDOWS);
    let tar = tarball("rust-std", "1.85.0", WINDOWS, &[]);
    world.server.put(&path, Route::Whole(xz(&tar)));
    check_fail(
        &world,
        4,
        str![[r#"
error: no mirror has `rust-std 1.85.0 for x86_64-pc-windows-gnu` (sha256 [..])
  `[SERVER]/dist/2025-02-20/rust-std-1.85.0-x86_64-pc-windows-gnu.tar.xz` has sha256 [..], expected [..]
hint: `RUSTUP_DIST_SERVER` must name a server that has this release; what the lock pins can come from any

"#]],
    );
    world.server.put(&path, Route::Cut(xz(&tar), 100));
    check_fail(
        &world,
        4,
        str![[r#"
error: no mirror has `rust-std 1.85.0 for x86_64-pc-windows-gnu` (sha256 [..])
  `[SERVER]/dist/2025-02-20/rust-std-1.85.0-x86_64-pc-windows-gnu.tar.xz` broke off after 100 bytes: [..]
hint: `RUSTUP_DIST_SERVER` must name a server that has this release; what the lock pins can come from any

"#]],
    );
}

#[test]
fn what_a_recipe_can_ask_in_vain() {
    use snapbox::str;

    let world = World::new();
    let release = Release::serve(&world, Compression::Xz);
    world.recipe("a", &RECIPE.replace(WINDOWS, "riscv64gc-unknown-linux-gnu"));
    check_fail(
        &world,
        2,
        str![[r#"
error: Rust 1.85.0 has no `rust-std` for `riscv64gc-unknown-linux-gnu`
hint: take the target out of `targets`, or choose a release that has it; the release's manifest lists them

"#]],
    );

    let pinned = |digest| format!("{RECIPE}manifest = \"{digest}\"\n");
    world.recipe("a", &pinned(Digest::of("another")));
    check_fail(
        &world,
        3,
        str![[r#"
error: `[SERVER]/dist/channel-rust-1.85.0.toml` has sha256 [..], the recipe says [..]

"#]],
    );
    world.recipe("a", &pinned(Digest::of(&release.manifest)));
    succeed(&world, &["lock", "a"]);
    fs::remove_file(world.recipes().join("a.lock")).unwrap();

    world.recipe("a", RECIPE);
    let mut command = world.command(&["lock", "a"]);
    let output = command.env("RUSTUP_DIST_SERVER", "http://mirror.example").output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("`http://mirror.example` is plain `http`"), "{stderr}");
    let output = world.command(&["lock", "a"]).env_remove("RUSTUP_DIST_SERVER").output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(stderr.contains("no server is named to fetch Rust 1.85.0 from"), "{stderr}");
}

#[test]
fn hostile_and_broken_components() {
    let bench = Workbench::new();
    let check = |name: &str, items: &[Item], expected| {
        let path = bench.put("component.tar.xz", &xz(&fixture::tar(items)));
        let error = rust_installer::open(&path, name, bench.0.path(), 1 << 20).unwrap_err();
        let cause = std::error::Error::source(&error).map_or(String::new(), |e| format!(": {e}"));
        snapbox::assert_data_eq!(format!("{error}{cause}"), expected);
    };
    use snapbox::str;
    let with = |listed: &str, more: &[Item]| {
        let mut items = vec![file("t/components", "c\n"), file("t/c/manifest.in", listed)];
        items.extend_from_slice(more);
        items
    };
    let cases = [
        (with("", &[file("../evil", "")]), str!["`c`: entry `../evil` has `..` in its path"]),
        (with("", &[file("/evil", "")]), str!["`c`: entry `/evil` has an absolute path"]),
        (with("file:../../evil\n", &[]), str!["`c`: entry `../../evil` has `..` in its path"]),
        (with("dir:/etc\n", &[]), str!["`c`: entry `/etc` has an absolute path"]),
        (
            with("file:bin/rustc\n", &[]),
            str![
                "could not read `c` as a component of Rust's distribution: `c/manifest.in` lists `bin/rustc`, which the tarball does not have"
            ],
        ),
        (
            with("exec:bin/rustc\n", &[file("t/c/bin/rustc", "")]),
            str![
                "could not read `c` as a component of Rust's distribution: `exec:bin/rustc` in `c/manifest.in` is not understood"
            ],
        ),
        (with("file:a\nfile:a\n", &[file("t/c/a", "")]), str!["`c`: entry `usr/a` is there twice"]),
        (
            with("file:a\n", &[hard_link("t/c/a", "etc/shadow")]),
            str![
                "`c`: entry `t/c/a` is a hard link to `etc/shadow`, which is no file before it in the same archive"
            ],
        ),
        (
            vec![file("t/x", "")],
            str![
                "could not read `c` as a component of Rust's distribution: it has no `t/components`"
            ],
        ),
        (
            vec![symlink("t/components", "/etc/passwd")],
            str![
                "could not read `c` as a component of Rust's distribution: `t/components` is no list of lines"
            ],
        ),
    ];
    for (items, expected) in cases {
        check("c", &items, expected);
    }
    let whole = xz(&fixture::tar(&with("file:a\n", &[file("t/c/a", "some text")])));
    let cut = bench.put("cut", &whole[..whole.len() / 2]);
    let error = rust_installer::open(&cut, "c", bench.0.path(), 1 << 20).unwrap_err();
    snapbox::assert_data_eq!(error.to_string(), str!["could not read `c` as a tar archive"]);
    let error = rust_installer::open(&bench.put("w", &whole), "c", bench.0.path(), 9).unwrap_err();
    snapbox::assert_data_eq!(error.to_string(), str!["`c` unpacks to more than 9 bytes"]);
}
