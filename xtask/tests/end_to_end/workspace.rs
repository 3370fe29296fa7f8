//! A copy of this workspace in a temporary folder, and the tool run in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use keyway_manifest::Digest;
use serde_json::Value;
use tempfile::TempDir;

/// A copy of the files that git tracks or would track, as they are in the working tree.
pub(crate) struct Copy {
    dir: TempDir,
    root: PathBuf,
}

impl Copy {
    /// A copy in a folder called `name`, outside of any repository.
    pub(crate) fn new(name: &str) -> Self {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let dir = tempfile::tempdir().expect("a temporary folder");
        let root = dir.path().canonicalize().expect("it is there").join(name);
        let files =
            duct::cmd!("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard");
        let files = files.dir(from).read().expect("git lists the files");
        for file in files.split('\0').filter(|file| !file.is_empty() && from.join(file).is_file()) {
            let to = root.join(file);
            fs::create_dir_all(to.parent().expect("has one")).expect("create");
            fs::copy(from.join(file), to).expect("copy");
        }
        Self { dir, root }
    }

    /// The same for a static, which is never dropped: a process that waits for the end of this one, however
    /// it ends, deletes the copy.
    pub(crate) fn for_all_tests(name: &str) -> Self {
        let copy = Self::new(name);
        let script = "trap '' INT TERM; cat; rm -rf -- \"$1\"";
        let watcher = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(copy.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh starts");
        // Its standard input is closed when this process ends.
        std::mem::forget(watcher);
        copy
    }

    /// A copy of the SDK alone, with the images, targets and plugins still to be written.
    pub(crate) fn of_the_sdk(name: &str) -> Self {
        let copy = Self::new(name);
        for folder in
            ["plugins", "xtask", "crates/host", "crates/inspect", "crates/manifest", "crates/cases"]
        {
            fs::remove_dir_all(copy.path(folder)).expect("remove");
        }
        fs::remove_file(copy.path("Cargo.lock")).expect("remove");
        let text = fs::read_to_string(copy.path("Cargo.toml")).expect("read");
        let members = text.lines().find(|line| line.starts_with("members = ")).expect("members");
        copy.write("Cargo.toml", &text.replace(members, "members = [\"crates/*\", \"plugins/*\"]"));
        // Tests of the SDK's parts are not of this workspace.
        for name in ["abi", "macros", "sdk"] {
            let path = format!("crates/{name}/Cargo.toml");
            let text = fs::read_to_string(copy.path(&path)).expect("read");
            copy.write(&path, &text.replace("[dev-dependencies]", "[package.metadata.none]"));
        }
        copy
    }

    /// Writes a file.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("has one")).expect("create");
        fs::write(path, text).expect("write");
    }

    /// Writes the manifest of a plugin that uses the SDK; `more` goes on after `[dependencies]`.
    pub(crate) fn plugin(&self, name: &str, more: &str) {
        let manifest = format!(
            "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\n\
             crate-type = [\"cdylib\"]\n\n[dependencies]\nkeyway-sdk.workspace = true\n{more}"
        );
        self.write(&format!("plugins/{name}/Cargo.toml"), &manifest);
    }

    /// Writes the lock file.
    pub(crate) fn resolve(&self) {
        let resolve = duct::cmd!("cargo", "generate-lockfile").dir(&self.root);
        resolve.stderr_capture().run().expect("cargo resolves the workspace");
    }

    /// A path in the copy.
    pub(crate) fn path(&self, relative: &str) -> PathBuf {
        assert!(self.dir.path().is_dir(), "the copy lives as long as this value");
        self.root.join(relative)
    }

    /// The tool with `arguments`, in the copy.
    pub(crate) fn command(&self, arguments: &[&str]) -> duct::Expression {
        duct::cmd(env!("CARGO_BIN_EXE_xtask"), arguments)
            .dir(&self.root)
            .env_remove("KEYWAY_ENGINE")
            .stdin_null()
    }

    /// Runs the tool with `--json` and returns what it printed; it must succeed.
    pub(crate) fn xtask(&self, arguments: &[&str]) -> Vec<u8> {
        let arguments = [&["--json"], arguments].concat();
        let run = self.command(&arguments).stdout_capture().stderr_capture().unchecked().run();
        let run = run.expect("the tool starts");
        let said = String::from_utf8_lossy(&run.stderr);
        assert!(run.status.success(), "{arguments:?} ended with {}\n{said}", run.status);
        run.stdout
    }

    /// Deletes what a daemon keeps of the copy.
    pub(crate) fn delete_volumes(&self) {
        Self::delete_volumes_of(&self.root);
    }

    /// Deletes what a daemon keeps of folders below `root`.
    pub(crate) fn delete_volumes_of(root: &Path) {
        let format = "{{.Name}} {{.Label \"keyway.folder\"}}";
        let list = duct::cmd!("docker", "volume", "ls", "--format", format).read().expect("a list");
        let root = root.to_str().expect("UTF-8");
        let ours = list.lines().filter_map(|line| line.split_once(' '));
        for (volume, _) in ours.filter(|(_, folder)| folder.starts_with(root)) {
            let rm = duct::cmd!("docker", "volume", "rm", "--force", volume);
            rm.stdout_null().unchecked().run().expect("docker starts");
        }
    }

    /// The digest of every file in `dist`, by its path there.
    pub(crate) fn digests(&self) -> BTreeMap<PathBuf, Digest> {
        let dist = self.path("dist");
        let mut digests = BTreeMap::new();
        let mut folders = vec![dist.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).expect("list") {
                let path = entry.expect("list").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let digest = Digest::of(fs::read(&path).expect("read"));
                    digests.insert(path.strip_prefix(&dist).expect("below").to_owned(), digest);
                }
            }
        }
        digests
    }
}

/// The events in what the tool printed.
pub(crate) fn events(stdout: impl AsRef<[u8]>) -> Vec<Value> {
    let events = json(stdout.as_ref());
    assert_eq!(events.last().expect("at least one")["event"], "summary");
    events
}

/// One JSON object a line.
pub(crate) fn json(stdout: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stdout).expect("UTF-8");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}
