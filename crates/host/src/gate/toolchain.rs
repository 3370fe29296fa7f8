//! Whether what built a plugin was trusted once and is no longer.

use keyway_abi::stamp::Stamp;
use keyway_manifest::Digest;

use crate::code::Code;
use crate::policy::ToolchainPolicy;
use crate::refusal::Refusal;

/// The refusal of a toolchain that is retired.
pub(super) fn retired(stamp: &Stamp<'_>, policy: &ToolchainPolicy) -> Option<Refusal> {
    let ToolchainPolicy::Trusted(trusted) = policy else { return None };
    let hash = stamp.toolchain.map(Digest::from_bytes)?;
    let retirement = trusted.retired(&hash)?;
    let found = format!("toolchain `{hash}`, retired {}", retirement.from);
    let expected = format!("one that is not: {}", retirement.reason);
    Some(Refusal::new(Code::Retired, found, expected))
}
