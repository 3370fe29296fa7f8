//! The command lines of Docker and Podman: which program, where its containers run, and what it says
//! about that place. Where the two agree they share every word; where they don't, this module and
//! `options` know.

use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::Unavailable;
use super::capabilities::{Between, Capabilities, Folders, Labels, Privilege};

/// How long an engine may take to say that it is there.
const PATIENCE: Duration = Duration::from_secs(10);
/// The user's word on whether a Docker daemon can mount this machine's folders.
const MOUNTS: &str = "KEYWAY_DOCKER_MOUNTS";

/// Whose command line it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Docker, with a daemon.
    Docker,
    /// Podman, without one.
    Podman,
}

impl Kind {
    /// The program, and the engine's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }
}

/// A command line, and where what it starts runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Client {
    /// Whose it is.
    pub kind: Kind,
    /// The daemon's address, if it is not the one that the user has configured.
    pub host: Option<String>,
}

impl Client {
    /// The command line that the user has configured.
    pub fn of(kind: Kind) -> Self {
        Self { kind, host: None }
    }

    /// The same with a daemon at `host`, such as `tcp://127.0.0.1:2375`.
    pub fn at(self, host: impl Into<String>) -> Self {
        Self { host: Some(host.into()), ..self }
    }

    /// The engine's name.
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// The options that come before any command.
    pub(super) fn global(&self) -> Vec<OsString> {
        match &self.host {
            Some(host) => vec!["--host".into(), host.into()],
            None => Vec::new(),
        }
    }

    /// A command of it.
    pub(super) fn command<I: IntoIterator<Item: Into<OsString>>>(
        &self,
        args: I,
    ) -> duct::Expression {
        let args = self.global().into_iter().chain(args.into_iter().map(Into::into));
        duct::cmd(self.name(), args)
    }

    /// Runs a command; its output, or the first line of why it failed.
    pub(super) fn ask<I: IntoIterator<Item: Into<OsString>>>(
        &self,
        args: I,
    ) -> Result<String, String> {
        let run =
            self.command(args).stdin_null().stdout_capture().stderr_capture().unchecked().run();
        let output = run.map_err(|error| format!("could not start `{}`: {error}", self.name()))?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let line = said.lines().find(|line| !line.trim().is_empty());
        Err(line.map_or_else(|| output.status.to_string(), |line| self.reason(line)))
    }

    /// A line of the client's without what it puts in front of every error.
    pub(super) fn reason(&self, line: &str) -> String {
        let line = line.strip_prefix(&format!("{}: ", self.name())).unwrap_or(line);
        let line = line.strip_prefix("Error: ").unwrap_or(line);
        line.strip_prefix("Error response from daemon: ").unwrap_or(line).to_owned()
    }
}

/// An engine that answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// How it was asked.
    pub client: Client,
    /// Its version.
    pub version: String,
    /// What it can do.
    pub capabilities: Capabilities,
    /// The user and group that a command must have for its files to be owned by the caller.
    pub user: Option<(u32, u32)>,
    /// Whether it still has to be tried if folders can be mounted: this process is in a container, and
    /// the daemon may not be.
    pub is_guess: bool,
    /// The program that makes containers, if the one that is configured does not work here.
    pub runtime: Option<&'static str>,
}

impl Service {
    /// Asks the engine what it is, with a time limit.
    ///
    /// # Errors
    /// If there is no client, or nothing answers it.
    pub fn find(client: Client) -> Result<Self, Unavailable> {
        match client.kind {
            Kind::Docker => docker(client),
            Kind::Podman => podman(client),
        }
    }

    /// The same, with files copied or folders mounted whatever was found out.
    pub fn with_folders(mut self, folders: Folders) -> Self {
        self.capabilities.folders = folders;
        self.is_guess = false;
        self
    }
}

fn docker(client: Client) -> Result<Service, Unavailable> {
    let format = "{{.ServerVersion}} {{json .SecurityOptions}}";
    let said = info(&client, format)?;
    let Some((version, security)) = said.split_once(' ').filter(|(version, _)| !version.is_empty())
    else {
        return Err(unavailable(client.kind, "its daemon did not answer".to_owned()));
    };
    // In a rootless daemon, user 0 of a container is the user who runs the daemon.
    let (privilege, user) = if security.contains("name=rootless") {
        (Privilege::Rootless, Some((0, 0)))
    } else {
        (Privilege::Root, caller())
    };
    let labels = if security.contains("name=selinux") { Labels::Disabled } else { Labels::Absent };
    let (folders, is_guess) = folders(&client)?;
    let capabilities = Capabilities { folders, privilege, labels, between: Between::Kept };
    let version = version.to_owned();
    Ok(Service { version, client, capabilities, user, is_guess, runtime: None })
}

