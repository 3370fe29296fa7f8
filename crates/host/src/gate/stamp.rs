//! The stamp in the library: whether it is there, can be read, and says what the manifest says.

use std::collections::BTreeSet;

use keyway_abi::stamp::{Kind, Stamp};
use keyway_inspect::Facts;
use keyway_manifest::{Digest, Interface, Manifest};

use crate::code::Code;
use crate::policy::StampPolicy;
use crate::refusal::Refusal;

/// The stamp, if there is one that can be read.
pub(super) fn read<'bytes>(
    bytes: &'bytes [u8],
    facts: &Facts,
    policy: StampPolicy,
    refusals: &mut Vec<Refusal>,
) -> Option<Stamp<'bytes>> {
    let section = facts.stamp.clone().and_then(|range| bytes.get(range));
    let Some(section) = section else {
        if policy == StampPolicy::Required {
            let expected = format!("a section `{}`", keyway_inspect::STAMP_SECTION);
            refusals.push(Refusal::new(Code::NoStamp, "no stamp", expected));
        }
        return None;
    };
    match Stamp::parse(section) {
        Ok(stamp) => {
            if let (Kind::Foreign(id), StampPolicy::Required) = (stamp.kind, policy) {
                let found = format!("a library for the loader of `{id}`");
                refusals.push(Refusal::new(Code::OtherKind, found, "a plugin of Keyway"));
            }
            Some(stamp)
        }
        Err(error) => {
            let expected = "a stamp of a format that is known here";
            refusals.push(Refusal::new(Code::BadStamp, error.to_string(), expected));
            None
        }
    }
}

/// Compares every field that stamp and manifest share.
pub(super) fn check(stamp: &Stamp<'_>, manifest: &Manifest, refusals: &mut Vec<Refusal>) {
    let mut compare = |field: &str, stamp: Option<String>, manifest: Option<String>| {
        if stamp != manifest {
            let value = |value: Option<String>| match value {
                Some(value) => format!("`{value}`"),
                None => "none".to_owned(),
            };
            let found = format!("{field} {} in the stamp", value(stamp));
            let expected = format!("{} as its manifest", value(manifest));
            refusals.push(Refusal::new(Code::StampDiffers, found, expected));
        }
    };
    let abi = manifest.abi.as_ref();
    compare("name", Some(stamp.name.to_owned()), Some(manifest.plugin.name.to_string()));
    compare("version", Some(stamp.version.to_owned()), Some(manifest.plugin.version.clone()));
    compare("target", Some(stamp.target.to_owned()), Some(manifest.target.to_string()));
    compare(
        "contract hash",
        contract_hash(stamp).map(|hash| hash.to_string()),
        abi.and_then(|abi| abi.contract).map(|hash| hash.to_string()),
    );
    compare("interfaces", listed(&interfaces(stamp)), abi.and_then(|abi| listed(&abi.interfaces)));
    compare(
        "toolchain hash",
        stamp.toolchain.map(|hash| Digest::from_bytes(hash).to_string()),
        manifest.toolchain.as_ref().map(|toolchain| toolchain.hash.to_string()),
    );
}

/// The contract's ABI hash: SHA-256 of its layout descriptor, if there is one.
fn contract_hash(stamp: &Stamp<'_>) -> Option<Digest> {
    (!stamp.contract.is_empty()).then(|| Digest::of(stamp.contract))
}

/// The interfaces as a manifest lists them.
fn interfaces(stamp: &Stamp<'_>) -> BTreeSet<Interface> {
    let stamped = stamp.interfaces.as_slice().iter();
    stamped
        .map(|interface| Interface {
            id: interface.id.to_owned(),
            version: interface.version,
            hash: Digest::of(interface.descriptor),
        })
        .collect()
}

fn listed(interfaces: &BTreeSet<Interface>) -> Option<String> {
    let each = interfaces.iter().map(|Interface { id, version, hash }| {
        format!("{id} version {version} with hash {}", hash.short())
    });
    Some(each.collect::<Vec<_>>().join(", ")).filter(|all| !all.is_empty())
}
