//! Docker, through its command line, so that contexts and credentials work as for the user.
//!
//! A container gets what the sandbox gives: no network, a read-only root, no capability, the
//! caller's user id. It is removed when it ends; one whose tool was killed outright is found by its
//! label and removed by the next run.

use std::ffi::{OsStr, OsString};
use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use keyway_manifest::Digest;

use super::{Engine, EngineError, Invocation, Prepared, Shelf, Stop, Unavailable};
use crate::container::{Access, Command, Image, Mount};
use crate::image;
use crate::shell::Shell;

const NAME: &str = "docker";
/// How long the daemon may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(10);
/// Carries the owner of a container.
const LABEL: &str = "keyway.owner";
/// Containers that this process has started; no two share a name.
static N_STARTED: AtomicU32 = AtomicU32::new(0);
/// What the client adds to every container when its configuration names proxies. A name without a
/// value keeps the variable unset.
const PROXIES: [&str; 10] = [
    "ALL_PROXY",
    "FTP_PROXY",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "all_proxy",
    "ftp_proxy",
    "http_proxy",
    "https_proxy",
    "no_proxy",
];

/// A daemon that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Daemon {
    /// The daemon's version.
    pub version: String,
    /// The user and group that a command must have for its files to be owned by the caller.
    pub user: Option<(u32, u32)>,
}

impl Daemon {
    /// Asks the daemon for its version, with a time limit.
    ///
    /// # Errors
    /// If there is no client, or no daemon answers it.
    pub fn find() -> Result<Self, Unavailable> {
        let unavailable = |reason: String| {
            let hint = "install Docker and start its daemon, with access for this user".to_owned();
            Unavailable { engine: NAME, reason, hint }
        };
        let asked =
            duct::cmd!(NAME, "info", "--format", "{{.ServerVersion}} {{json .SecurityOptions}}")
                .stdin_null()
                .stdout_capture()
                .stderr_capture()
                .unchecked()
                .start()
                .map_err(|error| match error.kind() {
                    io::ErrorKind::NotFound => unavailable("there is no `docker` program".into()),
                    _ => unavailable(format!("could not start `docker`: {error}")),
                })?;
        let Some(output) = asked
            .wait_timeout(PATIENCE)
            .map_err(|error| unavailable(format!("could not ask its daemon: {error}")))?
        else {
            let _ = asked.kill();
            let seconds = PATIENCE.as_secs();
            return Err(unavailable(format!("its daemon did not answer in {seconds} s")));
        };
        let said = String::from_utf8_lossy(&output.stdout);
        let (version, security) = said.trim().split_once(' ').unwrap_or_default();
        if !output.status.success() || version.is_empty() {
            let error = String::from_utf8_lossy(&output.stderr);
            let reason = error.lines().find(|line| !line.trim().is_empty());
            return Err(unavailable(reason.unwrap_or("its daemon did not answer").to_owned()));
        }
        // In a rootless daemon, user 0 of a container is the user who runs the daemon.
        let is_rootless = security.contains("name=rootless");
        let user = if is_rootless { Some((0, 0)) } else { caller() };
        Ok(Self { version: version.to_owned(), user })
    }
}

#[cfg(unix)]
fn caller() -> Option<(u32, u32)> {
    use rustix::process::{getegid, geteuid};
    Some((geteuid().as_raw(), getegid().as_raw()))
}

/// Where Docker runs in a virtual machine, its file sharing gives files to the caller.
#[cfg(not(unix))]
fn caller() -> Option<(u32, u32)> {
    None
}

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

    fn label(&self) -> String {
        format!("{}/{}/{}", self.scope, self.pid, self.start)
    }

    /// Whether the process with this label has ended, as far as `self` can know.
    fn knows_to_be_gone(&self, label: &str) -> bool {
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
    Digest::of(format!("{} {}", boot.trim(), namespace.display())).short()
}

/// When a process started, from field 22 of `/proc/PID/stat`, see proc(5).
fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, field 2, is in parentheses and may hold anything.
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// The Docker engine.
#[derive(Debug)]
pub struct Docker<'a> {
    daemon: Daemon,
    owner: Owner,
    swept: Once,
    shell: &'a Shell,
    shelf: Shelf,
}

impl<'a> Docker<'a> {
    /// The engine on a daemon that answered; its containers belong to `owner`.
    pub fn new(daemon: Daemon, owner: Owner, shell: &'a Shell) -> Self {
        Self { daemon, owner, swept: Once::new(), shell, shelf: Shelf::default() }
    }

    /// Removes containers whose tool is gone. What fails here fails again, louder, later.
    fn sweep(&self) {
        let format = format!("{{{{.ID}}}} {{{{.Label \"{LABEL}\"}}}}");
        let filter = format!("label={LABEL}");
        let list = ["ps", "--all", "--no-trunc", "--filter", &filter, "--format", &format];
        let Ok(list) = client(list).stderr_null().read() else {
            return;
        };
        let gone: Vec<&str> = list
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(_, owner)| self.owner.knows_to_be_gone(owner))
            .map(|(id, _)| id)
            .collect();
        if gone.is_empty() {
            return;
        }
        self.shell.status("Removing", format_args!("{} container(s) of a killed run", gone.len()));
        let args = ["rm", "--force"].into_iter().chain(gone);
        let _ = client(args).stdout_null().stderr_null().run();
    }

    /// What the daemon calls the image, if it has it: its config digest, or with containerd's
    /// image store its manifest digest.
    fn find(&self, image: &Image) -> Option<OsString> {
        [image.config, image.manifest].into_iter().find_map(|digest| {
            let id = digest.prefixed();
            let args = ["image", "inspect", "--format", "{{.Id}}", &id];
            client(args).stderr_null().read().ok().map(|_| id.into())
        })
    }
}

