//! Hands the target triple to the crate: no `cfg` spells it in full.

fn main() {
    let target = std::env::var("TARGET").expect("cargo sets TARGET for build scripts");
    println!("cargo::rustc-env=KEYWAY_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}
