//! Docker and Podman, through their command lines, so that contexts and credentials work as for the
//! user.
//!
//! An image gets one container for each set of folders, and commands share it one after the other
//! ([`warm`]). Containers end and are removed when this process lets go of them or is gone; one that
//! a lost daemon left behind is found by its label and removed by the next run.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use keyway_manifest::Digest;
use keyway_manifest::text::Show as _;

use super::capabilities::{Capabilities, Folders};
use super::client::{Client, Kind, Service};
use super::options::{self, Container, LABEL};
use super::sight::Sight;
use super::volumes::Volumes;
use super::warm::{Reuse, Warm};
use super::{Engine, EngineError, Invocation, Owner, Prepared, Shelf, Stream, view};
use crate::cache::Cache;
use crate::container::{Access, Command, Image, Mount};
use crate::image;
use crate::shell::Shell;

/// Containers that this process has started; no two share a name.
static N_STARTED: AtomicU32 = AtomicU32::new(0);

/// An engine of containers.
#[derive(Debug)]
pub struct Containers<'a> {
    service: Service,
    owner: Owner,
    swept: Once,
    shell: &'a Shell,
    shelf: Shelf,
    /// By image and folders: containers that no command is using.
    idle: Mutex<BTreeMap<Key, Vec<Warm>>>,
    /// What the daemon was found to see of this machine, where that is not known.
    sight: Sight,
    volumes: Volumes,
}

/// What commands must have in common to share a container.
type Key = (OsString, Vec<Vec<OsString>>);

impl<'a> Containers<'a> {
    /// The engine on a service that answered; its containers belong to `owner`.
    pub fn new(service: Service, owner: Owner, cache: Cache, shell: &'a Shell) -> Self {
        Self {
            service,
            owner,
            swept: Once::new(),
            shell,
            shelf: Shelf::default(),
            idle: Mutex::default(),
            sight: Sight::default(),
            volumes: Volumes::new(cache),
        }
    }

    fn client(&self) -> &Client {
        &self.service.client
    }

