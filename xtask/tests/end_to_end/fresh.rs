//! Contents decide what is compiled, in every engine, whatever times and git say of files; and what a
//! manifest says of its sources is so.

use std::fs::{self, File};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use duct::cmd;
use serde_json::Value;

use crate::any_workspace::{CDYLIB, Ground, answer};
use crate::workspace::{Copy, events};

const LINUX: &str = "x86_64-unknown-linux-gnu";

/// A proc macro that embeds the names and contents of a folder without telling cargo, and one that waits
/// for a file if another one is there.
const MACROS: &str = r#"use std::{fs, path::Path, thread::sleep, time::Duration};
#[proc_macro]
pub fn folder(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let assets = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("assets");
    let mut all: Vec<String> = fs::read_dir(assets).unwrap().map(|entry| {
        let path = entry.unwrap().path();
        format!("[{} {}]", path.file_name().unwrap().to_str().unwrap(), fs::read_to_string(&path).unwrap())
    }).collect();
    all.sort();
    format!("{:?}", all.concat()).parse().unwrap()
}
#[proc_macro]
pub fn wait(_: proc_macro::TokenStream) -> proc_macro::TokenStream {
    let signals = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap()).join("../../signals");
    while signals.join("wait").exists() && !signals.join("go").exists() {
        sleep(Duration::from_millis(20));
    }
    "".parse().unwrap()
}
"#;

const PLUGIN: &str = "#[cfg(not(everywhere))] compile_error!(\"build.rustflags\");\ninclude!(\"generated.rs\");\nmacros::wait!();\n\
     #[no_mangle] pub static TEXT: &str = \"<first text>\";\n\
     #[no_mangle] pub static FOLDER: &str = macros::folder!();\n\
     #[no_mangle] pub static SCRIPT: &str = env!(\"SCRIPT\");\n\
     #[no_mangle] pub static GENERATED_TEXT: &str = GENERATED;\n";

/// Reads what lies beyond its package, and says that it does; its environment, and doesn't.
const SCRIPT: &str = r#"fn main() {
    println!("cargo:rerun-if-changed=../../data");
    let data = std::fs::read_to_string("../../data/table").unwrap();
    let setting = std::env::var("SETTING").unwrap();
    let git = ["../..", "../../vendored"].map(|folder| std::path::Path::new(folder).join(".git").exists());
    println!("cargo:rustc-env=SCRIPT=<data {data}><setting {setting}><git {git:?}>");
}
"#;

/// A repository with two plugins, whose files look as if they had been there for a while.
struct Workspace(Ground);

impl Workspace {
    fn new() -> Self {
        let ground = Ground::new();
        let root = "[workspace]\nmembers = [\"plugins/*\", \"macros\"]\nresolver = \"2\"\n";
        ground.write("Cargo.toml", root);
        ground.write(".cargo/config.toml", CONFIGURATION);
        ground.write(".gitignore", "target\ndist\ngenerated.rs\n");
        ground.write("data/table", "one");
        ground.write("vendored/.git", "gitdir: ../.git/modules/vendored\n");
        ground.write("vendored/text", "");
        ground.write("signals/README", "");
        let more = format!(
            "build = \"build.rs\"\n{CDYLIB}[dependencies]\nmacros = {{ path = \"../../macros\" }}\n"
        );
        ground.package("plugins/embeds", "embeds", "2021", &more, PLUGIN);
        ground.write("plugins/embeds/build.rs", SCRIPT);
        ground.write("plugins/embeds/assets/a", "1");
        let generated = "const GENERATED: &str = \"<generated one>\";\n";
        ground.write("plugins/embeds/src/generated.rs", generated);
        ground.package("macros", "macros", "2021", "[lib]\nproc-macro = true\n", MACROS);
        ground.package("plugins/other", "other", "2021", CDYLIB, &answer("1"));
        ground.run("", "cargo", &["generate-lockfile"]);
        ground.run("", "git", &["init", "--quiet", "--initial-branch", "main"]);
        let workspace = Self(ground);
        workspace.commit("--all");
        workspace
    }

    fn commit(&self, what: &str) {
        self.0.run("", "git", &["add", what]);
        let name = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
        let commit = [&name[..], &["commit", "--quiet", "--message", "next"]].concat();
        self.0.run("", "git", &commit);
    }

