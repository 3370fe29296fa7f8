//! What the gate costs, split by check, on a real plugin; and a rejection by its header alone.
//!
//!     cargo bench -p keyway-host --bench gate

use std::fs;
use std::hint::black_box;
use std::path::Path;

use criterion::{Criterion, Throughput};
use keyway_abi::descriptor;
use keyway_abi::stamp::Stamp;
use keyway_host::services::Services;
use keyway_host::{Expectation, Gate, Host, ImportPolicy, Plugin, ToolchainPolicy};
use keyway_inspect::{Header, inspect};
use keyway_manifest::{Digest, Manifest};
use tempfile::TempDir;

#[path = "../tests/refusals/canary.rs"]
mod canary;

/// Release builds of plugins have about this size.
const SIZE: usize = 400_000;

fn bench(c: &mut Criterion) {
    let folder = TempDir::new().expect("a folder");
    let file = canary::LIBRARY.file_name().and_then(|name| name.to_str()).expect("a name");
    let mut bytes = fs::read(&*canary::LIBRARY).expect("the canary");
    // What follows the section headers is not looked at, but read and hashed.
    bytes.resize(bytes.len().max(SIZE), 0);
    let manifest = canary::manifest(&bytes, file);
    let json = manifest.to_json();
    let library = folder.path().join(file);
    fs::write(&library, &bytes).expect("the library is written");
    fs::write(folder.path().join(manifest.file_name()), &json).expect("it is written");
    let expectation = Expectation {
        toolchains: ToolchainPolicy::Trusted([canary::toolchain().hash()].into()),
        imports: ImportPolicy::Any,
        ..Expectation::this_process()
    };
    let elsewhere = Expectation {
        target: "aarch64-unknown-linux-gnu".parse().expect("a triple"),
        ..expectation.clone()
    };
    let facts = inspect(&bytes).expect("a library").facts;
    let section = &bytes[facts.stamp.expect("a stamp")];

    let mut group = c.benchmark_group("gate");
    group.bench_function("whole", |b| {
        check(b, &Gate::new(expectation.clone()), &library);
    });
    group.bench_function("rejected by its header", |b| {
        check(b, &Gate::new(elsewhere.clone()), &library);
    });
    group.bench_function("header", |b| {
        b.iter(|| Header::read(black_box(&bytes[..Header::PREFIX])));
    });
    group.bench_function("manifest", |b| {
        b.iter(|| Manifest::parse(black_box(json.as_bytes())));
    });
    group.bench_function("stamp and abi", |b| b.iter(|| stamp(black_box(section))));
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("read", |b| b.iter(|| fs::read(black_box(&library))));
    group.bench_function("sha256", |b| b.iter(|| Digest::of(black_box(&bytes))));
    group.bench_function("inspect", |b| b.iter(|| inspect(black_box(&bytes))));
    group.finish();

    let host = Host::new(expectation, Services::new(|_, _| ())).expect("a host");
    c.bench_function("check, stage, load, unload", |b| {
        b.iter(|| host.load(&library, b"").map(Plugin::unload));
    });
}

fn check(b: &mut criterion::Bencher<'_>, gate: &Gate, library: &Path) {
    b.iter(|| gate.check(black_box(library)).is_ok());
}

fn stamp(section: &[u8]) -> bool {
    Stamp::parse(section).is_ok_and(|stamp| {
        Digest::of(stamp.contract);
        stamp.contract == descriptor::CONTRACT
    })
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    bench(&mut criterion);
    criterion.final_summary();
}