    /// Removes containers whose tool is gone. What fails here fails again, louder, later.
    fn sweep(&self) {
        let format = format!("{{{{.ID}}}} {{{{.Label \"{LABEL}\"}}}}");
        let filter = format!("label={LABEL}");
        let list = ["ps", "--all", "--no-trunc", "--filter", &filter, "--format", &format];
        let Ok(list) = self.client().ask(list) else {
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
        // It may have been killed, or have ended a moment ago, and its container is about to.
        let n = gone.len();
        self.shell.detail("Removing", format_args!("{n} container(s) of runs that are over"));
        let args = ["rm", "--force"].into_iter().chain(gone);
        let _ = self.client().ask(args);
    }

    /// What the engine calls the image, if it has it: its config digest, or with containerd's
    /// image store its manifest digest.
    fn find(&self, image: &Image) -> Option<OsString> {
        [image.config, image.manifest].into_iter().find_map(|digest| {
            let id = digest.prefixed();
            let args = ["image", "inspect", "--format", "{{.Id}}", &id];
            self.client().ask(args).ok().map(|_| id.into())
        })
    }

    /// Has the engine read the image's archive from a pipe, so that no copy of it lies on disk.
    fn load(&self, image: &Image) -> io::Result<()> {
        let (reader, mut writer) = io::pipe()?;
        let loading = self
            .client()
            .command(["load", "--quiet"])
            .stdin_file(reader)
            .stdout_null()
            .stderr_capture()
            .unchecked()
            .start()?;
        let written = image::write_archive(&[image], &mut writer);
        drop(writer);
        let output = loading.wait()?;
        if output.status.success() {
            return written;
        }
        // What the client says comes first: a broken pipe is only its echo.
        let said = String::from_utf8_lossy(&output.stderr);
        Err(io::Error::other(self.client().reason(said.trim())))
    }

    /// What is started for an image with these folders; no effects.
    ///
    /// # Errors
    /// If a path can't be passed to this engine.
    pub fn invocation(
        &self,
        image: &Prepared,
        mounts: &[Mount],
    ) -> Result<Invocation, EngineError> {
        let kind = self.client().kind;
        let mounts = mounts.iter().map(|mount| options::bind(kind, mount));
        Ok(self.shell_in(image, &mounts.collect::<Result<Vec<_>, _>>()?, Access::ReadOnly))
    }

    /// What is started for a shell in a new container.
    pub(super) fn shell_in(
        &self,
        image: &Prepared,
        mounts: &[Vec<OsString>],
        root: Access,
    ) -> Invocation {
        let serial = N_STARTED.fetch_add(1, Ordering::Relaxed);
        let owner = self.owner.label();
        let name = format!("keyway-{}-{serial}", Digest::of(&owner).short());
        let program = OsString::from(self.client().name());
        let mut force = vec![program.clone()];
        force.extend(self.client().global());
        force.extend(["rm", "--force", &name].map(OsString::from));
        let container = Container { name: &name, owner: &owner, root, image };
        Invocation {
            engine: self.client().name(),
            program,
            args: options::run(&self.service, container, mounts),
            force,
            command: super::warm::SHELL.to_owned(),
        }
    }

    /// How a command gets at its folders; tried with an image that the engine has.
    fn folders(&self, image: &Prepared, mounts: &[Mount]) -> Folders {
        let told = self.service.capabilities.folders;
        if told == Folders::Mounted && self.service.is_guess {
            self.sight.of(mounts, |file| is_found(self.client(), image, file))
        } else {
            told
        }
    }

    /// The options for the command's folders; sends what they hold where it can't be mounted.
    fn mounts(
        &self,
        image: &Prepared,
        command: &Command,
    ) -> Result<Vec<Vec<OsString>>, EngineError> {
        let in_order = |mounts: &[Mount]| {
            let mut mounts = mounts.to_vec();
            // A folder before what is mounted below it.
            mounts.sort_by_key(|mount| mount.guest.components().count());
            mounts
        };
        let mounts = in_order(&command.mounts);
        if let Some(mount) = mounts.iter().find(|mount| !mount.host.exists()) {
            return Err(EngineError::NotStarted {
                engine: self.name(),
                command: super::display(&command.argv),
                reason: format!("could not find `{}` on this machine", mount.host.shown()),
            });
        }
        match self.folders(image, &command.mounts) {
            Folders::Copied => self.volumes.send(self, image, &mounts),
            Folders::Mounted => {
                let kind = self.client().kind;
                let command = view::of(self.name(), command, self.volumes.cache())?;
                in_order(&command.mounts).iter().map(|mount| options::bind(kind, mount)).collect()
            }
        }
    }

    /// Runs a command in a container that is idle, or in a new one, which it returns with the result.
    fn run_in(
        &self,
        image: &Prepared,
        key: &Key,
        command: &Command,
        on_line: &mut dyn FnMut(Stream, &str),
    ) -> Result<Option<Warm>, EngineError> {
        let text = super::display(&command.argv);
        let workdir = super::guest_path(self.name(), &command.workdir)?;
        let idle = self.idle().get_mut(key).and_then(Vec::pop);
        let mut warm = match idle {
            Some(mut warm) => {
                warm.called(text.clone());
                warm
            }
            None => {
                let mut invocation = self.shell_in(image, &key.1, Access::ReadOnly);
                self.shell.detail("Starting", &invocation);
                invocation.command.clone_from(&text);
                Warm::start(invocation, Reuse::for_mounts(&command.mounts))?
            }
        };
        self.shell.detail("Running", &text);
        let env = super::environment(image, command);
        let Some(done) = warm.run(&command.argv, &env, &workdir, command.limit, on_line)? else {
            let reason = warm.lost()?;
            return Err(EngineError::Lost { engine: self.name(), command: text, reason });
        };
        let warm = done.is_clean.then_some(warm);
        let judged = done.judge(self.name(), &text);
        match (judged, warm) {
            (Ok(()), warm) => Ok(warm),
            (Err(error), warm) => {
                if let Some(warm) = warm {
                    self.keep(key, warm);
                }
                Err(error)
            }
        }
    }

    fn keep(&self, key: &Key, warm: Warm) {
        self.idle().entry(key.clone()).or_default().push(warm);
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, BTreeMap<Key, Vec<Warm>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The volumes that stand for folders.
    pub(super) fn volumes(&self) -> &Volumes {
        &self.volumes
    }

    /// The service that it runs on.
    pub(super) fn service(&self) -> &Service {
        &self.service
    }
}

impl Engine for Containers<'_> {
    fn name(&self) -> &'static str {
        self.client().name()
    }

