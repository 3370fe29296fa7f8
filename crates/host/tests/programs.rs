//! Programs with plugins, each a package of its own outside of this workspace, as its authors would
//! write it: what features do to a whole run of cargo is theirs alone, and they depend on nothing
//! but what they name.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[expect(dead_code, reason = "what builds the canary is for other tests")]
#[path = "refusals/canary.rs"]
mod canary;

/// The workspace.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("the workspace")
}

/// Runs `cargo ARGUMENTS` in `folder` and gives what it wrote.
fn cargo(folder: &Path, target: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .output()
        .expect("cargo starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo {}:\n{said}", arguments.join(" "));
    String::from_utf8(output.stdout).expect("text")
}

/// Where these programs are compiled, apart from all that is compiled without features.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs")
}

/// Writes a package: its Cargo.toml, where `{root}` is the workspace, and one source.
fn package(folder: &Path, manifest: &str, file: &str, source: &str) {
    let root = root().to_str().expect("UTF-8").replace('\\', "/");
    fs::create_dir_all(folder.join("src")).expect("a folder");
    fs::write(folder.join("Cargo.toml"), manifest.replace("{root}", &root)).expect("it is written");
    fs::write(folder.join("src").join(file), source).expect("it is written");
}

/// A folder for packages that make a workspace, with the versions that this one has.
fn workspace(name: &str) -> PathBuf {
    let folder = target().join(name);
    fs::create_dir_all(&folder).expect("a folder");
    fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).expect("a copy");
    folder
}

/// A plugin of this workspace, built where its tests are, in a folder with a manifest.
fn loadable(arguments: &[&str], library: &str) -> String {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.arg("build").args(arguments).current_dir(root()).env("CARGO_TARGET_DIR", target);
    let library = canary::built::library(&mut cargo, library);
    let bytes = fs::read(&library).expect("the library");
    let file = library.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
    let folder = self::target().join("loadable");
    fs::create_dir_all(&folder).expect("a folder");
    let manifest = canary::manifest(&bytes, &file);
    fs::write(folder.join(&file), bytes).expect("it is written");
    fs::write(folder.join(manifest.file_name()), manifest.to_json()).expect("it is written");
    folder.join(file).into_os_string().into_string().expect("UTF-8")
}

/// The smallest plugin, by the name of its package.
const SMALL: &str = r#"//! The smallest plugin.
use keyway_sdk::{Host, Plugin, PluginError, export_plugin};

struct Small;

impl Plugin for Small {
    fn create(_: &[u8], _: Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

export_plugin!(Small);
"#;

/// One with an interface that has the id and the version of another one.
const ODD: &str = r#"//! Offers what has changed meanwhile.
use keyway_sdk::{Host, Plugin, PluginError, export_plugin};

#[keyway_sdk::interface(id = "order-match-interface/OrderBook")]
pub trait OrderBook {
    fn submit(&mut self, price: u8) -> u8;
}

struct Odd;

impl Plugin for Odd {
    fn create(_: &[u8], _: Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

impl OrderBook for Odd {
    fn submit(&mut self, price: u8) -> u8 {
        price
    }
}

export_plugin!(Odd: dyn OrderBook);
"#;

/// One that says when it is prepared and ended.
const LIVELY: &str = r#"//! Says when it is prepared and ended.
use keyway_sdk::{Context, Host, LogLevel, Plugin, PluginError, export_plugin};
use std::sync::Mutex;

static HOST: Mutex<Option<Host>> = Mutex::new(None);

struct Lively;

impl Plugin for Lively {
    fn init(host: Host, _: Context<'_>) -> Result<(), PluginError> {
        host.log(LogLevel::INFO, "init");
        *HOST.lock().unwrap() = Some(host);
        Ok(())
    }

    fn deinit(_: Context<'_>) -> Result<(), PluginError> {
        HOST.lock().unwrap().take().unwrap().log(LogLevel::INFO, "deinit");
        Ok(())
    }

    fn create(_: &[u8], host: Host) -> Result<Self, PluginError> {
        host.log(LogLevel::INFO, "create");
        Ok(Self)
    }
}

export_plugin!(Lively, unsafe(unloadable));
"#;

fn small(folder: &Path, name: &str, version: &str, source: &str) {
    let manifest = format!(
        "[package]\nname = \"{name}\"\nversion = \"{version}\"\nedition = \"2024\"\n\n\
         [dependencies]\nkeyway-sdk = {{ path = \"{{root}}/crates/sdk\" }}\n"
    );
    package(folder, &manifest, "lib.rs", source);
}

/// The lines of a Cargo.toml that README.md shows, with paths in the place of versions.
const COMPILED_IN: &str = r#"[package]
name = "program"
version = "0.1.0"
edition = "2024"

[dependencies]
keyway-host = { path = "{root}/crates/host", features = ["compiled-in"] }
greet = { path = "{root}/plugins/greet" }
order-match = { path = "{root}/plugins/order-match" }
order-match-interface = { path = "{root}/plugins/order-match/interface" }
lively = { path = "lively" }
odd = { path = "odd" }
twin = { path = "twin" }
# Not below this folder, whose packages are a workspace and have different names.
other-twin = { package = "twin", path = "../other-twin" }

[profile.dev]
debug = false

[workspace]
"#;

#[test]
fn plugins_are_compiled_in() {
    let folder = workspace("compiled-in");
    package(&folder, COMPILED_IN, "main.rs", include_str!("programs/compiled_in.rs"));
    small(&folder.join("lively"), "lively", "0.1.0", LIVELY);
    small(&folder.join("odd"), "odd", "0.1.0", ODD);
    small(&folder.join("twin"), "twin", "0.1.0", SMALL);
    small(&target().join("other-twin"), "twin", "0.2.0", SMALL);
    let greet = loadable(&["--package", "greet"], "greet");
    let book = loadable(&["--package", "order-match"], "order_match");
    let said = cargo(&folder, &target(), &["run", "--quiet", "--", &greet, &book]);
    assert_eq!(said, "compiled in: done\nloaded: done\nrefused: done\nended: done\n");
}

const ONE_DEPENDENCY: &str = r#"[package]
name = "program"
version = "0.1.0"
edition = "2024"

[dependencies]
keyway-host = { path = "{root}/crates/host" }

[profile.dev]
debug = false

[workspace]
"#;

#[test]
fn one_dependency_is_enough_for_a_host() {
    let folder = workspace("one-dependency");
    package(&folder, ONE_DEPENDENCY, "main.rs", include_str!("programs/one_dependency.rs"));
    let arguments = ["--package", "keyway-host", "--example", "probe"];
    let probe = loadable(&arguments, "probe");
    assert_eq!(cargo(&folder, &target(), &["run", "--quiet", "--", &probe]), "done\n");
}
