//! Whether calls across the boundary would mean the same on both sides: the layout of everything
//! that crosses it, and the toolchain that decides the rest.

use keyway_abi::descriptor::{self, Difference};
use keyway_abi::stamp::Stamp;
use keyway_manifest::{Digest, Manifest, ToolchainRecord};

use crate::code::Code;
use crate::policy::{Expectation, HOST_TOOLCHAIN, OtherInterfaces, ToolchainPolicy};
use crate::refusal::Refusal;

/// How many differences one refusal spells out.
const SHOWN: usize = 8;

/// Compares the plugin's layout descriptor with the host's, first that of the base contract, then
/// that of the interface, if the host knows one of this name.
pub(super) fn check(stamp: &Stamp<'_>, expectation: &Expectation, refusals: &mut Vec<Refusal>) {
    if let Some(contract) = &expectation.contract {
        let found = descriptor::base_of(stamp.descriptor);
        if found != contract {
            // What follows in the descriptor builds upon it, so it is not compared.
            return refusals.push(refuse(Code::AbiDiffers, "contract", contract, found));
        }
    }
    if stamp.interface.is_empty() {
        return;
    }
    let known = expectation.interfaces.iter().find(|known| known.name == stamp.interface);
    match known {
        Some(known) if known.descriptor != stamp.descriptor => {
            let (host, plugin) = (&known.descriptor, stamp.descriptor);
            refusals.push(refuse(Code::InterfaceDiffers, stamp.interface, host, plugin));
        }
        None if expectation.other_interfaces == OtherInterfaces::Refuse => {
            let known = expectation.interfaces.iter().map(|known| format!("`{}`", known.name));
            let known = known.collect::<Vec<_>>().join(", ");
            let found = format!("interface `{}`", stamp.interface);
            let expected = if known.is_empty() { "none".to_owned() } else { known };
            refusals.push(Refusal::new(Code::UnknownInterface, found, expected));
        }
        Some(_) | None => {}
    }
}

fn refuse(code: Code, what: &str, host: &str, plugin: &str) -> Refusal {
    let differences = descriptor::differences(host, plugin);
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
