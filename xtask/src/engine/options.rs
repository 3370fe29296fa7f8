//! What a container is started with. Pure but for two limits of this process.
//!
//! A container gives what the sandbox gives: no network, a read-only root, no capability, the
//! caller's user id. Docker and Podman say the same in the same words, with the exceptions here.

use std::ffi::{OsStr, OsString};

use super::capabilities::Privilege;
use super::client::{Kind, Service};
use super::{EngineError, Prepared};
use crate::container::{Access, Mount};

/// Carries the owner of a container.
pub(super) const LABEL: &str = "keyway.owner";

/// A container to start.
#[derive(Debug, Clone, Copy)]
pub(super) struct Container<'a> {
    /// Its name.
    pub(super) name: &'a str,
    /// The label of its owner.
    pub(super) owner: &'a str,
    /// Whether its own files can be written.
    pub(super) root: Access,
    /// What it is made from.
    pub(super) image: &'a Prepared,
}

/// The arguments of `run` for a container that reads a shell's commands from its standard input.
pub(super) fn run(
    service: &Service,
    container: Container<'_>,
    mounts: &[Vec<OsString>],
) -> Vec<OsString> {
    let mut args = service.client.global();
    let mut push = |more: &[&str]| args.extend(more.iter().map(OsString::from));
    push(&["run", "--interactive", "--rm", "--pull", "never"]);
    push(&["--network", "none", "--hostname", super::HOST_NAME]);
    if container.root == Access::ReadOnly {
        push(&["--read-only"]);
    }
    push(&["--tmpfs", tmp(service.client.kind)]);
    push(&["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]);
    // Where SELinux rules, it keeps containers away from the caller's files.
    push(&["--security-opt", "label=disable"]);
    match service.client.kind {
        Kind::Docker => {}
        Kind::Podman => podman(service, &mut push),
    }
    if let Some((user, group)) = service.user {
        push(&["--user", &format!("{user}:{group}")]);
        if user == 0 {
            // As in the sandbox: a build as root in someone else's checkout.
            push(&["--cap-add", "DAC_OVERRIDE"]);
        }
    }
    push(&["--name", container.name]);
    push(&["--label", &format!("{LABEL}={}", container.owner)]);
    push(&["--workdir", "/", "--entrypoint", super::warm::SHELL]);
    args.extend(mounts.iter().flatten().cloned());
    args.push(container.image.location.clone());
    args
}

/// An empty folder that anyone may write.
fn tmp(kind: Kind) -> &'static str {
    match kind {
        Kind::Docker => "/tmp:exec,mode=1777",
        // It would take the image's content, and does take its mode: so the caller has to own it.
        Kind::Podman => "/tmp:exec,mode=1777,notmpcopyup,U",
    }
}

fn podman(service: &Service, push: &mut dyn FnMut(&[&str])) {
    if let Some(runtime) = service.runtime {
        push(&["--runtime", runtime]);
    }
    // It would make more than `/tmp` writable, and tell where this machine is.
    push(&["--read-only-tmpfs=false", "--no-hosts"]);
    match service.capabilities.privilege {
        Privilege::Rootless => push(&["--userns", "keep-id"]),
        Privilege::Root => {
            // It asks for a million files, which root in a container may not have itself.
            for (name, limit) in super::limits::own() {
                push(&["--ulimit", &format!("{name}={limit}:{limit}")]);
            }
        }
    }
}

/// The options that show a folder or file of this machine at its place.
pub(super) fn bind(kind: Kind, mount: &Mount) -> Result<Vec<OsString>, EngineError> {
    let guest = super::guest_path(kind.name(), &mount.guest)?;
    let (host, guest) = (text(kind, mount.host.as_os_str())?, text(kind, guest.as_os_str())?);
    let is_plain = |path: &str| !path.contains([',', '"', '\n', '\r']);
    // Before version 5, Podman has no quotes in `--mount`.
    if kind == Kind::Podman && !(is_plain(host) && is_plain(guest)) {
        return podman_volume(mount, host, guest);
    }
    let mut fields =
        vec!["type=bind".to_owned(), format!("source={host}"), format!("target={guest}")];
    if mount.access == Access::ReadOnly {
        fields.push("readonly".to_owned());
    }
    Ok(vec!["--mount".into(), csv(fields).into()])
}

fn podman_volume(mount: &Mount, host: &str, guest: &str) -> Result<Vec<OsString>, EngineError> {
    if let Some(value) = [host, guest].into_iter().find(|path| path.contains(':')) {
        return Err(EngineError::Unsupported {
            engine: Kind::Podman.name(),
            value: value.to_owned(),
            reason: "Podman has no way to name a path with a colon and a comma or quote",
        });
    }
    let access = match mount.access {
        Access::ReadOnly => "ro",
        Access::ReadWrite => "rw",
    };
    Ok(vec!["--volume".into(), format!("{host}:{guest}:{access}").into()])
}

/// The options that show a volume at a mount's place.
pub(super) fn volume(
    kind: Kind,
    name: &str,
    mount: &Mount,
    access: Access,
) -> Result<Vec<OsString>, EngineError> {
    let guest = super::guest_path(kind.name(), &mount.guest)?;
    let guest = text(kind, guest.as_os_str())?;
    let mut fields =
        vec!["type=volume".to_owned(), format!("source={name}"), format!("target={guest}")];
    if access == Access::ReadOnly {
        fields.push("readonly".to_owned());
    }
    // What the image has at that place is not wanted.
    fields.push("volume-nocopy".to_owned());
    Ok(vec!["--mount".into(), csv(fields).into()])
}

/// The value of `--mount`: a line of CSV, so that a path may hold a comma.
fn csv(fields: Vec<String>) -> String {
    let quote = |field: String| {
        if field.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field
        }
    };
    fields.into_iter().map(quote).collect::<Vec<_>>().join(",")
}

/// Engines take JSON, and JSON is Unicode.
fn text(kind: Kind, value: &OsStr) -> Result<&str, EngineError> {
    value.to_str().ok_or_else(|| EngineError::Unsupported {
        engine: kind.name(),
        value: value.to_string_lossy().into_owned(),
        reason: "containers take UTF-8 only",
    })
}