    /// Writes a file as a backup or a cache of a CI service does: with a time long past.
    fn put_back(&self, path: &str, text: &str) {
        self.0.write(path, text);
        let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let file = File::options().write(true).open(self.0.path.join(path)).expect("open");
        file.set_modified(then).expect("a time");
    }

    fn command(&self, engine: &str) -> duct::Expression {
        let arguments = ["--json", "build-plugins", "--target", LINUX, "--engine", engine];
        let command = cmd(env!("CARGO_BIN_EXE_xtask"), arguments).dir(&self.0.path).stdin_null();
        command.stdout_capture().stderr_capture().unchecked()
    }

    fn build(&self, engine: &str, mounts: &str) -> Run {
        Run::of(&self.command(engine).env("KEYWAY_DOCKER_MOUNTS", mounts).run().expect("it starts"))
    }

    fn library(&self) -> String {
        let library = self.path("libembeds.so");
        String::from_utf8_lossy(&fs::read(library).expect("delivered")).into_owned()
    }

    fn source(&self) -> Value {
        let manifest = fs::read(self.path("libembeds.so.manifest.json")).expect("delivered");
        serde_json::from_slice::<Value>(&manifest).expect("JSON")["source"].clone()
    }

    fn path(&self, file: &str) -> PathBuf {
        self.0.path.join("dist").join(LINUX).join("embeds").join(file)
    }
}

/// What a run of the tool said.
struct Run {
    said: String,
    /// Of `embeds` and `other`, whether they were fresh.
    fresh: [bool; 2],
}

impl Run {
    fn of(output: &std::process::Output) -> Self {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}");
        let events = events(&output.stdout);
        let is_fresh = |plugin: &str| {
            let mut artifacts = events.iter().filter(|event| event["event"] == "artifact");
            let artifact = artifacts.find(|event| event["plugin"] == plugin).expect("delivered");
            artifact["fresh"] == true
        };
        Self { said, fresh: ["embeds", "other"].map(is_fresh) }
    }
}

const CONFIGURATION: &str = "[build]\nrustflags = [\"--cfg\", \"everywhere\"]\n\
     [target.'cfg(windows)']\nrustflags = [\"--cfg\", \"on_windows\"]\n[env]\nSETTING = \"one\"\n";

/// Each change as a file and its new text, and what the library then holds.
const CHANGES: [(&str, &str, &str); 5] = [
    ("plugins/embeds/src/lib.rs", "", "<other text>"),
    ("plugins/embeds/assets/b", "2", "[a 1][b 2]"),
    (
        "plugins/embeds/src/generated.rs",
        "const GENERATED: &str = \"<generated two>\";\n",
        "<generated two>",
    ),
    ("data/table", "two", "<data two>"),
    (".cargo/config.toml", "", "<setting two>"),
];

fn changed(file: &str, text: &str) -> String {
    match file {
        "plugins/embeds/src/lib.rs" => PLUGIN.replace("<first text>", "<other text>"),
        ".cargo/config.toml" => CONFIGURATION.replace("one", "two"),
        _ => text.to_owned(),
    }
}

fn contents_decide(engine: &str, mounts: &str) -> String {
    let workspace = Workspace::new();
    workspace.build(engine, mounts);
    let first = workspace.library();
    for expected in ["<first text>", "[a 1]", "<data one><setting one><git [false, false]>"] {
        assert!(first.contains(expected), "{engine} {mounts}: {expected}");
    }
    for (file, text, expected) in CHANGES {
        workspace.put_back(file, &changed(file, text));
        let run = workspace.build(engine, mounts);
        let is_shared = file.starts_with(".cargo");
        assert_eq!(run.fresh, [false, !is_shared], "{file}");
        assert!(workspace.library().contains(expected), "{engine} {mounts}: {file}: {}", run.said);
    }
    assert_eq!(workspace.build(engine, mounts).fresh, [true, true]);
    let library = workspace.library();
    if mounts == "copy" {
        Copy::delete_volumes_of(&workspace.0.path);
    }
    library
}

