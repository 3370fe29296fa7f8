//! The contract in C, by the compilers of the images: the header as C99 and as C++17 for every tested
//! target, and where programs of a target can be run, a host in C that calls a plugin in C and one in
//! Rust.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyway_xtask::cache::Cache;
use keyway_xtask::container::{Access, Command, Image, Mount};
use keyway_xtask::engine::{Engine as _, Sandbox, Stream};
use keyway_xtask::image::Images;
use keyway_xtask::runner;
use keyway_xtask::shell::Shell;
use keyway_xtask::targets::{Paths, Target};

use crate::{BUILT, root, tested};

/// In each language, a file that is the header alone; it asserts every size and offset.
const HEADER: &str = "#include \"keyway.h\"\nint keyway_nothing(void) { return 0; }\n";

/// Compiles the header alone, then host and plugin. `$1` is the triple, `$2` the host, `$3` the plugin.
const COMPILE: &str = r#"set -eu
warn="-Wall -Wextra -Werror -I/include -I/work"
"$1-cc" -std=c99 -pedantic $warn -c /work/header.c -o /tmp/header.o
"$1-c++" -std=c++17 -pedantic $warn -c /work/header.cpp -o /tmp/header.o
[ -n "$2" ] || exit 0
case $1 in *windows*) more= ;; *) more="-fPIC -ldl" ;; esac
"$1-cc" -std=c99 $warn /source/host.c -o "/work/$2" $more
"$1-cc" -std=c99 $warn -shared -fvisibility=hidden /source/plugin.c -o "/work/$3" $more
"#;

/// The images, and the sandbox to run them in.
struct Bench<'a> {
    images: Images,
    engine: Sandbox<'a>,
    shell: &'a Shell,
}

impl<'a> Bench<'a> {
    fn new(shell: &'a Shell) -> Self {
        let cache = Cache::open().expect("a cache");
        // The sandbox starts the tool again, which this program is not.
        let engine = Sandbox::new(env!("CARGO_BIN_EXE_xtask").into(), cache.clone(), shell);
        Self { images: Images::open(root().join("docker"), cache), engine, shell }
    }

    fn image(&self, name: &str) -> Image {
        self.images.ensure(name, &&self.engine, self.shell).expect("the image")
    }

    /// Runs a command; its standard output, if it ends well.
    fn run(&self, image: &Image, argv: &[String], mounts: Vec<Mount>) -> String {
        let command = Command {
            argv: argv.iter().map(Into::into).collect(),
            env: BTreeMap::new(),
            workdir: "/tmp".into(),
            mounts,
            limit: Some(Duration::from_secs(300)),
            hidden: Vec::new(),
        };
        let (mut out, mut said) = (String::new(), String::new());
        let ended = self.engine.run(image, &command, &mut |stream, line| {
            let to = if stream == Stream::Stdout { &mut out } else { &mut said };
            to.push_str(line.trim_end_matches('\r'));
            to.push('\n');
        });
        ended.unwrap_or_else(|error| panic!("{argv:?}: {error}\n{out}{said}"));
        out
    }
}

fn mount(host: PathBuf, guest: &str, access: Access) -> Mount {
    Mount { host, guest: guest.into(), access }
}

/// Compiles for the target in `work`: the header, and host and plugin if they have names.
fn compile(bench: &Bench<'_>, target: &Target, work: &Path, host: &str, plugin: &str) {
    fs::write(work.join("header.c"), HEADER).expect("write");
    fs::write(work.join("header.cpp"), HEADER).expect("write");
    let texts = format!(
        "#define TARGET \"{}\"\n#define ADDER_ID \"test/Adder\"\n#define ADDER_DESCRIPTOR \"none\"\n\
         #define LOG_ID \"keyway.Log\"\n",
        target.triple
    );
    fs::write(work.join("texts.h"), texts).expect("write");
    let mounts = vec![
        mount(root().join("crates/abi/include"), "/include", Access::ReadOnly),
        mount(root().join("crates/host/tests/c"), "/source", Access::ReadOnly),
        mount(work.to_owned(), "/work", Access::ReadWrite),
    ];
    let triple = target.triple.as_str();
    let argv = ["sh", "-c", COMPILE, "compile", triple, host, plugin].map(str::to_owned);
    bench.run(&bench.image(&target.spec.image), &argv, mounts);
}

/// What a host in C says that calls a method of the library in `folder`.
fn call(bench: &Bench<'_>, target: &Target, mounts: &[Mount], words: [&str; 4]) -> String {
    let runner = target.spec.runner.as_ref().expect("programs for it can be run");
    let spell = |path: &str| match runner.paths {
        Paths::Unix => path.to_owned(),
        Paths::Windows => format!("Z:{}", path.replace('/', "\\")),
    };
    let [host, library, method, input] = words;
    let mut argv = runner.command.clone();
    argv.extend([spell(host), spell(library), method.to_owned(), input.to_owned()]);
    let image = bench.image(runner.image.as_deref().unwrap_or(&target.spec.image));
    bench.run(&image, &argv, mounts.to_vec())
}

#[test]
fn the_contract_is_spoken_in_c_on_every_target() {
    let shell = Shell::silent();
    let bench = Bench::new(&shell);
    let mut n_run = 0;
    for target in tested() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let work = folder.path().canonicalize().expect("it is there");
        // By itself zig links programs for musl statically, and such a one loads no library.
        let is_static = target.triple.as_str().ends_with("-musl");
        let is_static = is_static.then(|| "its programs are linked statically".to_owned());
        if let Some(reason) = runner::obstacle(target).or(is_static) {
            println!("skipped: no host in C is run for {}: {reason}", target.triple);
            compile(&bench, target, &work, "", "");
            continue;
        }
        let is_windows = target.triple.as_str().contains("windows");
        let (host, plugin, greet) = if is_windows {
            ("host.exe", "plugin.dll", "greet.dll")
        } else {
            ("host", "plugin.so", "libgreet.so")
        };
        compile(&bench, target, &work, host, plugin);
        let dist = BUILT.path("dist").join(target.triple.as_str()).join("greet");
        let mounts =
            [mount(work, "/work", Access::ReadOnly), mount(dist, "/plugin", Access::ReadOnly)];
        let (host, plugin, greet) =
            (format!("/work/{host}"), format!("/work/{plugin}"), format!("/plugin/{greet}"));
        let said = call(&bench, target, &mounts, [&host, &plugin, "reverse", "Keyway"]);
        assert_eq!(said, "yawyeK\n", "{}", target.triple);
        let said = call(&bench, target, &mounts, [&host, &greet, "greet", "World"]);
        assert_eq!(said, "Hello, World!\n", "{}", target.triple);
        n_run += 1;
    }
    assert!(n_run > 0, "no program of any target was run");
}
