//! The limits of this process that a container may have at most.

/// By name, the hard limit on open files and processes.
#[cfg(target_os = "linux")]
pub(super) fn own() -> Vec<(&'static str, u64)> {
    use rustix::process::{Resource, getrlimit};
    // Podman lowers its own to these.
    const FILES: u64 = 1 << 20;
    let processes = std::fs::read_to_string("/proc/sys/kernel/pid_max");
    let processes = processes.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(32_768);
    let own = |resource, most: u64| getrlimit(resource).maximum.map_or(most, |own| own.min(most));
    vec![("nofile", own(Resource::Nofile, FILES)), ("nproc", own(Resource::Nproc, processes))]
}

/// Elsewhere containers run in a virtual machine, whose limits are its own.
#[cfg(not(target_os = "linux"))]
pub(super) fn own() -> Vec<(&'static str, u64)> {
    Vec::new()
}