impl Engine for Docker<'_> {
    fn name(&self) -> &'static str {
        NAME
    }

    fn description(&self) -> String {
        format!("docker {}", self.daemon.version)
    }

    fn shell(&self) -> &Shell {
        self.shell
    }

    fn prepare(&self, image: &Image) -> Result<Prepared, EngineError> {
        self.swept.call_once(|| self.sweep());
        self.shelf.get_or(image, || {
            if let Some(id) = self.find(image) {
                return Ok(id);
            }
            self.shell.status("Loading", format_args!("image {} into docker", image.name));
            let failed = |reason: String| EngineError::Load {
                engine: NAME,
                image: image.name.clone(),
                reason,
            };
            load(image).map_err(|error| failed(error.to_string()))?;
            self.find(image).ok_or_else(|| {
                failed(format!("it is not there afterwards under `{}`", image.config.prefixed()))
            })
        })
    }

    fn invocation(&self, image: &Prepared, command: &Command) -> Result<Invocation, EngineError> {
        let serial = N_STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("keyway-{}-{serial}", Digest::of(self.owner.label()).short());
        Ok(Invocation {
            engine: NAME,
            program: NAME.into(),
            args: self.arguments(&name, image, command)?,
            stop: Stop::Run([NAME, "rm", "--force", &name].map(OsString::from).into()),
            command: super::display(&command.argv),
        })
    }
}

impl Docker<'_> {
    fn arguments(
        &self,
        name: &str,
        image: &Prepared,
        command: &Command,
    ) -> Result<Vec<OsString>, EngineError> {
        let mut args: Vec<OsString> = Vec::new();
        let mut push = |more: &[&str]| args.extend(more.iter().map(OsString::from));
        push(&["run", "--rm", "--init", "--pull", "never"]);
        push(&["--network", "none", "--hostname", super::HOST_NAME]);
        push(&["--read-only", "--tmpfs", "/tmp:exec,mode=1777"]);
        push(&["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]);
        // Where SELinux rules, it keeps containers away from the caller's files.
        push(&["--security-opt", "label=disable"]);
        if let Some((user, group)) = self.daemon.user {
            push(&["--user", &format!("{user}:{group}")]);
            if user == 0 {
                // As in the sandbox: a build as root in someone else's checkout.
                push(&["--cap-add", "DAC_OVERRIDE"]);
            }
        }
        push(&["--name", name, "--label", &format!("{LABEL}={}", self.owner.label())]);
        let workdir = super::guest_path(NAME, &command.workdir)?;
        push(&["--workdir", text(workdir.as_os_str())?]);
        for mount in &command.mounts {
            push(&["--mount", &mount_option(mount)?]);
        }
        let env = super::environment(image, command);
        for name in PROXIES.into_iter().filter(|name| !env.contains_key(*name)) {
            push(&["--env", name]);
        }
        for (name, value) in &env {
            push(&["--env", &format!("{name}={value}")]);
        }
        args.push(image.location.clone());
        args.extend(command.argv.iter().cloned());
        Ok(args)
    }
}

/// The value of `--mount`: a line of CSV, so that a path may hold a comma.
fn mount_option(mount: &Mount) -> Result<String, EngineError> {
    let guest = super::guest_path(NAME, &mount.guest)?;
    let source = format!("source={}", text(mount.host.as_os_str())?);
    let target = format!("target={}", text(guest.as_os_str())?);
    let mut fields = vec!["type=bind".to_owned(), source, target];
    if mount.access == Access::ReadOnly {
        fields.push("readonly".to_owned());
    }
    let quote = |field: String| {
        if field.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", field.replace('"', "\"\""))
        } else {
            field
        }
    };
    Ok(fields.into_iter().map(quote).collect::<Vec<_>>().join(","))
}

/// The daemon takes JSON, and JSON is Unicode.
fn text(value: &OsStr) -> Result<&str, EngineError> {
    value.to_str().ok_or_else(|| EngineError::Unsupported {
        engine: NAME,
        value: value.to_string_lossy().into_owned(),
        reason: "Docker takes UTF-8 only",
    })
}

fn client<I: IntoIterator<Item: Into<OsString>>>(args: I) -> duct::Expression {
    duct::cmd(NAME, args).stdin_null()
}

/// Has the daemon read the image's archive from a pipe, so that no copy of it lies on disk.
fn load(image: &Image) -> io::Result<()> {
    let (reader, mut writer) = io::pipe()?;
    let loading = duct::cmd!(NAME, "load", "--quiet")
        .stdin_file(reader)
        .stdout_null()
        .stderr_capture()
        .unchecked()
        .start()?;
    let written = image::write_archive(image, &mut writer);
    drop(writer);
    let output = loading.wait()?;
    if output.status.success() {
        return written;
    }
    // What the client says comes first: a broken pipe is only its echo.
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(said.trim().to_owned()))
}
