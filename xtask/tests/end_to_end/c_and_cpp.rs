//! Plugins of C and C++: SQLite on every target that is listed here, and C++ with its runtime in the
//! library. What a plugin's state goes through is its C code, so a host that saves and restores it has
//! called that.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use keyway_manifest::Manifest;
use keyway_xtask::runner;

use crate::workspace::{Copy, events};
use crate::{BUILT, flags, is_tested, tested, unloading};

/// A class of words in C++: exceptions, streams with their locale, and containers.
const WORDS: &str = r#"#include <algorithm>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

// What ends with the library, and with each thread that used it.
static std::string last_answer;
thread_local std::string last_of_thread;

static std::string sorted(const std::string &text) {
    std::istringstream stream(text);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) {
        if (word == "stop") throw std::invalid_argument("stopped after " + std::to_string(words.size()));
        words.push_back(word);
    }
    std::sort(words.rbegin(), words.rend());
    std::ostringstream joined;
    for (const auto &word : words) joined << word << ' ';
    joined << words.size() + 0.5;
    return joined.str();
}

extern "C" size_t words(const char *bytes, size_t length, char *out, size_t capacity) {
    std::string answer;
    try {
        answer = sorted(std::string(bytes, length));
    } catch (const std::exception &error) {
        answer = error.what();
    }
    last_answer = last_of_thread = answer;
    return answer.copy(out, capacity);
}
"#;

/// A plugin whose function `answer` is below.
const PLUGIN: &str = r#"use keyway_sdk::{Context, Host, Method, Plugin, PluginError, SavedState, export_plugin};

struct Own(Vec<u8>);

impl Plugin for Own {
    const METHODS: &'static [Method<Self>] = &[("call", Self::call)];

    fn create(_config: &[u8], _host: Host) -> Result<Self, PluginError> {
        Ok(Self(answer(b"one two three")?))
    }

    fn save_state(&mut self, _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        answer(&self.0)
    }

    fn restore_state(
        &mut self,
        state: &SavedState<'_>,
        _: Context<'_>,
    ) -> Result<(), PluginError> {
        let expected = answer(&self.0)?;
        if state.bytes == expected { Ok(()) } else { Err(PluginError::new(1, "another answer")) }
    }
}

impl Own {
    fn call(&mut self, input: &[u8], _: Context<'_>) -> Result<Vec<u8>, PluginError> {
        answer(input)
    }
}

export_plugin!(Own);
"#;

const IN_SQLITE: &str = r#"
fn answer(input: &[u8]) -> Result<Vec<u8>, PluginError> {
    let query = || {
        let database = rusqlite::Connection::open_in_memory()?;
        database.execute_batch("CREATE TABLE words (word TEXT, length REAL)")?;
        for word in String::from_utf8_lossy(input).split(' ') {
            let row = (word, word.len() as f64 + 0.5);
            database.execute("INSERT INTO words VALUES (?1, ?2)", row)?;
        }
        let query = "SELECT group_concat(word, ' ') || ', ' || sum(length) \
                     FROM (SELECT * FROM words ORDER BY word DESC)";
        database.query_row(query, (), |row| row.get::<_, String>(0))
    };
    let error = |error: rusqlite::Error| PluginError::new(1, error.to_string());
    query().map(String::into_bytes).map_err(error)
}
"#;

const IN_CPP: &str = r#"
unsafe extern "C" {
    fn words(bytes: *const u8, length: usize, out: *mut u8, capacity: usize) -> usize;
}

fn answer(input: &[u8]) -> Result<Vec<u8>, PluginError> {
    let mut answer = vec![0; 100];
    let length = unsafe { words(input.as_ptr(), input.len(), answer.as_mut_ptr(), answer.len()) };
    answer.truncate(length);
    Ok(answer)
}
"#;

/// Zig compiles libc++ once for each target, most of a minute: so not on all of them.
const CPP_TARGETS: [&str; 6] = [
    "aarch64-apple-darwin",
    "i686-pc-windows-gnu",
    "x86_64-apple-darwin",
    "x86_64-pc-windows-gnu",
    "x86_64-unknown-linux-gnu",
    "x86_64-unknown-linux-musl",
];

/// A workspace of the SDK, a plugin with SQLite in it, and two of C code that says how it was built and ends.
fn workspace() -> Copy {
    let copy = Copy::of_the_sdk("c-and-cpp");
    let manifest = fs::read_to_string(copy.path("Cargo.toml")).expect("read");
    let (head, _) = manifest.split_once("[profile.dev]").expect("profiles");
    // The time goes to what is compiled, not to how fast it is.
    copy.write(
        "Cargo.toml",
        &format!("{head}[profile.release]\nopt-level = 0\nstrip = \"symbols\"\n"),
    );
    copy.plugin("with-sqlite", "rusqlite = { version = \"0.37\", features = [\"bundled\"] }\n");
    copy.write("plugins/with-sqlite/src/lib.rs", &[PLUGIN, IN_SQLITE].concat());
    unloading::add(&copy);
    flags::add(&copy);
    copy.resolve();
    copy
}

/// Adds a plugin with C++ in it.
fn add_cpp(copy: &Copy) {
    copy.plugin("with-cpp", "[build-dependencies]\ncc = \"1\"\n");
    let build =
        "fn main() { cc::Build::new().cpp(true).file(\"src/words.cpp\").compile(\"words\"); }\n";
    copy.write("plugins/with-cpp/build.rs", build);
    copy.write("plugins/with-cpp/src/words.cpp", WORDS);
    copy.write("plugins/with-cpp/src/lib.rs", &[PLUGIN, IN_CPP].concat());
    copy.resolve();
}

