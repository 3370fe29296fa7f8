//! Debian's two archives: the main one, and the one that security updates come from before the next
//! point release of the main one.

use serde::{Deserialize, Serialize};

/// An archive of Debian; a package's path is below a mirror of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DebianArchive {
    /// The one that a suite such as `trixie` is in.
    #[default]
    Main,
    /// The one that `trixie-security` is in.
    Security,
}

impl DebianArchive {
    /// Every one.
    pub const ALL: [Self; 2] = [Self::Main, Self::Security];

    /// Whether it is the one that goes without saying.
    pub fn is_main(&self) -> bool {
        *self == Self::Main
    }

    /// The suite in it that belongs to `suite` of the main one.
    pub fn suite(self, suite: &str) -> String {
        match self {
            Self::Main => suite.to_owned(),
            Self::Security => format!("{suite}-security"),
        }
    }

    /// Whether an `InRelease` file, trusted or not, says that it is of this archive.
    pub fn is_named_by(self, release: &[u8]) -> bool {
        let label = match self {
            Self::Main => "Label: Debian",
            Self::Security => "Label: Debian-Security",
        };
        let text = String::from_utf8_lossy(release);
        let says = |field: &str| text.lines().take(40).any(|line| line.trim_end() == field);
        says("Origin: Debian") && says(label)
    }

    /// What holds every state that it ever had.
    pub(super) fn snapshots(self) -> &'static str {
        match self {
            Self::Main => "https://snapshot.debian.org/archive/debian",
            Self::Security => "https://snapshot.debian.org/archive/debian-security",
        }
    }
}
