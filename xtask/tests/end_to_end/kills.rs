//! `kill -9` at random points of a build: what is in `dist/` is whole at any time, and the next run
//! goes on from there.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use keyway_manifest::Digest;
use serde_json::Value;

use crate::fresh;
use crate::workspace::{Copy, events};

/// How many runs are killed.
const N_KILLS: u32 = 50;
/// How long the killed runs may take together.
const LIMIT: Duration = Duration::from_secs(120);
const BUILD: [&str; 5] =
    ["build-plugins", "--engine", "sandbox", "--target", "x86_64-unknown-linux-gnu"];

/// Marsaglia's xorshift: the same seed, the same points.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        limit.mul_f64(self.0 as f64 / u64::MAX as f64)
    }
}

/// Whether the index may be that of the artifacts before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IndexIs {
    /// It follows the artifacts, and a run was killed.
    MayBeBehind,
    Current,
}

/// Every file in `dist/` is one that the index names or the index, and each library is what its manifest
/// says. What a killed run worked in is no part of it.
fn assert_whole(copy: &Copy, index_is: IndexIs) -> usize {
    let dist = copy.path("dist");
    let index: Value = read(&dist.join("index.json"));
    let mut named = BTreeSet::from([PathBuf::from("index.json")]);
    for entry in index["artifacts"].as_array().expect("a list") {
        let file = |field: &str| entry[field].as_str().expect("a path");
        let library = Digest::of(fs::read(dist.join(file("library"))).expect("the library"));
        if index_is == IndexIs::Current {
            assert_eq!(entry["sha256"], library.to_string(), "index and library");
        }
        let manifest = read(&dist.join(file("manifest")));
        assert_eq!(manifest["artifact"]["sha256"], library.to_string(), "manifest and library");
        named.extend(["library", "manifest"].map(|field| PathBuf::from(file(field))));
    }
    let mut there: BTreeSet<PathBuf> = copy.digests().into_keys().collect();
    if index_is == IndexIs::MayBeBehind {
        there.retain(|path| !path.to_string_lossy().starts_with(".keyway-"));
    }
    assert_eq!(there, named);
    named.len()
}

fn read(path: &std::path::Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("it is there")).expect("JSON")
}

/// A change that every build has to take up.
fn change(copy: &Copy, round: u32) {
    let path = copy.path("plugins/greet/src/lib.rs");
    let source = fs::read_to_string(&path).expect("the plugin");
    let line = source.lines().find(|line| line.contains("Hello")).expect("its greeting");
    let fixed = format!("        Ok([b\"Hello {round}, \", name, b\"!\"].concat())");
    fs::write(&path, source.replace(line, &fixed)).expect("write");
}

#[test]
fn killed_at_any_point_the_next_run_succeeds() {
    let seed = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock");
    let seed = seed.as_nanos() as u64 | 1;
    println!("seed {seed}");
    let mut random = Random(seed);
    let copy = Copy::new("killed");
    copy.xtask(&BUILD);
    let n_files = assert_whole(&copy, IndexIs::Current);
    change(&copy, 0);
    let start = Instant::now();
    copy.xtask(&BUILD);
    let whole_run = start.elapsed();

    let start = Instant::now();
    let (mut n_killed, mut round) = (0, 0);
    // One that ends before its time does not count.
    while n_killed < N_KILLS && start.elapsed() < LIMIT {
        round += 1;
        change(&copy, round);
        let run = copy.command(&BUILD).stdout_null().stderr_null().unchecked();
        let run = run.start().expect("the tool starts");
        thread::sleep(random.below(whole_run));
        n_killed += u32::from(run.try_wait().expect("its status").is_none());
        run.kill().expect("kill -9");
        assert_eq!(
            assert_whole(&copy, IndexIs::MayBeBehind),
            n_files,
            "seed {seed}, round {round}"
        );
    }
    println!("{n_killed} of {round} runs were killed; a whole one takes {whole_run:?}");
    assert!(n_killed > 0, "every run ended before it was killed");
    copy.xtask(&BUILD);
    assert_eq!(assert_whole(&copy, IndexIs::Current), n_files);
    let again = events(copy.xtask(&BUILD));
    assert_eq!(fresh(&again), [true; 3], "{again:#?}");
}