fn build(copy: &Copy, of: &[&str]) -> Vec<serde_json::Value> {
    let of = of.iter().flat_map(|target| ["--target", target]);
    let arguments = ["build-plugins", "--engine", "sandbox"].into_iter().chain(of);
    let events = events(copy.xtask(&arguments.collect::<Vec<_>>()));
    events.into_iter().filter(|event| event["event"] == "artifact").collect()
}

#[test]
fn sqlite_and_cpp_are_built_in_and_run() {
    let copy = workspace();
    let tested = tested();
    let triples: Vec<_> = tested.iter().map(|target| target.triple.as_str()).collect();
    assert_eq!(build(&copy, &triples).len(), 3 * tested.len());
    add_cpp(&copy);
    let with_cpp: Vec<_> = CPP_TARGETS.into_iter().filter(|target| is_tested(target)).collect();
    assert_eq!(build(&copy, &with_cpp).len(), 4 * with_cpp.len());

    // The host programs of the other workspace load what this one has.
    let dist = copy.path("dist");
    let arguments =
        ["test-plugins", "--engine", "sandbox", "--dist", dist.to_str().expect("UTF-8")];
    let events = events(BUILT.xtask(&arguments));
    let passed: BTreeSet<(&str, &str)> = events
        .iter()
        .filter(|event| event["event"] == "run" && event["passed"] == true)
        .filter_map(|event| Some((event["target"].as_str()?, event["plugin"].as_str()?)))
        .collect();
    let runnable = tested.iter().filter(|target| runner::obstacle(target).is_none());
    for triple in runnable.map(|target| target.triple.as_str()) {
        for plugin in ["with-sqlite", unloading::PLUGIN, flags::PLUGIN] {
            assert!(passed.contains(&(triple, plugin)), "{triple}, {plugin}: {events:#?}");
        }
        let has_cpp = with_cpp.contains(&triple);
        assert_eq!(passed.contains(&(triple, "with-cpp")), has_cpp, "{triple}: {events:#?}");
    }
    for (plugin, input, answer) in [
        ("with-sqlite", "one two three", "two three one, 12.5"),
        ("with-cpp", "one two three", "two three one 3.5"),
        ("with-cpp", "one stop", "stopped after 1"),
    ] {
        let file = format!("lib{}.so", plugin.replace('-', "_"));
        let library = dist.join("x86_64-unknown-linux-gnu").join(plugin).join(file);
        let library = library.to_str().expect("UTF-8");
        let output = copy.command(&["run-plugin", library, "call", input]).read();
        assert_eq!(output.expect("admitted and called"), answer, "{plugin}");
    }
    // The gate has compared the libraries with the target's list, on which C++ has no place, and the exports
    // with what a plugin has to show.
    for target in with_cpp {
        let mut files = fs::read_dir(dist.join(target).join("with-cpp")).expect("delivered");
        let is_manifest = |path: &PathBuf| path.extension() == Some("json".as_ref());
        let path = files.find_map(|file| file.ok().map(|file| file.path()).filter(is_manifest));
        let path = path.expect("a manifest");
        let manifest = Manifest::parse(&fs::read(path).expect("read")).expect("a manifest");
        let libraries = manifest.imports.iter().filter_map(|import| import.library.as_deref());
        let of_compiler =
            |name: &&str| ["c++", "gcc", "winpthread"].iter().any(|n| name.contains(n));
        assert_eq!(
            libraries.filter(of_compiler).collect::<Vec<_>>(),
            Vec::<&str>::new(),
            "{target}"
        );
    }
    unloading::check(&dist);
    refuses_static_thread_locals(&copy);
}

/// No host of musl could load it, whatever flags it is compiled with: the build names the object.
fn refuses_static_thread_locals(copy: &Copy) {
    copy.plugin("with-tls", "[build-dependencies]\ncc = \"1\"\n");
    let build = "fn main() { cc::Build::new().file(\"src/early.c\").compile(\"early\"); }\n";
    copy.write("plugins/with-tls/build.rs", build);
    let source = "static _Thread_local int n __attribute__((tls_model(\"initial-exec\")));\n\
                  int words(void) { return n++; }\n";
    copy.write("plugins/with-tls/src/early.c", source);
    let answer = "\nunsafe extern \"C\" {\n    fn words() -> i32;\n}\n\n\
                  fn answer(_: &[u8]) -> Result<Vec<u8>, PluginError> {\n    \
                  Ok(vec![unsafe { words() } as u8])\n}\n";
    copy.write("plugins/with-tls/src/lib.rs", &[PLUGIN, answer].concat());
    copy.resolve();
    let target = "x86_64-unknown-linux-musl";
    let arguments = ["build-plugins", "--engine", "sandbox", "--target", target];
    let run = copy.command(&arguments).unchecked().stderr_capture().stdout_null().run();
    let run = run.expect("the tool starts");
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(3), "{said}");
    assert!(said.contains("KW624"), "{said}");
    let by = said.lines().find(|line| line.contains("initial-exec` are in")).unwrap_or_default();
    assert!(
        by.contains("with-tls-") && by.contains("libearly.a(") && by.contains("early.o"),
        "{said}"
    );
}