fn podman(client: Client) -> Result<Service, Unavailable> {
    let format = "{{.Version.Version}} {{.Host.Security.Rootless}} \
                  {{.Host.Security.SELinuxEnabled}} {{.Host.OCIRuntime.Name}}";
    let said = info(&client, format)?;
    let fields: Vec<&str> = said.split(' ').collect();
    let [version, rootless, selinux, runtime] = fields[..] else {
        return Err(unavailable(client.kind, format!("`podman info` said `{said}`")));
    };
    let capabilities = Capabilities {
        folders: Folders::Mounted,
        privilege: if rootless == "true" { Privilege::Rootless } else { Privilege::Root },
        labels: if selinux == "true" { Labels::Disabled } else { Labels::Absent },
        between: Between::Kept,
    };
    let runtime = (runtime == "crun" && has_hybrid_cgroups() && has_runc()).then_some("runc");
    let (version, user) = (version.to_owned(), caller());
    Ok(Service { version, client, capabilities, user, is_guess: false, runtime })
}

/// Whether both versions of control groups are mounted, which crun refuses.
fn has_hybrid_cgroups() -> bool {
    Path::new("/sys/fs/cgroup/unified/cgroup.controllers").exists()
}

fn has_runc() -> bool {
    let asked = duct::cmd!("runc", "--version").stdin_null().stdout_null().stderr_null();
    asked.unchecked().run().is_ok_and(|output| output.status.success())
}

fn info(client: &Client, format: &str) -> Result<String, Unavailable> {
    let name = client.name();
    let what = match client.kind {
        Kind::Docker => "its daemon",
        Kind::Podman => "it",
    };
    let no = |reason| unavailable(client.kind, reason);
    let asked = client
        .command(["info", "--format", format])
        .stdin_null()
        .stdout_capture()
        .stderr_capture()
        .unchecked()
        .start()
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => no(format!("there is no `{name}` program")),
            _ => no(format!("could not start `{name}`: {error}")),
        })?;
    let answer = asked.wait_timeout(PATIENCE);
    let answer = answer.map_err(|error| no(format!("could not ask {what}: {error}")))?;
    let Some(output) = answer else {
        let _ = asked.kill();
        return Err(no(format!("{what} did not answer in {} s", PATIENCE.as_secs())));
    };
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let error = String::from_utf8_lossy(&output.stderr);
    let reason = error.lines().rfind(|line| !line.trim().is_empty());
    Err(no(reason.map_or_else(|| format!("{what} did not answer"), str::to_owned)))
}

fn unavailable(kind: Kind, reason: String) -> Unavailable {
    let hint = match kind {
        Kind::Docker => "install Docker and start its daemon, with access for this user",
        Kind::Podman => "install Podman, for a plain user with uidmap and ids in `/etc/subuid`",
    };
    Unavailable { engine: kind.name(), reason, hint: hint.to_owned() }
}

/// Whether the daemon can mount this machine's folders: the user says so, or it is reached through a
/// socket of this machine.
fn folders(client: &Client) -> Result<(Folders, bool), Unavailable> {
    match std::env::var(MOUNTS).as_deref() {
        Ok("bind") => return Ok((Folders::Mounted, false)),
        Ok("copy") => return Ok((Folders::Copied, false)),
        Ok("") | Err(_) => {}
        Ok(other) => {
            return Err(Unavailable {
                engine: client.name(),
                reason: format!("`{MOUNTS}` is `{other}`"),
                hint: format!("set `{MOUNTS}` to `bind` or `copy`, or to nothing"),
            });
        }
    }
    let endpoint = match &client.host {
        Some(host) => host.clone(),
        // It honours `DOCKER_HOST`, `DOCKER_CONTEXT` and the chosen context, in that order.
        None => client
            .ask(["context", "inspect", "--format", "{{.Endpoints.docker.Host}}"])
            .unwrap_or_default(),
    };
    let is_elsewhere = ["tcp://", "ssh://", "http://", "https://"]
        .iter()
        .any(|scheme| endpoint.starts_with(scheme));
    Ok(if is_elsewhere { (Folders::Copied, false) } else { (Folders::Mounted, is_in_container()) })
}

/// Whether this process is in a container itself. Then a socket may lead to a daemon outside, which
/// sees other files under the same names.
fn is_in_container() -> bool {
    let has_overlay_root = || {
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        table.lines().any(|line| {
            let point = line.split(' ').nth(4);
            let kind = line.split(" - ").nth(1).and_then(|rest| rest.split(' ').next());
            point == Some("/") && kind.is_some_and(|kind| kind.ends_with("overlay"))
        })
    };
    ["/.dockerenv", "/run/.containerenv"].iter().any(|mark| Path::new(mark).exists())
        || has_overlay_root()
}

#[cfg(unix)]
pub(super) fn caller() -> Option<(u32, u32)> {
    use rustix::process::{getegid, geteuid};
    Some((geteuid().as_raw(), getegid().as_raw()))
}

/// Where containers run in a virtual machine, its file sharing gives files to the caller.
#[cfg(not(unix))]
pub(super) fn caller() -> Option<(u32, u32)> {
    None
}
