//! The process that a container belongs to, so that one whose owner was killed can be told from one
//! that is at work.

use keyway_manifest::Digest;

/// The process that a container belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Where its id means something: one boot of one kernel, one PID namespace. A daemon may serve
    /// several, such as the jobs of a pipeline that share its socket.
    pub scope: String,
    /// Its process id.
    pub pid: u32,
    /// When it started, in clock ticks since boot, since ids are used again.
    pub start: u64,
}

impl Owner {
    /// This process.
    pub fn this_process() -> Self {
        let pid = std::process::id();
        Self { scope: scope(), pid, start: start_of(pid).unwrap_or(0) }
    }

    pub(super) fn label(&self) -> String {
        format!("{}/{}/{}", self.scope, self.pid, self.start)
    }

    /// Whether the process with this label has ended, as far as `self` can know.
    pub(super) fn knows_to_be_gone(&self, label: &str) -> bool {
        let mut parts = label.splitn(3, '/');
        let (Some(scope), Some(pid), Some(start)) = (parts.next(), parts.next(), parts.next())
        else {
            return false;
        };
        let (Ok(pid), Ok(start)) = (pid.parse(), start.parse()) else {
            return false;
        };
        !scope.is_empty() && scope == self.scope && start_of(pid) != Some(start)
    }
}

/// Empty where there is no `/proc` to tell from.
fn scope() -> String {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    if boot.is_empty() || namespace.as_os_str().is_empty() {
        return String::new();
    }
    Digest::of(format!("{} {}", boot.trim(), namespace.to_string_lossy())).short()
}

/// When a process started, from field 22 of `/proc/PID/stat`, see proc(5).
fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, field 2, is in parentheses and may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}
