//! A test image of two layers around one static program, and the engines that work here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command as Process;
use std::sync::LazyLock;

use keyway_manifest::{Digest, Hasher};
use keyway_xtask::cache::Cache;
use keyway_xtask::container::{Access, Command, Image, Layer, Mount};
use keyway_xtask::engine::{
    Client, Containers, Engine, EngineError, Folders, Kind, Owner, Sandbox, Service, Stream,
};
use keyway_xtask::shell::Shell;
use tempfile::TempDir;

/// 2026-01-01, as an image's clamped times are.
pub(crate) const EPOCH: u64 = 1_767_225_600;

static SHELL: LazyLock<Shell> = LazyLock::new(Shell::silent);
static PROBE: LazyLock<Vec<u8>> = LazyLock::new(|| match std::env::var_os(PROGRAM) {
    Some(program) => fs::read(program).unwrap(),
    None => compile_probe(),
});
/// Names the program where it can't be compiled.
pub(crate) const PROGRAM: &str = "KEYWAY_TEST_PROBE";

/// The program is linked statically, so that the image needs no libc.
fn compile_probe() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("probe");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engines/probe.rs");
    let rustc = std::env::var_os("RUSTC").unwrap_or("rustc".into());
    let done = Process::new(rustc)
        .args(["--edition", "2024", "-Ctarget-feature=+crt-static", "-o"])
        .args([&program, &source])
        .status()
        .unwrap();
    assert!(done.success());
    fs::read(program).unwrap()
}

/// A cache of its own, with images in it.
pub(crate) struct Fixture {
    folder: TempDir,
}

/// Volumes stay for the next run; there is none.
impl Drop for Fixture {
    fn drop(&mut self) {
        let label = format!("label=keyway.cache={}", self.path().join("cache").display());
        let list = duct::cmd!("docker", "volume", "ls", "--quiet", "--filter", label);
        let volumes = list.stderr_null().read().unwrap_or_default();
        for volume in volumes.lines() {
            // Containers that use it are about to end.
            for _ in 0..50 {
                let rm = duct::cmd!("docker", "volume", "rm", volume).stdout_null().stderr_null();
                if rm.unchecked().run().is_ok_and(|output| output.status.success()) {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
        }
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn cache(&self) -> Cache {
        Cache::at(self.path().join("cache")).unwrap()
    }

    pub(crate) fn sandbox(&self) -> Sandbox<'static> {
        Sandbox::new(env!("CARGO_BIN_EXE_xtask").into(), self.cache(), &SHELL)
    }

    /// The engine of containers that `client` leads to, if it works here; says why not.
    pub(crate) fn containers(&self, client: Client) -> Option<Containers<'static>> {
        match Service::find(client) {
            Ok(service) => {
                Some(Containers::new(service, Owner::this_process(), self.cache(), &SHELL))
            }
            Err(error) => {
                eprintln!("skipped: {error}");
                None
            }
        }
    }

    pub(crate) fn docker(&self) -> Option<Containers<'static>> {
        self.containers(Client::of(Kind::Docker))
    }

