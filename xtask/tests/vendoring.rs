//! Crates as they are laid out for a build: the machine's own cargo, with no network, no home but an empty
//! one and the written configuration, builds plugins from them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use duct::cmd;
use keyway_manifest::Digest;
use keyway_xtask::cache::Cache;
use keyway_xtask::configuration::Configuration;
use keyway_xtask::shell::Shell;
use keyway_xtask::vendor::{self, Request, Vendored};
use keyway_xtask::workspace::{Purpose, Workspace};
use tempfile::TempDir;

/// A folder with a workspace in `ws`, and what it takes its crates from.
struct Ground {
    _dir: TempDir,
    path: PathBuf,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let path = dir.path().canonicalize().expect("it is there");
        Self { _dir: dir, path }
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.path.join(path);
        fs::create_dir_all(path.parent().expect("has one")).expect("create");
        fs::write(path, text).expect("write");
    }

    /// A package; `more` follows `[package]`.
    fn package(&self, path: &str, name: &str, more: &str, code: &str) {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2021\"\n{more}"
        );
        self.write(&format!("{path}/Cargo.toml"), &manifest);
        self.write(&format!("{path}/src/lib.rs"), code);
    }

    fn run(&self, folder: &str, program: &str, arguments: &[&str]) -> Output {
        let run = cmd(program, arguments).dir(self.path.join(folder)).stdin_null();
        let run = run.env("RUSTC_WRAPPER", "").env_remove("CARGO_TARGET_DIR");
        run.stdout_capture().stderr_capture().unchecked().run().expect("it starts")
    }

    fn must(&self, folder: &str, program: &str, arguments: &[&str]) -> String {
        let output = self.run(folder, program, arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program} {arguments:?}: {said}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Makes a repository of a folder, with one commit.
    fn repository(&self, folder: &str) {
        self.must(folder, "git", &["init", "--quiet", "--initial-branch", "main"]);
        self.commit(folder);
    }

    fn commit(&self, folder: &str) {
        self.must(folder, "git", &["add", "."]);
        let author = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
        self.must(folder, "git", &[&author[..], &["commit", "--quiet", "-m", "x"]].concat());
    }

    fn url(&self, folder: &str) -> String {
        format!("file://{}", self.path.join(folder).display())
    }

    /// A registry of these packages, known by a configuration file above the workspace.
    fn registry(&self, packages: &[&str]) {
        let dl = format!("{}/{{crate}}-{{version}}.crate", self.url("archives"));
        self.write("index/config.json", &format!("{{\"dl\":\"{dl}\"}}"));
        self.write("archives/README", "Archives of crates.\n");
        for name in packages {
            let arguments = ["package", "--no-verify", "--allow-dirty", "--offline", "--quiet"];
            self.must(name, "cargo", &[&arguments[..], &["--target-dir", "../packed"]].concat());
            let archive = self.path.join(format!("packed/package/{name}-0.1.0.crate"));
            let to = self.path.join(format!("archives/{name}-0.1.0.crate"));
            fs::copy(&archive, to).expect("copy");
            let digest = Digest::of(fs::read(archive).expect("read"));
            let entry = format!(
                "{{\"name\":\"{name}\",\"vers\":\"0.1.0\",\"deps\":[],\"cksum\":\"{digest}\",\
                 \"features\":{{}},\"yanked\":false}}\n"
            );
            self.write(&format!("index/{}/{}/{name}", &name[..2], &name[2..4]), &entry);
        }
        self.repository("index");
        let index = self.url("index");
        self.write(".cargo/config.toml", &format!("[registries.private]\nindex = \"{index}\"\n"));
    }

    fn workspace(&self) -> Workspace {
        Workspace::find(Some(&self.path.join("ws/Cargo.toml")), None).expect("a workspace")
    }

    /// The crates that are needed for a purpose, in a cache of their own.
    fn vendor(&self, purpose: Purpose) -> Vendored {
        let workspace = self.workspace();
        let plugins = workspace.plugins().expect("plugins");
        let lock = Digest::of(fs::read(workspace.lock_file().expect("a lock")).expect("read"));
        let root = workspace.root();
        let configuration = Configuration::read(root, |file| file.starts_with(root));
        let needs = plugins.needs.of(purpose);
        let request = Request { needs, lock, configuration: &configuration };
        let cache = Cache::at(self.path.join("cache")).expect("a cache");
        vendor::vendor(&workspace, &request, &cache, &Shell::silent()).expect("they are there")
    }

    /// Cargo in the workspace, with nothing but the crates; where they lie here stands for the place
    /// inside an image.
    fn isolated(&self, vendored: &Vendored, arguments: &[&str]) -> Output {
        let crates = vendored.crates.display().to_string();
        self.write("home/config.toml", &vendored.config.replace(vendor::GUEST, &crates));
        // Nothing above the workspace is seen there.
        let above = self.path.join(".cargo");
        let hidden = self.path.join("hidden");
        if above.exists() {
            fs::rename(&above, &hidden).expect("rename");
        }
        let run = cmd("cargo", arguments).dir(self.path.join("ws")).stdin_null();
        let run = run.env("CARGO_HOME", self.path.join("home")).env("RUSTC_WRAPPER", "");
        let run = run.env("CARGO_TARGET_DIR", self.path.join("target"));
        let output = run.stdout_capture().stderr_capture().unchecked().run().expect("it starts");
        if hidden.exists() {
            fs::rename(&hidden, &above).expect("rename");
        }
        output
    }

    fn builds(&self, vendored: &Vendored, arguments: &[&str]) {
        let arguments = [&["build", "--offline", "--locked"], arguments].concat();
        let output = self.isolated(vendored, &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

const CDYLIB: &str = "[lib]\ncrate-type = [\"cdylib\"]\n";

/// A repository in which packages inherit, and read files of each other and of a submodule.
fn repository(ground: &Ground) {
    ground.write("sub/deep/text.txt", "from a submodule");
    ground.repository("sub");
    ground.write(
        "repo/Cargo.toml",
        "[workspace]\nmembers = [\"crates/*\", \"libs/*\"]\n\
         [workspace.package]\nversion = \"0.3.0\"\nedition = \"2021\"\n\
         [workspace.dependencies]\nnear = { path = \"crates/near\" }\n\
         [package]\nname = \"top\"\nversion.workspace = true\nedition.workspace = true\n",
    );
    ground.write("repo/src/lib.rs", "pub const TOP: u32 = 1;\n");
    let member = |path: &str, name: &str, dependencies: &str, code: &str| {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion.workspace = true\nedition.workspace = true\n{dependencies}"
        );
        ground.write(&format!("repo/{path}/Cargo.toml"), &manifest);
        ground.write(&format!("repo/{path}/src/lib.rs"), code);
    };
    member(
        "crates/reads",
        "reads",
        "[dependencies]\nnear.workspace = true\nfar = { path = \"../../libs/far\" }\n",
        "pub const NUMBER: &str = include_str!(\"../../../number.txt\");\n\
         pub const SUB: &str = include_str!(\"../../../sub/deep/text.txt\");\n\
         pub const BESIDE: &str = include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/../schemas/s.txt\"));\n\
         pub fn sum() -> u32 { near::NEAR + far::FAR.len() as u32 }\n",
    );
    // By the text of its path alone, and by following it.
    ground.write(
        "repo/crates/reads/build.rs",
        "fn main() {\n    \
             let here = std::path::PathBuf::from(std::env::var(\"CARGO_MANIFEST_DIR\").unwrap());\n    \
             for path in [here.parent().unwrap().join(\"schemas/s.txt\"), here.join(\"../schemas/s.txt\"),\n        \
                 here.parent().unwrap().parent().unwrap().join(\"number.txt\"), here.join(\"../../number.txt\")] {\n        \
                 assert!(path.is_file(), \"{path:?}\");\n    }\n}\n",
    );
    member("crates/near", "near", "", "pub const NEAR: u32 = 2;\n");
    member("crates/unused", "unused", "", "compile_error!(\"nobody asked for it\");\n");
    member("libs/far", "far", "", "pub const FAR: &str = include_str!(\"../../../number.txt\");\n");
    ground.write("repo/number.txt", "42");
    ground.write("repo/crates/schemas/s.txt", "schema");
    ground.repository("repo");
    let sub = ground.url("sub");
    let add = ["-c", "protocol.file.allow=always", "submodule", "--quiet", "add"];
    ground.must("repo", "git", &[&add[..], &[&sub, "sub"]].concat());
    ground.commit("repo");
}

#[test]
fn a_repository_is_there_with_all_its_files() {
    let ground = Ground::new();
    repository(&ground);
    ground.write("ws/Cargo.toml", "[workspace]\nmembers = [\"p\"]\nresolver = \"2\"\n");
    let git = format!("{{ git = \"{}\" }}", ground.url("repo"));
    let more = format!("{CDYLIB}[dependencies]\nreads = {git}\ntop = {git}\n");
    let code = "pub fn answer() -> u32 { reads::sum() + top::TOP + reads::NUMBER.len() as u32 }\n";
    ground.package("ws/p", "p", &more, code);
    ground.must("ws", "cargo", &["generate-lockfile"]);
    let vendored = ground.vendor(Purpose::Plugins);
    ground.builds(&vendored, &["--package", "p"]);
    // Where it lies depends on no machine, beside the address.
    let git = vendored.crates.join("git");
    let names: Vec<_> = fs::read_dir(&git).expect("list").map(|e| e.expect("an entry")).collect();
    assert_eq!(names.len(), 1);
    let links = names[0].path().join("repo/crates.packages");
    assert!(links.join("reads/Cargo.toml").is_file() && !links.join("unused").exists());
}

#[test]
fn one_name_and_version_may_come_from_two_sources() {
    let ground = Ground::new();
    ground.package(
        "twin",
        "twin",
        "description = \"d\"\nlicense = \"MIT\"\n",
        "pub const N: u32 = 1;\n",
    );
    ground.registry(&["twin"]);
    ground.package("repo", "twin", "", "pub const N: u32 = 2;\n");
    ground.package("patch", "patched", "", "pub const N: u32 = 3;\n");
    ground.repository("repo");
    ground.repository("patch");
    ground.package("unused", "unused-patch", "", "");
    ground.repository("unused");
    ground.write(
        "ws/Cargo.toml",
        &format!(
            "[workspace]\nmembers = [\"p\"]\nresolver = \"2\"\n\
             [patch.crates-io]\npatched = {{ git = \"{}\", branch = \"main\" }}\n\
             unused-patch = {{ git = \"{}\" }}\n",
            ground.url("patch"),
            ground.url("unused")
        ),
    );
    let more = format!(
        "{CDYLIB}[dependencies]\ntwin = {{ version = \"0.1\", registry = \"private\" }}\n\
         other = {{ package = \"twin\", git = \"{}\" }}\npatched = \"0.1\"\n",
        ground.url("repo")
    );
    ground.package(
        "ws/p",
        "p",
        &more,
        "const _: () = assert!(twin::N + other::N + patched::N == 6);\n",
    );
    ground.must("ws", "cargo", &["generate-lockfile"]);
    let vendored = ground.vendor(Purpose::Plugins);
    ground.builds(&vendored, &["--package", "p"]);

    // What was fetched has to be what the lock file names.
    let cargo = ground.must("ws", "cargo", &["metadata", "--format-version", "1"]);
    let metadata: serde_json::Value = serde_json::from_str(&cargo).expect("JSON");
    let packages = metadata["packages"].as_array().expect("a list").iter();
    let manifests = packages.filter_map(|package| package["manifest_path"].as_str());
    let unpacked =
        manifests.map(Path::new).find(|path| path.to_string_lossy().contains("/registry/src/"));
    let unpacked = unpacked.and_then(Path::parent).expect("it is unpacked").to_owned();
    let registry = unpacked.parent().expect("has one").file_name().expect("has one");
    let home = unpacked.ancestors().nth(3).expect("cargo's home");
    let archive = home.join("cache").join(registry).join("twin-0.1.0.crate");
    fs::write(&archive, "another").expect("write");
    fs::remove_dir_all(ground.path.join("cache")).expect("remove");
    let workspace = ground.workspace();
    let needs = workspace.plugins().expect("plugins").needs;
    let request = Request {
        needs: needs.of(Purpose::Plugins),
        lock: Digest::of("lock"),
        configuration: &Configuration::default(),
    };
    let cache = Cache::at(ground.path.join("cache")).expect("a cache");
    let error =
        vendor::vendor(&workspace, &request, &cache, &Shell::silent()).expect_err("altered");
    assert!(error.to_string().contains("is not the crate that Cargo.lock names"), "{error}");
    // No archive: what cargo has unpacked is as good.
    fs::remove_file(&archive).expect("remove");
    let vendored = ground.vendor(Purpose::Plugins);
    ground.builds(&vendored, &["--package", "p"]);
}

#[test]
fn what_only_other_members_need_is_resolved_and_no_more() {
    let ground = Ground::new();
    let published = "description = \"d\"\nlicense = \"MIT\"\n";
    let big = format!("{published}build = \"build.rs\"\nlinks = \"big\"\n[features]\nfast = []\n");
    ground.package(
        "big-tool",
        "big-tool",
        &big,
        "pub const BIG: &str = include_str!(\"big.txt\");\n",
    );
    ground.write("big-tool/build.rs", "fn main() {}\n");
    ground.write("big-tool/src/big.txt", &"big ".repeat(1000));
    for (name, code) in [
        ("small", "pub const N: u32 = 1;\n"),
        ("checks", "pub fn check() {}\n"),
        ("never", "compile_error!(\"it is for no target\");\n"),
    ] {
        ground.package(name, name, published, code);
    }
    // A program: of what only locks its version, cargo's metadata says nothing.
    fs::rename(ground.path.join("never/src/lib.rs"), ground.path.join("never/src/main.rs"))
        .expect("rename");
    ground.registry(&["big-tool", "small", "checks", "never"]);
    ground.package("repo/tool", "git-tool", "", "pub fn tool() {}\n");
    ground.write("repo/Cargo.toml", "[workspace]\nmembers = [\"tool\"]\n");
    ground.write("repo/data.bin", &"data".repeat(1000));
    ground.repository("repo");
    ground.write("ws/Cargo.toml", "[workspace]\nmembers = [\"p\", \"xtask\"]\nresolver = \"2\"\n");
    let private =
        |name: &str| format!("{name} = {{ version = \"0.1\", registry = \"private\" }}\n");
    ground.package(
        "ws/p",
        "p",
        &format!(
            "{CDYLIB}[dependencies]\n{}[dev-dependencies]\n{}[target.'cfg(any())'.dependencies]\n{}",
            private("small"),
            private("checks"),
            private("never")
        ),
        "pub fn answer() -> u32 { small::N }\n#[cfg(test)]\nmod tests {\n    #[test]\n    fn t() { checks::check() }\n}\n",
    );
    // A cargo that a build script runs finds the crates as well.
    ground.write(
        "ws/p/build.rs",
        "fn main() {\n    \
             let cargo = std::env::var(\"CARGO\").unwrap();\n    \
             let run = std::process::Command::new(cargo).args([\"metadata\", \"--format-version\", \"1\", \"--all-features\"]).output().unwrap();\n    \
             assert!(run.status.success(), \"{}\", String::from_utf8_lossy(&run.stderr));\n    \
             assert!(String::from_utf8_lossy(&run.stdout).contains(\"small-0.1.0\"));\n}\n",
    );
    ground.package(
        "ws/xtask",
        "xtask",
        &format!(
            "[dependencies]\nbig-tool = {{ version = \"0.1\", registry = \"private\" }}\n\
             git-tool = {{ git = \"{}\" }}\n",
            ground.url("repo")
        ),
        "pub use {big_tool::BIG, git_tool::tool};\n",
    );
    ground.must("ws", "cargo", &["generate-lockfile"]);
    let vendored = ground.vendor(Purpose::Plugins);
    ground.builds(&vendored, &["--package", "p"]);
    let folder = fs::read_dir(vendored.crates.join("registries")).expect("list").next();
    let registry = folder.expect("one registry").expect("an entry").path();
    let code =
        |name: &str| fs::read_to_string(registry.join(name).join("src/lib.rs")).expect("a file");
    assert!(
        code("small-0.1.0").contains("N: u32")
            && code("big-tool-0.1.0").starts_with("compile_error!")
    );
    assert!(code("checks-0.1.0").starts_with("compile_error!"), "only tests need it");
    assert!(!registry.join("big-tool-0.1.0/src/big.txt").exists());
    let output =
        ground.isolated(&vendored, &["build", "--offline", "--locked", "--package", "xtask"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("no plugin needs this crate"), "{said}");
    // With the tests come what they need.
    let vendored = ground.vendor(Purpose::Tests);
    let test = ["test", "--offline", "--locked", "--package", "p", "--lib"];
    let output = ground.isolated(&vendored, &test);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