#[test]
fn contents_decide_what_is_compiled_in_every_engine() {
    let sandbox = contents_decide("sandbox", "");
    let daemon = cmd!("docker", "version").stdout_null().stderr_null().unchecked().run();
    if !daemon.is_ok_and(|output| output.status.success()) {
        println!("skipped: no Docker daemon answers here, so only the sandbox was tried");
        return;
    }
    assert!(contents_decide("docker", "copy") == sandbox, "copied: other bytes");
    let workspace = Workspace::new();
    for (file, text, _) in CHANGES {
        workspace.put_back(file, &changed(file, text));
    }
    workspace.build("docker", "bind");
    assert!(workspace.library() == sandbox, "mounted: other bytes, or `.git` was seen");
}

#[test]
fn a_source_that_is_saved_while_cargo_runs_is_built_again() {
    let workspace = Workspace::new();
    workspace.0.write("signals/wait", "");
    let saved = PLUGIN.replace("<first text>", "<saved text>");
    let run = workspace.command("sandbox").start().expect("it starts");
    let started = workspace.0.path.join("target/keyway/build");
    let is_compiling = || {
        let folders = fs::read_dir(&started).into_iter().flatten().flatten();
        let mut deps = folders.map(|folder| folder.path().join(LINUX).join("release/deps"));
        // Cargo writes this before it starts the compiler, which waits in the macro.
        deps.any(|deps| deps.is_dir())
    };
    let begun = Instant::now();
    while !is_compiling() && begun.elapsed() < Duration::from_secs(120) {
        thread::sleep(Duration::from_millis(20));
    }
    // The macros are compiled first.
    thread::sleep(Duration::from_secs(5));
    workspace.put_back("plugins/embeds/src/lib.rs", &saved);
    workspace.0.write("signals/go", "");
    let run = Run::of(run.wait().expect("it ends"));
    let message = "`plugins/embeds/src/lib.rs` changed while plugins were built";
    assert!(run.said.contains(message), "{}", run.said);
    assert!(workspace.library().contains("<saved text>"));
    assert!(workspace.source()["tree"].is_string(), "{:#}", workspace.source());
    assert_eq!(workspace.build("sandbox", "").fresh, [true, true]);

    // One that changes again and again is delivered, and nothing is known of what it was made from.
    let stop = std::sync::atomic::AtomicBool::new(false);
    let run = thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                number += 1;
                workspace.0.write("plugins/embeds/assets/log", &number.to_string());
                thread::sleep(Duration::from_millis(50));
            }
        });
        let run = workspace.build("sandbox", "");
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        run
    });
    assert!(run.said.contains("the next run builds it again"), "{}", run.said);
    let source = workspace.source();
    assert!(source["tree"].is_null() && source["dirty"].is_null(), "{source:#}");
    assert_eq!(workspace.build("sandbox", "").fresh, [false, true]);
    assert!(workspace.source()["tree"].is_string());
}

#[test]
fn a_commit_that_changes_nothing_of_a_plugin_runs_no_cargo() {
    let workspace = Workspace::new();
    workspace.build("sandbox", "");
    let first = workspace.source();
    assert_eq!(first["dirty"], true, "no commit has what git ignores: {first:#}");
    workspace.0.run("", "git", &["add", "--force", "plugins/embeds/src/generated.rs"]);
    workspace.commit("--all");
    // No engine is asked for: there is none of that name on any machine.
    let no_engine = || {
        Run::of(&workspace.command("podman").env("PATH", path_of_git()).run().expect("it starts"))
    };
    let run = no_engine();
    assert_eq!(run.fresh, [true, true]);
    let second = workspace.source();
    assert_eq!((&second["dirty"], &second["tree"]), (&false.into(), &first["tree"]));
    let head = workspace.0.run("", "git", &["rev-parse", "HEAD"]);
    assert_eq!(second["commit"], head.trim());
    workspace.0.write("plugins/other/src/lib.rs", &answer("2"));
    workspace.commit("--all");
    workspace.build("sandbox", "");
    assert_eq!(workspace.source(), second, "another plugin's commit");
    let run = no_engine();
    assert_eq!(run.fresh, [true, true]);
    assert_eq!(workspace.source(), second);
}

/// A path with git and no engine.
fn path_of_git() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("only-git");
    fs::create_dir_all(&folder).expect("create");
    let git = cmd!("sh", "-c", "command -v git").read().expect("git is there");
    let link = std::os::unix::fs::symlink(git, folder.join("git"));
    assert!(link.is_ok() || folder.join("git").exists(), "{link:?}");
    folder
}
