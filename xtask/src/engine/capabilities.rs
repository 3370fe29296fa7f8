//! What an engine can do. Whoever wants to know asks here, never for an engine's name.

use serde::Serialize;

/// What an engine can do, as it found out on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Capabilities {
    /// How commands get at this machine's folders.
    pub folders: Folders,
    /// What the engine may do on this machine.
    pub privilege: Privilege,
    /// Whether SELinux decides what a container may read.
    pub labels: Labels,
    /// What happens between two commands in the same image.
    pub between: Between,
}

/// How commands get at this machine's folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Folders {
    /// The engine shares this machine's file system and mounts them.
    Mounted,
    /// Files are sent, and what a command made is fetched.
    Copied,
}

/// What the engine may do on this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Privilege {
    /// It runs as root, or as whoever runs the daemon.
    Root,
    /// It runs as a plain user, in a user namespace.
    Rootless,
}

/// Whether SELinux decides what a container may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Labels {
    /// It does; containers run without confinement, since labelling the caller's files anew, as `:z`
    /// does, would change them for every other program and for good.
    Disabled,
    /// It does not.
    Absent,
}

/// What happens between two commands in the same image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Between {
    /// The container stays, since starting one costs more than a small command.
    Kept,
    /// Each command has an own set of namespaces, which cost next to nothing.
    Anew,
}

impl Capabilities {
    /// A phrase for people, such as `rootless, files are copied`; of the folders only where it is `known`
    /// what becomes of them.
    pub fn describe(&self, known: Option<Folders>) -> String {
        let privilege = match self.privilege {
            Privilege::Root => "not rootless",
            Privilege::Rootless => "rootless",
        };
        let folders = match known {
            Some(Folders::Mounted) => ", folders are mounted",
            Some(Folders::Copied) => ", files are copied",
            None => "",
        };
        let labels = match self.labels {
            Labels::Disabled => ", without SELinux labels",
            Labels::Absent => "",
        };
        [privilege, folders, labels].concat()
    }
}
