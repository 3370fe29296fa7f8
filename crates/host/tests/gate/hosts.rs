//! Which hosts take plugins of which targets.

use std::fs;
use std::path::Path;

use keyway_host::{Code, Expectation, Gate, ToolchainPolicy};
use keyway_manifest::{Digest, Libc, LibcFamily};

use super::{Plugin, canary, codes};

/// Why a library of another target is refused, as far as targets go.
fn codes_of(file: &str, built_for: &str, expectation: Expectation) -> Vec<Code> {
    let path = format!("../inspect/tests/libraries/{file}");
    let bytes = fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a library");
    let mut manifest = canary::manifest(&fs::read(&*canary::LIBRARY).expect("it"), "libcanary.so");
    manifest.target = built_for.parse().expect("a triple");
    manifest.artifact.format = keyway_inspect::inspect(&bytes).expect("it").facts.header.format;
    (manifest.stamp, manifest.abi, manifest.toolchain) =
        (keyway_manifest::StampFormat::None, None, None);
    if file.ends_with(".dll") {
        manifest.artifact.file = "canary.dll".parse().expect("a name");
    }
    manifest.artifact.size = bytes.len() as u64;
    manifest.artifact.sha256 = keyway_manifest::Digest::of(&bytes);
    let plugin = Plugin::of(&bytes, manifest);
    let codes = codes(&plugin.library, expectation);
    let is_first = |code: &Code| {
        matches!(
            code,
            Code::WrongFormat
                | Code::WrongMachine
                | Code::WrongSystem
                | Code::WrongTarget
                | Code::LibcFamily
        )
    };
    codes.into_iter().filter(is_first).collect::<Vec<_>>()
}

/// Which pairs of host and plugin are refused, though a loader might take the one or other: only the
/// same triple will do.
#[test]
fn odd_hosts() {
    let refused = |file: &str, built_for: &str, host: &str| {
        let musl = Libc { family: LibcFamily::Musl, floor: None };
        let expectation = Expectation {
            libc: host.ends_with("-musl").then_some(musl),
            ..Expectation::for_target(host.parse().expect("a triple"))
        };
        codes_of(file, built_for, expectation)
    };
    let (gnu, musl) = ("x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl");
    assert_eq!(refused("elf-x86_64.so", gnu, musl), [Code::WrongTarget, Code::LibcFamily]);
    assert_eq!(refused("elf-musl.so", musl, gnu), [Code::WrongTarget]);
    let both = [Code::WrongMachine, Code::WrongTarget];
    let (arm, arm32) = ("aarch64-unknown-linux-gnu", "armv7-unknown-linux-gnueabihf");
    assert_eq!(refused("elf-aarch64.so", arm, arm32), both);
    assert_eq!(refused("elf-armv7.so", arm32, arm), both);
    assert_eq!(refused("elf-armv7.so", arm32, arm32), []);
    assert_eq!(refused("elf-x86_64.so", gnu, "i686-unknown-linux-gnu"), both);
    assert_eq!(refused("elf-i686.so", "i686-unknown-linux-gnu", gnu), both);
    assert_eq!(refused("elf-s390x.so", "s390x-unknown-linux-gnu", gnu), both);
    let (mingw, msvc) = ("x86_64-pc-windows-gnu", "x86_64-pc-windows-msvc");
    assert_eq!(refused("pe-x86_64.dll", mingw, msvc), [Code::WrongTarget]);
    assert_eq!(refused("pe-x86_64.dll", mingw, "x86_64-pc-windows-gnullvm"), [Code::WrongTarget]);
    assert_eq!(refused("pe-x86_64.dll", mingw, mingw), []);
}