    fn capabilities(&self) -> Capabilities {
        let told = self.service.capabilities;
        if told.folders == Folders::Copied || !self.service.is_guess {
            return told;
        }
        // Nobody may rely on what was not tried.
        Capabilities { folders: self.sight.so_far().unwrap_or(Folders::Copied), ..told }
    }

    fn description(&self) -> String {
        let capabilities = self.capabilities();
        let known = !self.service.is_guess || self.sight.so_far().is_some();
        let described = capabilities.describe(known.then_some(capabilities.folders));
        format!("{} {} ({described})", self.name(), self.service.version)
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
            let name = self.name();
            self.shell.status("Loading", format_args!("image {} into {name}", image.name));
            let failed = |reason: String| EngineError::Load {
                engine: name,
                image: image.name.clone(),
                reason,
            };
            self.load(image).map_err(|error| failed(error.to_string()))?;
            self.find(image).ok_or_else(|| {
                failed(format!("it is not there afterwards under `{}`", image.config.prefixed()))
            })
        })
    }

    fn run(
        &self,
        image: &Image,
        command: &Command,
        on_line: &mut dyn FnMut(Stream, &str),
    ) -> Result<(), EngineError> {
        let image = self.prepare(image)?;
        let key = (image.location.clone(), self.mounts(&image, command)?);
        if let Some(warm) = self.run_in(&image, &key, command, on_line)? {
            self.keep(&key, warm);
        }
        Ok(())
    }

    fn run_once(&self, image: &Image, command: &Command) -> Result<(), EngineError> {
        let prepared = self.prepare(image)?;
        let key = (prepared.location.clone(), self.mounts(&prepared, command)?);
        let ran = self.run_in(&prepared, &key, command, &mut |_, _| {});
        // A failed one left its container there.
        drop(self.idle().remove(&key));
        drop(ran?);
        match self.folders(&prepared, &command.mounts) {
            Folders::Mounted => Ok(()),
            Folders::Copied => self.volumes.take_back(self, &prepared, &command.mounts),
        }
    }

    fn collect(
        &self,
        image: &Image,
        command: &Command,
        files: &[PathBuf],
    ) -> Result<(), EngineError> {
        let image = self.prepare(image)?;
        match self.folders(&image, &command.mounts) {
            Folders::Mounted => Ok(()),
            Folders::Copied => self.volumes.fetch(self, &image, &command.mounts, files),
        }
    }
}

/// Whether the daemon finds a file of this machine: it refuses to mount what is not there already when
/// it creates a container, so none has to be started.
fn is_found(client: &Client, image: &Prepared, file: &Path) -> bool {
    let guest = PathBuf::from("/keyway-probe");
    let mount = Mount { host: file.to_owned(), guest, access: Access::ReadOnly };
    let Ok(mount) = options::bind(Kind::Docker, &mount) else { return false };
    let mut args: Vec<OsString> = ["create", "--network", "none"].map(OsString::from).into();
    args.extend(mount);
    args.extend([image.location.clone(), super::warm::SHELL.into()]);
    let created = client.ask(args);
    if let Ok(id) = &created {
        let _ = client.ask(["rm", "--force", id]);
    }
    created.is_ok()
}
