//! A Debian archive of a few packages, signed by a key made here and served from this process.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use keyway_manifest::Digest;
use pgp::composed::{
    ArmorOptions, CleartextSignedMessage, KeyType, SecretKeyParamsBuilder, SignedSecretKey,
};
use pgp::types::Password;
use tempfile::TempDir;

use crate::fixture::{Item, package, tar, xz};
use crate::server::{Route, Server};

/// A signing key.
pub(crate) struct Key(SignedSecretKey);

impl Key {
    pub(crate) fn new() -> Self {
        let params = SecretKeyParamsBuilder::default()
            .key_type(KeyType::Ed25519Legacy)
            .can_sign(true)
            .primary_user_id("Test <test@example.org>".into())
            .build()
            .unwrap();
        Self(params.generate(rand::thread_rng()).unwrap())
    }

    pub(crate) fn public(&self) -> Vec<u8> {
        self.0.to_public_key().to_armored_bytes(ArmorOptions::default()).unwrap()
    }

    pub(crate) fn sign(&self, text: &str) -> Vec<u8> {
        let (rng, key) = (rand::thread_rng(), &self.0.primary_key);
        let signed = CleartextSignedMessage::sign(rng, text, key, &Password::empty()).unwrap();
        signed.to_armored_bytes(ArmorOptions::default()).unwrap()
    }
}

/// An archive, the recipes that use it, and a cache.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) key: Key,
    index: String,
    folder: TempDir,
}

impl World {
    /// With the packages `tool`, which depends on `lib`, and `lib`.
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (server, key) = (Server::start(), Key::new());
        let mut world = Self { server, key, index: String::new(), folder };
        fs::create_dir_all(world.recipes().join("keyring")).unwrap();
        fs::write(world.recipes().join("keyring").join("test.asc"), world.key.public()).unwrap();
        world.package("lib", "1.0", "", &[crate::fixture::file("./usr/lib/lib", "library")]);
        world.package(
            "tool",
            "2.0",
            "lib (>= 1)",
            &[crate::fixture::file("./usr/bin/tool", "program")],
        );
        world.publish();
        world
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn recipes(&self) -> PathBuf {
        self.folder.path().join("recipes")
    }

    pub(crate) fn recipe(&self, name: &str, text: &str) {
        let head = "summary = \"x\"\nsuite = \"test\"\narchitecture = \"amd64\"\n";
        fs::write(self.recipes().join(format!("{name}.toml")), format!("{head}{text}")).unwrap();
    }

    pub(crate) fn lock(&self, name: &str) -> String {
        fs::read_to_string(self.recipes().join(format!("{name}.lock"))).unwrap()
    }

    /// Adds a package; it is in the index after the next [`World::publish`].
    pub(crate) fn package(&mut self, name: &str, version: &str, depends: &str, items: &[Item]) {
        let entry = self.put_package("", name, version, depends, items);
        self.index.push_str(&entry);
    }

    /// Serves a package below `base` and gives its paragraph of the index there.
    fn put_package(
        &self,
        base: &str,
        name: &str,
        version: &str,
        depends: &str,
        items: &[Item],
    ) -> String {
        let bytes = package("data.tar.xz", &xz(&tar(items)));
        let path = format!("pool/{name}_{version}.deb");
        let entry = format!(
            "Package: {name}\nVersion: {version}\nArchitecture: amd64\nDepends: {depends}\n\
             Filename: {path}\nSize: {}\nSHA256: {}\n\n",
            bytes.len(),
            Digest::of(&bytes)
        );
        self.server.put(&format!("{base}{path}"), Route::Whole(bytes));
        entry
    }

    /// Signs and serves the suite `test`.
    pub(crate) fn publish(&self) {
        self.put_suite("", "test", &self.index, |release| release);
    }

    /// Signs and serves below `security/` the suite `test-security` of one package, to be believed until
    /// a date.
    pub(crate) fn publish_security(
        &self,
        (name, version): (&str, &str),
        items: &[Item],
        valid_until: &str,
    ) {
        let entry = self.put_package("security/", name, version, "", items);
        let head = format!("Label: Debian-Security\nValid-Until: {valid_until}\n");
        self.put_suite("security/", "test-security", &entry, |release| {
            release
                .replace("Label: Debian\n", &head)
                .replace("Codename: test\n", "Codename: test-security\n")
        });
    }

    fn put_suite(&self, base: &str, suite: &str, index: &str, edit: impl Fn(String) -> String) {
        let index = xz(index.as_bytes());
        let digest = Digest::of(&index);
        let release =
            release(&format!(" {digest} {} main/binary-amd64/Packages.xz\n", index.len()));
        let signed = Route::Whole(self.key.sign(&edit(release)));
        self.server.put(&format!("{base}dists/{suite}/InRelease"), signed);
        let by_hash = format!("{base}dists/{suite}/main/binary-amd64/by-hash/SHA256/{digest}");
        self.server.put(&by_hash, Route::Whole(index));
    }

    /// `xtask images ACTION IMAGE…` in this world.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command
            .arg("images")
            .args(arguments)
            .arg("--recipes")
            .arg(self.recipes())
            .args(["--mirror", &self.server.url(""), "--json", "--manifest-path"])
            .arg(workspace)
            .env("KEYWAY_CACHE", self.path().join("cache"))
            .env_remove("KEYWAY_DEBIAN_MIRROR")
            .env_remove("KEYWAY_PYPI_INDEX");
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs what must succeed and gives its standard output, without the time that it took.
    #[track_caller]
    pub(crate) fn succeed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{stderr}");
        without_time(&output)
    }

    /// Runs what must fail with `status` and gives its standard error, with this world's places
    /// written as `[WORLD]` and `[SERVER]`.
    #[track_caller]
    pub(crate) fn fail(&self, arguments: &[&str], status: i32) -> String {
        let output = self.run(arguments);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{stderr}");
        let place = self.path().to_string_lossy();
        stderr.replace(place.as_ref(), "[WORLD]").replace(&self.server.url(""), "[SERVER]/")
    }
}

/// What a command wrote, as it is however long it took.
pub(crate) fn without_time(output: &Output) -> String {
    let stdout = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = stdout.lines().map(|line| match line.split_once(",\"seconds\":") {
        Some((before, _)) => format!("{before}}}\n"),
        None => format!("{line}\n"),
    });
    lines.collect()
}

/// The text of a release file.
pub(crate) fn release(files: &str) -> String {
    format!(
        "Origin: Debian\nLabel: Debian\nSuite: stable\nCodename: test\n\
         Date: Sat, 21 Nov 2026 09:15:44 UTC\nSHA256:\n{files}"
    )
}
