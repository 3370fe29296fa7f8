//! Fuzzing on stable Rust: real inputs, changed at random, fed to every reader of foreign bytes.
//!
//! Each reader must return, whatever the bytes are: no panic, no allocation by a length that it has
//! only read, no work that grows faster than the input. Allocations are counted by this program's
//! own allocator, so a reader that trusts a length fails here even if the machine has the memory.
//!
//! A run takes seconds and is the same each time. `KEYWAY_FUZZ_SECONDS=600` goes on from another
//! seed for that long for each reader. What fails is written to a file that the message names, and
//! `KEYWAY_FUZZ_INPUT=FILE` runs that one file through all readers.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use keyway_abi::descriptor;
use keyway_abi::stamp::Stamp;
use keyway_inspect::{Header, inspect};
use keyway_manifest::Manifest;

#[path = "refusals/canary.rs"]
mod canary;

/// The system's allocator, with a count of what this thread holds and held at most.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(size: isize) {
    HELD.set(HELD.get() + size);
    MOST.set(MOST.get().max(HELD.get()));
}

// SAFETY: every call goes to the system's allocator; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller vouches.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller vouches.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What one input may hold at most: small next to any length that four bytes can claim.
fn allowed(size: usize) -> isize {
    (size * 48 + (1 << 20)) as isize
}

/// Far more than any input of these sizes needs, even unoptimized on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// SplitMix64: <https://prng.di.unimi.it/splitmix64.c>.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Numbers at which readers go wrong.
const EDGES: [u64; 12] = [
    0,
    1,
    7,
    0x7f,
    0xff,
    0x7fff,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
];

/// Changes `bytes` in one to eight places. Most changes are near the beginning, where headers are.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(8) {
        let near = if random.below(3) == 0 { bytes.len() } else { bytes.len().min(1024) };
        let at = random.below(near);
        let rest = bytes.len() - at.min(bytes.len());
        match random.below(8) {
            0 if rest > 0 => bytes[at] ^= 1 << random.below(8),
            1 if rest > 0 => bytes[at] = random.next() as u8,
            2 | 3 => {
                let size = [1, 2, 4, 8][random.below(4)].min(rest);
                let edge = EDGES[random.below(EDGES.len())].wrapping_sub(random.below(2) as u64);
                bytes[at..at + size].copy_from_slice(&edge.to_le_bytes()[..size]);
            }
            4 => {
                let size = [2, 4, 8][random.below(3)].min(rest);
                let small = (random.next() % (bytes.len() as u64 * 2 + 1)).to_le_bytes();
                bytes[at..at + size].copy_from_slice(&small[..size]);
            }
            5 => {
                let size = random.below(64).min(rest);
                let to = random.below(bytes.len() - size + 1);
                bytes.copy_within(at..at + size, to);
            }
            6 => {
                let size = random.below(256).min(other.len());
                let from = random.below(other.len() - size + 1);
                bytes.splice(at..at, other[from..from + size].iter().copied());
            }
            _ => bytes.truncate(random.below(bytes.len() + 1)),
        }
    }
}

/// Runs `reader` on one input.
fn run(name: &str, reader: fn(&[u8]), bytes: &[u8]) {
    HELD.set(0);
    MOST.set(0);
    let start = Instant::now();
    let outcome = catch_unwind(|| reader(bytes));
    let (time, most) = (start.elapsed(), MOST.get());
    if outcome.is_ok() && time < PATIENCE && most <= allowed(bytes.len()) {
        return;
    }
    let path = std::env::temp_dir().join(format!("keyway-{name}-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("the input is kept");
    let allowed = allowed(bytes.len());
    panic!(
        "`{name}` failed on `{}` ({} bytes): panicked {}, took {time:?}, held {most} of {allowed}",
        path.display(),
        bytes.len(),
        outcome.is_err()
    );
}

fn fuzz(name: &str, reader: fn(&[u8]), seeds: &[Vec<u8>]) {
    if let Some(path) = std::env::var_os("KEYWAY_FUZZ_INPUT") {
        return run(name, reader, &std::fs::read(path).expect("the input"));
    }
    seeds.iter().for_each(|seed| run(name, reader, seed));
    let seconds = std::env::var("KEYWAY_FUZZ_SECONDS").ok();
    let seconds: Option<u64> = seconds.map(|text| text.parse().expect("a number of seconds"));
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as u64;
    let mut random = Random(if seconds.is_some() { now } else { 1 });
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(0));
    let mut n_inputs: u64 = 0;
    while n_inputs < 20_000 && seconds.is_none() || Instant::now() < end {
        let mut bytes = seeds[random.below(seeds.len())].clone();
        let other = &seeds[random.below(seeds.len())];
        mutate(&mut bytes, other, &mut random);
        run(name, reader, &bytes);
        n_inputs += 1;
    }
    println!("{name}: {n_inputs} inputs");
}

fn object(bytes: &[u8]) {
    let header = Header::read(&bytes[..bytes.len().min(Header::PREFIX)]);
    let inspection = inspect(bytes);
    // The prefix tells what the whole tells.
    if let Ok(inspection) = &inspection {
        assert_eq!(header.as_ref(), Ok(&inspection.facts.header));
        let stamp = inspection.facts.stamp.clone();
        stamp.into_iter().for_each(|range| stamp_section(&bytes[range]));
    }
}

fn manifest(bytes: &[u8]) {
    if let Ok(manifest) = Manifest::parse(bytes) {
        let json = manifest.to_json();
        assert_eq!(Manifest::parse(json.as_bytes()).expect("its own text"), manifest);
    }
}

fn stamp_section(bytes: &[u8]) {
    if let Ok(stamp) = Stamp::parse(bytes) {
        let (here, there) = (descriptor::CONTRACT, stamp.contract);
        let differences = descriptor::differences(here, there);
        assert_eq!(differences.is_empty(), here == there);
        let conflicts = descriptor::conflicts(here, there);
        assert!(conflicts.is_empty() || here != there);
        let all = differences.iter().take(4).chain(conflicts.iter().take(4));
        all.for_each(|difference| drop(difference.to_string()));
    }
}

fn libraries(prefix: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../inspect/tests/libraries");
    let mut paths: Vec<PathBuf> =
        folder.read_dir().expect("the libraries").map(|entry| entry.expect("it").path()).collect();
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(prefix) && !name.ends_with(".json")
    });
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a library")).collect()
}

#[test]
fn elf() {
    fuzz("elf", object, &libraries("elf-"));
}

#[test]
fn pe() {
    fuzz("pe", object, &libraries("pe-"));
}

#[test]
fn macho() {
    fuzz("macho", object, &libraries("macho-"));
}

fn canary_stamp() -> Vec<u8> {
    let bytes = std::fs::read(&*canary::LIBRARY).expect("the canary");
    let section = inspect(&bytes).expect("a library").facts.stamp.expect("a stamp");
    bytes[section].to_vec()
}

#[test]
fn stamps() {
    fuzz("stamp", stamp_section, &[canary_stamp()]);
}

#[test]
fn manifests() {
    let bytes = std::fs::read(&*canary::LIBRARY).expect("the canary");
    let json = canary::manifest(&bytes, "libcanary.so").to_json();
    fuzz("manifest", manifest, &[json.into_bytes()]);
}
