//! Hands the target triple to the crate: no `cfg` spells it in full; and the sanitizers, whose `cfg`
//! is not stable.

fn main() {
    let target = std::env::var("TARGET").expect("cargo sets TARGET for build scripts");
    println!("cargo::rustc-env=KEYWAY_TARGET={target}");
    // Cargo says it where the compiler does, which is where sanitizers can be had.
    let sanitizer = std::env::var("CARGO_CFG_SANITIZE").unwrap_or_default();
    println!("cargo::rustc-env=KEYWAY_SANITIZER={sanitizer}");
    println!("cargo::rerun-if-changed=build.rs");
}