/// What a host says that takes every Windows plugin of its processor.
#[test]
fn hosts_of_the_same_abi() {
    let (gnu, llvm, msvc) =
        ("x86_64-pc-windows-gnu", "x86_64-pc-windows-gnullvm", "x86_64-pc-windows-msvc");
    let usual = |host: &str| Expectation::for_target(host.parse().expect("a triple"));
    for host in [gnu, llvm, msvc] {
        for built_for in [gnu, llvm, msvc] {
            let accepting = usual(host).accept_same_abi();
            assert_eq!(
                codes_of("pe-x86_64.dll", built_for, accepting),
                [],
                "{built_for} on {host}"
            );
            let expected = if host == built_for { vec![] } else { vec![Code::WrongTarget] };
            assert_eq!(codes_of("pe-x86_64.dll", built_for, usual(host)), expected);
        }
    }
    let both = [Code::WrongMachine, Code::WrongTarget];
    let i686 = "i686-pc-windows-gnu";
    assert_eq!(codes_of("pe-i686.dll", i686, usual(msvc).accept_same_abi()), both);
    // No other pairs, however alike they are.
    for (file, built_for, host) in [
        ("elf-x86_64.so", "x86_64-unknown-linux-gnu", "x86_64-unknown-linux-musl"),
        ("elf-musl.so", "x86_64-unknown-linux-musl", "x86_64-unknown-linux-gnu"),
        ("elf-x86_64.so", "x86_64-unknown-linux-gnu", "x86_64-unknown-freebsd"),
        ("pe-x86_64.dll", gnu, "x86_64-uwp-windows-gnu"),
        ("pe-x86_64.dll", "x86_64-uwp-windows-msvc", msvc),
    ] {
        let expectation = usual(host);
        assert_eq!(
            expectation.clone().accept_same_abi().also_accepted.len(),
            2 * usize::from(host == msvc)
        );
        let codes = codes_of(file, built_for, expectation.accept_same_abi());
        assert_eq!(codes[0], Code::WrongTarget, "{built_for} on {host}");
    }
}

#[test]
fn trusts_what_was_released_for_the_targets_that_it_accepts() {
    let of = |target: &str| ToolchainPolicy::released(&target.parse().expect("a triple"));
    let len = |policy: &ToolchainPolicy| match policy {
        ToolchainPolicy::Trusted(trusted) => trusted.len(),
        ToolchainPolicy::SameAsHost | ToolchainPolicy::AnyWithMatchingAbi => 0,
    };
    let msvc = Expectation::for_target("x86_64-pc-windows-msvc".parse().expect("a triple"));
    let others = len(&of("x86_64-pc-windows-gnu")) + len(&of("x86_64-pc-windows-gnullvm"));
    assert!(len(&msvc.toolchains) == 0 && others >= 2, "{others}");
    assert_eq!(len(&msvc.clone().accept_same_abi().toolchains), others);
    // A list of the host's own stays as it is.
    let own = ToolchainPolicy::Trusted([Digest::of("own")].into());
    let own = Expectation { toolchains: own, ..msvc };
    assert_eq!(own.clone().accept_same_abi().toolchains, own.toolchains);
}

#[test]
fn the_remedy_of_another_target_fits_the_host() {
    let bytes = fs::read(&*canary::LIBRARY).expect("the library");
    let remedy = |built_for: &str, host: &str| {
        let mut manifest = canary::manifest(&bytes, "libcanary.so");
        manifest.target = built_for.parse().expect("a triple");
        (manifest.stamp, manifest.abi, manifest.toolchain) =
            (keyway_manifest::StampFormat::None, None, None);
        let plugin = Plugin::of(&bytes, manifest);
        let gate = Gate::new(Expectation::for_target(host.parse().expect("a triple")));
        let refusals = gate.examine(&plugin.library).refusals().to_vec();
        let refusal = refusals.iter().find(|refusal| refusal.code == Code::WrongTarget);
        refusal.expect("another target").remedy.clone()
    };
    let same = remedy("x86_64-pc-windows-gnu", "x86_64-pc-windows-msvc");
    assert!(same.contains("`Expectation::accept_same_abi()`"), "{same}");
    let other = remedy("x86_64-unknown-linux-musl", "x86_64-unknown-linux-gnu");
    assert_eq!(other, Code::WrongTarget.remedy());
}
