//! What the kernel lets the sandbox do: namespaces, capabilities, and the settings that decide.
//!
//! Root needs no user namespace, and has none, as in Docker. Anyone else gets one that maps their
//! own ids to themselves, so that files come out owned by the caller in either case.

use std::fs;
use std::path::Path;

use keyway_manifest::text::Show as _;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use super::enter::{SetupError, failed};
use crate::engine::Privilege;

/// What the inner process needs until its file system stands.
const NEEDED: CapabilitySet = CapabilitySet::SYS_ADMIN
    .union(CapabilitySet::SETPCAP)
    .union(CapabilitySet::NET_ADMIN)
    .union(CapabilitySet::SYS_CHROOT);

/// Leaves the caller's namespaces; the next child is process 1 of a new PID namespace.
pub(super) fn unshare(flags: UnshareFlags) -> Result<(), SetupError> {
    let own = rustix::thread::capabilities(None).map_err(failed("read the capabilities"))?;
    if own.effective.contains(NEEDED) {
        return unshare_raw(flags).map_err(failed("make namespaces as root"));
    }
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    unshare_raw(flags | UnshareFlags::NEWUSER).map_err(failed("make a user namespace"))?;
    let write = |file: &str, text: String| {
        let path = Path::new("/proc/self").join(file);
        fs::write(&path, text).map_err(failed(format!("write `{}`", path.shown())))
    };
    // Without it the kernel refuses a plain user's group map.
    write("setgroups", "deny".into())?;
    write("uid_map", format!("{uid} {uid} 1"))?;
    write("gid_map", format!("{gid} {gid} 1"))?;
    // Capabilities of a user other than 0 survive the coming exec only as ambient ones.
    let all = rustix::thread::capabilities(None).map_err(failed("read the capabilities"))?;
    let inheritable = CapabilitySets { inheritable: all.permitted, ..all };
    rustix::thread::set_capabilities(None, inheritable)
        .map_err(failed("make capabilities inheritable in the user namespace"))?;
    for capability in NEEDED.iter() {
        rustix::thread::configure_capability_in_ambient_set(capability, true)
            .map_err(failed("keep capabilities in the user namespace"))?;
    }
    Ok(())
}

/// Whether a user namespace has to be made.
pub(super) fn own() -> Privilege {
    match rustix::thread::capabilities(None) {
        Ok(own) if own.effective.contains(NEEDED) => Privilege::Root,
        _ => Privilege::Rootless,
    }
}

fn unshare_raw(flags: UnshareFlags) -> rustix::io::Result<()> {
    // SAFETY: the flags never include `FILES`, so no thread loses a file descriptor of another;
    // besides, this process has one thread.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Gives up every capability for good, but root's right to read and write any file it can see,
/// which a build as root in someone else's checkout needs.
pub(super) fn drop_all() -> Result<(), SetupError> {
    let keep =
        if geteuid().is_root() { CapabilitySet::DAC_OVERRIDE } else { CapabilitySet::empty() };
    // Kernels have more or fewer capabilities than this list: one that is unknown is not there.
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        if keep.contains(capability) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(failed("drop a capability from the bounding set")(error)),
        }
    }
    rustix::thread::clear_ambient_capability_set()
        .map_err(failed("clear the ambient capabilities"))?;
    let sets =
        CapabilitySets { effective: keep, permitted: keep, inheritable: CapabilitySet::empty() };
    rustix::thread::set_capabilities(None, sets).map_err(failed("drop the capabilities"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("forbid new privileges"))
}

/// Sets `IFF_UP` on `lo`, which a new network namespace has down, through rtnetlink(7).
pub(super) fn raise_loopback() -> rustix::io::Result<()> {
    const LENGTH: u32 = 32;
    const RTM_NEWLINK: u16 = 16;
    const REQUEST_AND_ACK: u16 = 1 | 4;
    const SEQUENCE: u32 = 1;
    const LOOPBACK_INDEX: u32 = 1;
    const IFF_UP: u32 = 1;
    let mut message = Vec::with_capacity(LENGTH as usize);
    // struct nlmsghdr: length, type, flags, sequence, port
    message.extend(LENGTH.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(REQUEST_AND_ACK.to_ne_bytes());
    message.extend(SEQUENCE.to_ne_bytes());
    message.extend(0_u32.to_ne_bytes());
    // struct ifinfomsg: family and type (any), index, flags, mask of the flags to change
    message.extend(0_u32.to_ne_bytes());
    message.extend(LOOPBACK_INDEX.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());

    let socket = rustix::net::socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let kernel = SocketAddrNetlink::new(0, 0);
    rustix::net::sendto(&socket, &message, SendFlags::empty(), &kernel)?;
    let mut reply = [0_u8; 256];
    let (n, _) = rustix::net::recv(&socket, &mut reply[..], RecvFlags::empty())?;
    // struct nlmsgerr follows the header; its first field is 0 or a negative error number.
    match reply[..n].get(16..20).and_then(|bytes| bytes.try_into().ok()).map(i32::from_ne_bytes) {
        Some(0) => Ok(()),
        Some(error) => Err(rustix::io::Errno::from_raw_os_error(-error)),
        None => Err(rustix::io::Errno::BADMSG),
    }
}

/// What to do when the namespaces can't be made, from the settings of this machine.
pub(super) fn hint() -> String {
    hint_from(|name| fs::read_to_string(Path::new("/proc/sys").join(name)).ok())
}

fn hint_from(setting: impl Fn(&str) -> Option<String>) -> String {
    let is = |name: &str, value: &str| setting(name).is_some_and(|text| text.trim() == value);
    if is("user/max_user_namespaces", "0") {
        return "allow user namespaces: `sysctl -w user.max_user_namespaces=10000` as root".into();
    }
    if is("kernel/unprivileged_userns_clone", "0") {
        return "allow user namespaces: `sysctl -w kernel.unprivileged_userns_clone=1` as root"
            .into();
    }
    if is("kernel/apparmor_restrict_unprivileged_userns", "1") {
        return "allow user namespaces: \
                `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0` as root"
            .into();
    }
    "if this machine is itself a container, start it with `--privileged` or with \
     `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`"
        .into()
}

#[cfg(test)]
mod tests {
    use super::hint_from;

    #[test]
    fn each_setting_has_its_hint() {
        for (name, value) in [
            ("user/max_user_namespaces", "0\n"),
            ("kernel/unprivileged_userns_clone", "0\n"),
            ("kernel/apparmor_restrict_unprivileged_userns", "1\n"),
        ] {
            let hint = hint_from(|asked| (asked == name).then(|| value.to_owned()));
            assert!(hint.contains(&format!("{}=", name.replace('/', "."))), "{hint}");
        }
        assert!(hint_from(|_| None).contains("--privileged"));
    }
}
