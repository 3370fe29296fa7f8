//! Whether calls across the boundary would mean the same on both sides: the layout of everything
//! that crosses it, and the toolchain that decides the rest.

use keyway_abi::descriptor::{self, Difference};
use keyway_abi::stamp::{Kind, Stamp, StampedInterface};
use keyway_manifest::{Digest, Manifest, ToolchainRecord};

use crate::code::Code;
use crate::policy::{Expectation, HOST_TOOLCHAIN, OtherInterfaces, ToolchainPolicy};
use crate::refusal::Refusal;

/// How many differences one refusal spells out.
const SHOWN: usize = 8;

/// Compares the plugin's layout descriptors with the host's: that of the contract, then those of the
/// interfaces that the host knows.
pub(super) fn check(stamp: &Stamp<'_>, expectation: &Expectation, refusals: &mut Vec<Refusal>) {
    if stamp.kind != Kind::Keyway {
        return;
    }
    let contract = expectation.contract.as_deref();
    if let Some(contract) = contract.filter(|contract| !fits(contract, stamp.contract)) {
        // What follows builds upon it, so it is not compared.
        return refusals.push(refuse(Code::AbiDiffers, "contract", contract, stamp.contract));
    }
    let offered = stamp.interfaces.as_slice();
    let mut differing = Vec::new();
    for interface in offered {
        let mut known =
            expectation.interfaces.iter().filter(|known| known.is(interface)).peekable();
        let Some(first) = known.peek().map(|known| known.descriptor.as_str()) else { continue };
        if known.any(|known| fits(&known.descriptor, interface.descriptor)) {
            return;
        }
        let (code, id) = (Code::InterfaceDiffers, interface.id);
        differing.push(refuse(code, id, first, interface.descriptor));
    }
    // None that the host can use.
    if !differing.is_empty() {
        refusals.append(&mut differing);
    } else if expectation.other_interfaces == OtherInterfaces::Refuse && !offered.is_empty() {
        let list = |interfaces: &mut dyn Iterator<Item = String>| {
            let all = interfaces.collect::<Vec<_>>().join(", ");
            if all.is_empty() { "none".to_owned() } else { all }
        };
        let found =
            list(&mut offered.iter().map(|it| format!("`{}` version {}", it.id, it.version)));
        let known = expectation.interfaces.iter();
        let known = list(&mut known.map(|it| format!("`{}` version {}", it.id, it.version)));
        refusals.push(Refusal::new(Code::UnknownInterface, found, known));
    }
}

/// Compares what the author of each interface wrote with what the host was built with, where the two
/// fit by layout.
pub(super) fn check_signatures(stamp: &Stamp<'_>, expectation: &Expectation) -> Vec<Refusal> {
    let offered = stamp.interfaces.as_slice().iter().filter(|it| !it.signature.is_empty());
    let refuse = |of: &StampedInterface<'_>| {
        let known = expectation.interfaces.iter().filter(|known| known.is(of));
        let mut known = known.filter(|known| fits(&known.descriptor, of.descriptor));
        let known = known.find(|known| !known.signature.is_empty())?;
        // Functions that only one side has come last.
        let lines = known.signature.lines().zip(of.signature.lines());
        let mut differing = lines.filter(|(host, plugin)| host != plugin);
        let (host, plugin) = differing.next()?;
        let more = differing.count();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        let found = format!("`{}`: `{plugin}`{more}", of.id);
        Some(Refusal::new(Code::SignatureDiffers, found, format!("`{host}`, as the host has it")))
    };
    offered.filter_map(refuse).collect()
}

/// Whether a plugin of one text can be used by a host of the other.
fn fits(host: &str, plugin: &str) -> bool {
    descriptor::conflicts(host, plugin).is_empty()
}

fn refuse(code: Code, what: &str, host: &str, plugin: &str) -> Refusal {
    let differences = descriptor::conflicts(host, plugin);
    let mut found: Vec<_> = differences.iter().take(SHOWN).map(Difference::to_string).collect();
    if differences.len() > SHOWN {
        found.push(format!("{} more", differences.len() - SHOWN));
    }
    let expected = format!("the host's `{what}` with ABI hash `{}`", Digest::of(host).short());
    Refusal::new(code, found.join("; "), expected)
}

/// Compares the toolchain that the stamp names with those that the host accepts.
pub(super) fn check_toolchain(
    stamp: &Stamp<'_>,
    manifest: Option<&Manifest>,
    policy: &ToolchainPolicy,
    refusals: &mut Vec<Refusal>,
) {
    let trusted = |hash: &Digest| match policy {
        ToolchainPolicy::Trusted(trusted) => trusted.contains(hash),
        ToolchainPolicy::SameAsHost => HOST_TOOLCHAIN == Some(*hash),
        ToolchainPolicy::AnyWithMatchingAbi => true,
    };
    let (code, expected) = match policy {
        ToolchainPolicy::AnyWithMatchingAbi => return,
        ToolchainPolicy::Trusted(trusted) => (
            Code::Untrusted,
            format!("one of the {} toolchains that the host trusts", trusted.len()),
        ),
        ToolchainPolicy::SameAsHost => match HOST_TOOLCHAIN {
            Some(hash) => (Code::OtherToolchain, format!("the host's own, `{hash}`")),
            None => {
                let expected = "the host's own, but the host was built outside of any image";
                (Code::OtherToolchain, expected.to_owned())
            }
        },
    };
    match stamp.toolchain.map(Digest::from_bytes) {
        None => refusals.push(Refusal::new(Code::Unpinned, "no toolchain hash", expected)),
        Some(hash) if !trusted(&hash) => {
            let record = manifest.and_then(|manifest| manifest.toolchain.as_ref());
            let record = record.filter(|toolchain| toolchain.hash == hash);
            let record = record.map(|toolchain| format!(" ({})", describe(&toolchain.record)));
            let found = format!("toolchain `{hash}`{}", record.unwrap_or_default());
            refusals.push(Refusal::new(code, found, expected));
        }
        Some(_) => {}
    }
}

fn describe(record: &ToolchainRecord) -> String {
    let ToolchainRecord { rustc, linker, crt, .. } = record;
    format!(
        "rustc {}, LLVM {}, {} {}, {crt}",
        rustc.release, rustc.llvm, linker.name, linker.version
    )
}
