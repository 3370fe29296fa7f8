//! Where Debian packages can come from, in the order in which it is tried.
//!
//! No host is written here, the snapshot archive's aside: mirrors are the user's, or the machine's
//! own apt sources, and of those only the ones whose release file says that it is Debian's. What a
//! mirror sends is trusted by sha256 or signature alone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use super::control::Paragraph;
use super::debian::DebianArchive;
use super::http::Http;
use crate::time::timestamp;

/// A release file is about 140 KB.
pub(super) const RELEASE_LIMIT: u64 = 4 << 20;

/// The mirrors of one suite, and of its security updates.
#[derive(Debug)]
pub struct Mirrors {
    suite: String,
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    base: String,
    origin: Origin,
    /// Whether it is a mirror of the main archive, and whether of the other, once that was asked.
    main: OnceLock<bool>,
    security: OnceLock<bool>,
}

/// Who named a mirror.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The user, on the command line or by a variable.
    User,
    /// The machine's apt sources.
    Machine,
    /// This tool: the snapshots of an archive.
    Snapshot(DebianArchive),
}

impl Mirrors {
    /// The mirrors for `suite`: those that the user names, the machine's, and of archives whose state
    /// is known the snapshot.
    pub fn new(
        suite: &str,
        user: &[String],
        machine: &[String],
        states: &[(DebianArchive, u64)],
    ) -> Self {
        let mut seen = BTreeSet::new();
        let mut candidates = Vec::new();
        let mut add = |base: &str, origin| {
            let base = base.trim_end_matches('/').to_owned();
            if !base.is_empty() && seen.insert(base.clone()) {
                let (main, security) = (OnceLock::new(), OnceLock::new());
                candidates.push(Candidate { base, origin, main, security });
            }
        };
        user.iter().for_each(|base| add(base, Origin::User));
        machine.iter().for_each(|base| add(base, Origin::Machine));
        for (archive, epoch) in states {
            // A state appears among the snapshots some hours after its date. A day later the main
            // archive is the same, its next point release being weeks away, and the other one has not
            // dropped yet what was replaced meanwhile.
            let state = timestamp(epoch + 86_400);
            add(&format!("{}/{state}", archive.snapshots()), Origin::Snapshot(*archive));
        }
        Self { suite: suite.to_owned(), candidates }
    }

    /// The name of the suite in an archive.
    pub fn suite(&self, archive: DebianArchive) -> String {
        archive.suite(&self.suite)
    }

    /// The addresses of a file of an archive, in the order in which to try them. Whether a mirror of the
    /// machine is one of that archive is asked when it is first needed; the user's are asked for
    /// anything.
    pub fn addresses<'a>(
        &'a self,
        http: &'a Http,
        archive: DebianArchive,
        path: &'a str,
    ) -> impl Iterator<Item = String> + 'a {
        self.candidates
            .iter()
            .filter(move |candidate| candidate.is_of(archive, http, &self.suite))
            .map(move |candidate| format!("{}/{path}", candidate.base))
    }

    /// The mirrors and who named them, asking none.
    pub fn list(&self) -> impl Iterator<Item = (&str, Origin)> {
        self.candidates.iter().map(|candidate| (candidate.base.as_str(), candidate.origin))
    }
}

impl Candidate {
    fn is_of(&self, archive: DebianArchive, http: &Http, suite: &str) -> bool {
        let asked = match archive {
            DebianArchive::Main => &self.main,
            DebianArchive::Security => &self.security,
        };
        match self.origin {
            Origin::User => true,
            Origin::Snapshot(of) => of == archive,
            Origin::Machine => *asked.get_or_init(|| {
                let path = format!("dists/{}/InRelease", archive.suite(suite));
                http.get(&format!("{}/{path}", self.base), RELEASE_LIMIT)
                    .is_ok_and(|release| archive.is_named_by(&release))
            }),
        }
    }
}

/// The mirrors that the user names: first the command line's, then those of
/// `KEYWAY_DEBIAN_MIRROR`, which blanks separate.
pub fn of_user(arguments: &[String]) -> Vec<String> {
    let variable = std::env::var("KEYWAY_DEBIAN_MIRROR").unwrap_or_default();
    arguments.iter().cloned().chain(variable.split_whitespace().map(str::to_owned)).collect()
}

