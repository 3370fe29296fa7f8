//! The stamp in the library: whether it is there, can be read, and says what the manifest says.

use keyway_abi::stamp::Stamp;
use keyway_inspect::Facts;
use keyway_manifest::{Digest, Manifest};

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
        Ok(stamp) => Some(stamp),
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
    let interface = Some(stamp.interface.to_owned()).filter(|name| !name.is_empty());
    compare("name", Some(stamp.name.to_owned()), Some(manifest.plugin.name.to_string()));
    compare("version", Some(stamp.version.to_owned()), Some(manifest.plugin.version.clone()));
    compare("target", Some(stamp.target.to_owned()), Some(manifest.target.to_string()));
    compare("interface", interface, abi.and_then(|abi| abi.interface.clone()));
    compare("ABI hash", Some(abi_hash(stamp).to_string()), abi.map(|abi| abi.hash.to_string()));
    compare(
        "toolchain hash",
        stamp.toolchain.map(|hash| Digest::from_bytes(hash).to_string()),
        manifest.toolchain.as_ref().map(|toolchain| toolchain.hash.to_string()),
    );
}

/// The ABI hash: SHA-256 of the layout descriptor.
fn abi_hash(stamp: &Stamp<'_>) -> Digest {
    Digest::of(stamp.descriptor)
}