    /// Every engine that works on this machine, Docker with folders mounted and with files copied;
    /// says which does not.
    pub(crate) fn engines(&self) -> Vec<(&'static str, Box<dyn Engine>)> {
        let mut engines: Vec<(&'static str, Box<dyn Engine>)> = Vec::new();
        for (label, kind, folders) in [
            ("docker", Kind::Docker, Folders::Mounted),
            ("copying docker", Kind::Docker, Folders::Copied),
            ("podman", Kind::Podman, Folders::Mounted),
        ] {
            match Service::find(Client::of(kind)) {
                Ok(service) => {
                    let service = service.with_folders(folders);
                    let owner = Owner::this_process();
                    let engine = Containers::new(service, owner, self.cache(), &SHELL);
                    engines.push((label, Box::new(engine)));
                }
                Err(error) => eprintln!("skipped: {error}"),
            }
        }
        let sandbox = self.sandbox();
        match sandbox.probe() {
            Ok(()) => engines.push(("sandbox", Box::new(sandbox))),
            Err(error) => eprintln!("skipped: {error}"),
        }
        assert!(!engines.is_empty(), "no engine works here");
        engines
    }

    /// An image of these layers.
    pub(crate) fn image(&self, layers: Vec<Layer>) -> Image {
        let diff_ids: Vec<String> = layers.iter().map(|one| one.diff_id.prefixed()).collect();
        let config_json = serde_json::to_vec(&serde_json::json!({
            "architecture": std::env::consts::ARCH.replace("x86_64", "amd64"),
            "os": "linux",
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        }))
        .unwrap();
        let descriptor = |media: &str, digest: Digest, size: u64| {
            serde_json::json!({
                "mediaType": format!("application/vnd.oci.image.{media}"),
                "digest": digest.prefixed(),
                "size": size,
            })
        };
        let manifest_json = serde_json::to_vec(&serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor(
                "config.v1+json", Digest::of(&config_json), config_json.len() as u64,
            ),
            "layers": layers
                .iter()
                .map(|one| descriptor("layer.v1.tar", one.diff_id, one.size))
                .collect::<Vec<_>>(),
        }))
        .unwrap();
        Image {
            name: "probe".to_owned(),
            config: Digest::of(&config_json),
            manifest: Digest::of(&manifest_json),
            config_json,
            manifest_json,
            layers,
            env: BTreeMap::from([("PATH".to_owned(), "/bin".to_owned())]),
            epoch: EPOCH,
        }
    }

    /// The image with the program in it.
    pub(crate) fn probe(&self) -> Image {
        let base = self.layer("base", |tar| {
            tar.folder("bin", 0o755);
            tar.file("bin/probe", 0o755, &PROBE);
            for name in ["dev", "etc", "proc", "tmp", "usr", "usr/share"] {
                tar.folder(name, 0o755);
            }
            tar.file("etc/motd", 0o644, b"from the lower layer");
        });
        let top = self.layer("top", |tar| {
            tar.folder("etc", 0o755);
            tar.file("etc/motd", 0o644, b"from the upper layer");
        });
        self.image(vec![base, self.shell(), top])
    }

    /// A layer with what an engine of containers asks of an image: this machine's own programs, and
    /// the libraries that they load.
    fn shell(&self) -> Layer {
        let mut files = BTreeMap::new();
        for name in ["cat", "cp", "env", "rm", "sh", "true"] {
            let program = Path::new("/bin").join(name).canonicalize().unwrap();
            let listed = Process::new("ldd").arg(&program).output().unwrap();
            let listed = String::from_utf8(listed.stdout).unwrap();
            for word in listed.split_whitespace().filter(|word| word.starts_with('/')) {
                files.insert(word.to_owned(), PathBuf::from(word));
            }
            files.insert(format!("/bin/{name}"), program);
        }
        self.layer("shell", |tar| {
            let mut folders: Vec<_> = files.keys().flat_map(|f| Path::new(f).ancestors()).collect();
            folders.sort();
            folders.dedup();
            for folder in folders.into_iter().filter(|folder| folder.components().count() > 1) {
                let folder = folder.to_str().unwrap();
                if folder != "/bin" && !files.contains_key(folder) {
                    tar.folder(folder.trim_start_matches('/'), 0o755);
                }
            }
            for (path, file) in &files {
                tar.file(path.trim_start_matches('/'), 0o755, &fs::read(file).unwrap());
            }
        })
    }

    /// The program itself.
    pub(crate) fn program(&self) -> &'static [u8] {
        &PROBE
    }

    /// A layer that `fill` writes.
    pub(crate) fn layer(&self, name: &str, fill: impl FnOnce(&mut LayerBuilder)) -> Layer {
        let file = self.path().join(format!("{name}.tar"));
        let mut builder = LayerBuilder(tar::Builder::new(File::create(&file).unwrap()));
        fill(&mut builder);
        builder.0.finish().unwrap();
        drop(builder);
        layer_of(file)
    }
}

/// The file as a layer, with its true digest.
pub(crate) fn layer_of(file: PathBuf) -> Layer {
    let mut hasher = Hasher::new();
    let size = std::io::copy(&mut File::open(&file).unwrap(), &mut hasher).unwrap();
    Layer { diff_id: hasher.finish(), size, file }
}

/// Writes entries that no well-meant program would.
pub(crate) struct LayerBuilder(tar::Builder<File>);

impl LayerBuilder {
    pub(crate) fn folder(&mut self, name: &str, mode: u32) {
        self.entry(tar::EntryType::Directory, name, mode, "", b"");
    }

    pub(crate) fn file(&mut self, name: &str, mode: u32, bytes: &[u8]) {
        self.entry(tar::EntryType::Regular, name, mode, "", bytes);
    }

    pub(crate) fn link(&mut self, name: &str, to: &str) {
        self.entry(tar::EntryType::Symlink, name, 0o777, to, b"");
    }

    pub(crate) fn hard_link(&mut self, name: &str, to: &str) {
        self.entry(tar::EntryType::Link, name, 0o644, to, b"");
    }

    pub(crate) fn device(&mut self, name: &str) {
        self.entry(tar::EntryType::Char, name, 0o666, "", b"");
    }

    /// The name goes into the header as it is; the tar crate would refuse a bad one.
    fn entry(&mut self, kind: tar::EntryType, name: &str, mode: u32, link: &str, bytes: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(EPOCH);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        self.0.append(&header, bytes).unwrap();
    }
}

/// Brings what a command wrote to `/out/file` here.
pub(crate) fn collect(engine: &dyn Engine, image: &Image, command: &Command) {
    engine.collect(image, command, &["/out/file".into()]).unwrap();
}

/// The program with these arguments, in a folder that exists in the image.
pub(crate) fn probe(args: &[&str]) -> Command {
    let argv = std::iter::once("probe").chain(args.iter().copied()).map(Into::into).collect();
    Command { argv, workdir: "/usr".into(), ..Command::default() }
}

pub(crate) fn mount(host: &Path, guest: &str, access: Access) -> Mount {
    Mount { host: host.to_owned(), guest: guest.into(), access }
}

/// What a command wrote to stdout and stderr, and how it ended.
pub(crate) fn run(
    engine: &dyn Engine,
    image: &Image,
    command: &Command,
) -> (String, String, Result<(), EngineError>) {
    let (mut stdout, mut stderr) = (String::new(), String::new());
    let result = engine.run(image, command, &mut |stream, line| {
        let text = match stream {
            Stream::Stdout => &mut stdout,
            Stream::Stderr => &mut stderr,
        };
        text.push_str(line);
        text.push('\n');
    });
    (stdout, stderr, result)
}