/// The HTTP addresses that the apt sources under `apt` (on Debian `/etc/apt`) name; none where
/// there is no such folder.
pub fn of_machine(apt: &Path) -> Vec<String> {
    let mut files = vec![apt.join("sources.list")];
    if let Ok(folder) = fs::read_dir(apt.join("sources.list.d")) {
        let mut more: Vec<_> = folder.flatten().map(|entry| entry.path()).collect();
        more.sort();
        files.extend(more);
    }
    let mut found = Vec::new();
    for file in files {
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => text.lines().filter_map(one_line).for_each(|uri| found.push(uri)),
            Some("sources") => found.extend(deb822(&text)),
            _ => {}
        }
    }
    found.retain(|uri| uri.starts_with("http://") || uri.starts_with("https://"));
    found
}

/// `deb [options] URI suite components…`
fn one_line(line: &str) -> Option<String> {
    let rest = line.trim().strip_prefix("deb ")?.trim_start();
    let rest = match rest.strip_prefix('[') {
        Some(options) => options.split_once(']')?.1,
        None => rest,
    };
    rest.split_whitespace().next().map(str::to_owned)
}

fn deb822(text: &str) -> Vec<String> {
    let text: String =
        text.lines().filter(|line| !line.starts_with('#')).flat_map(|line| [line, "\n"]).collect();
    let mut found = Vec::new();
    for paragraph in Paragraph::all(&text) {
        let is = |field, word: &str| {
            paragraph.field(field).is_some_and(|value| value.split_whitespace().any(|w| w == word))
        };
        if is("Types", "deb") && !is("Enabled", "no") {
            let uris = paragraph.field("URIs").unwrap_or_default();
            found.extend(uris.split_whitespace().map(str::to_owned));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms_of_apt_sources() {
        let apt = tempfile::tempdir().expect("a folder");
        let lists = apt.path().join("sources.list.d");
        fs::create_dir(&lists).expect("a folder");
        let write = |path: &Path, text: &str| fs::write(path, text).expect("a file");
        write(
            &apt.path().join("sources.list"),
            "# deb http://commented.example/ x main\n\
             deb [arch=amd64 signed-by=/k.gpg] http://one.example/debian trixie main\n\
             deb-src http://source.example/ trixie main\n\
             deb cdrom:[Debian]/ trixie main\n",
        );
        write(
            &lists.join("b.sources"),
            "Types: deb deb-src\n# a comment\nURIs: https://two.example/debian\n http://three.example\n\
             Suites: trixie\n\nTypes: deb\nEnabled: no\nURIs: http://off.example\n\n\
             Types: deb-src\nURIs: http://source.example\n",
        );
        write(&lists.join("c.list.disabled"), "deb http://disabled.example/ x main\n");
        assert_eq!(
            of_machine(apt.path()),
            ["http://one.example/debian", "https://two.example/debian", "http://three.example"]
        );
        assert!(of_machine(&apt.path().join("nowhere")).is_empty());
    }

    #[test]
    fn tries_the_users_first_and_the_snapshot_last() {
        let mirrors = Mirrors::new(
            "trixie",
            &["http://user.example/debian/".into()],
            &["http://machine.example".into(), "http://user.example/debian".into()],
            &[(DebianArchive::Main, 1_795_252_544), (DebianArchive::Security, 1_795_377_537)],
        );
        let listed: Vec<_> = mirrors.list().collect();
        assert_eq!(
            listed,
            [
                ("http://user.example/debian", Origin::User),
                ("http://machine.example", Origin::Machine),
                (
                    "https://snapshot.debian.org/archive/debian/20261122T091544Z",
                    Origin::Snapshot(DebianArchive::Main)
                ),
                (
                    "https://snapshot.debian.org/archive/debian-security/20261123T195857Z",
                    Origin::Snapshot(DebianArchive::Security)
                ),
            ]
        );
    }
}
