//! Folders for containers of an engine that can't mount this machine's: each has a named volume on
//! the engine's side, and what changed in it, by content, is sent before a command.
//!
//! Files travel as tars through `cp`, by way of a *courier*: a container with the same volumes, all
//! writable. What this machine has sent, and what it fetched, is in an index in the cache; a volume
//! carries a random label, so that an index is never believed about another volume of the name. A
//! file's time is set to that of its arrival by the engine's own clock: cargo compares it with the
//! time of what it made there, and two machines' clocks differ.
//!
//! What is not sent, [`listing`] says. A read-write folder's volume belongs to the commands, as cargo's target folder does: only what
//! changes on this side is sent there, and nothing is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::hash::{BuildHasher, Hasher};
use std::path::{Component, Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use keyway_manifest::Digest;
use serde::{Deserialize, Serialize};

use super::containers::Containers;
use super::listing::{self, Entry, slashed};
use super::transfer::{Writer, transfer, unpack, upload};
use super::warm::{Reuse, Warm};
use super::{Client, Engine, EngineError, Prepared, options};
use crate::cache::{Cache, write_atomically};
use crate::container::{Access, Mount};
use crate::inputs::StatCache;
use crate::time::epoch_of;

/// What tells volumes of one name apart.
const ID: &str = "keyway.id";
/// Names the folder of this machine, for people.
const FOLDER: &str = "keyway.folder";
/// Names the cache that has the index.
const CACHE: &str = "keyway.cache";
/// Names the machine, in letters that no other one has.
const MACHINE: &str = "keyway.machine";
/// Where the courier gathers what is fetched.
const OUT: &str = "keyway-out";

/// The volumes that this process uses.
#[derive(Debug)]
pub(super) struct Volumes {
    cache: Cache,
    /// One transfer at a time; couriers by their volumes.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    indexes: BTreeMap<String, Index>,
    couriers: BTreeMap<Vec<String>, Courier>,
}

#[derive(Debug)]
struct Courier {
    name: OsString,
    warm: Warm,
}

/// What a volume holds of this machine's files.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Index {
    id: String,
    files: BTreeMap<String, Entry>,
}

/// A folder to bring up to date.
pub(super) struct Parcel<'a> {
    pub(super) mount: &'a Mount,
    volume: String,
    index: Index,
    pub(super) send: Vec<String>,
    delete: Vec<String>,
    pub(super) found: BTreeMap<String, Entry>,
}

type Result<T> = std::result::Result<T, EngineError>;

impl Volumes {
    pub(super) fn new(cache: Cache) -> Self {
        Self { cache, state: Mutex::default() }
    }

    /// The cache that has the indexes.
    pub(super) fn cache(&self) -> &Cache {
        &self.cache
    }

    /// Brings the volumes of `mounts` up to date; returns the options that show them.
    pub(super) fn send(
        &self,
        engine: &Containers<'_>,
        image: &Prepared,
        mounts: &[Mount],
    ) -> Result<Vec<Vec<OsString>>> {
        let failed = |error: crate::cache::CacheError| transfer(engine, &error);
        let _lock = self.cache.lock("volumes", engine.shell()).map_err(failed)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let parcels = mounts.iter().map(|mount| self.parcel(engine, &mut state, mount));
        let parcels = parcels.collect::<Result<Vec<_>>>()?;
        if parcels.iter().any(|parcel| !parcel.send.is_empty() || !parcel.delete.is_empty()) {
            self.deliver(engine, image, &mut state, mounts, &parcels)?;
        }
        let kind = engine.service().client.kind;
        let mut shown = Vec::new();
        for Parcel { mount, volume, mut index, found, send, delete } in parcels {
            shown.push(options::volume(kind, &volume, mount, mount.access)?);
            if !send.is_empty() || !delete.is_empty() {
                match mount.access {
                    Access::ReadOnly => index.files = found,
                    Access::ReadWrite => index.files.extend(found),
                }
                self.save(engine, &volume, &index)?;
            }
            state.indexes.insert(volume, index);
        }
        Ok(shown)
    }

    /// Fetches files that a command made in its read-write folders, by their paths inside; one that
    /// is not there is left out.
    pub(super) fn fetch(
        &self,
        engine: &Containers<'_>,
        image: &Prepared,
        mounts: &[Mount],
        files: &[PathBuf],
    ) -> Result<()> {
        const GATHER: &str = "rm -rf /keyway-out/*; for file; do \
             [ ! -f \"$file\" ] || cp --parents -- \"$file\" /keyway-out || exit; done";
        if files.is_empty() {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let courier = courier(engine, image, &mut state, &self.names(mounts), mounts)?;
        let mut argv: Vec<OsString> = ["/bin/sh", "-c", GATHER, "sh"].map(OsString::from).into();
        argv.extend(files.iter().map(|file| file.clone().into_os_string()));
        courier.run(engine, image, &argv)?;
        let name = courier.name.clone();
        let wanted: BTreeSet<&PathBuf> = files.iter().collect();
        let place = |path: &Path| {
            let guest = Path::new("/").join(path.strip_prefix(OUT).ok()?);
            wanted.contains(&guest).then(|| place(mounts, &guest)).flatten()
        };
        let fetched = unpack(engine, &name, OUT, &place)?;
        self.note(engine, &mut state, mounts, &fetched)
    }

    /// Fetches all that is in the read-write folders and deletes their volumes: nothing else will use
    /// them.
    pub(super) fn take_back(
        &self,
        engine: &Containers<'_>,
        image: &Prepared,
        mounts: &[Mount],
    ) -> Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let names = self.names(mounts);
        let courier = courier(engine, image, &mut state, &names, mounts)?;
        let name = courier.name.clone();
        let own: Vec<&Mount> =
            mounts.iter().filter(|mount| mount.access == Access::ReadWrite).collect();
        for mount in &own {
            let last = PathBuf::from(mount.guest.file_name().unwrap_or_default());
            let guest = mount.guest.to_string_lossy();
            let place = |path: &Path| {
                let below = path.strip_prefix(&last).ok()?;
                is_plain(below).then(|| mount.host.join(below))
            };
            unpack(engine, &name, guest.trim_start_matches('/'), &place)?;
        }
        if let Some(courier) = state.couriers.remove(&names) {
            courier.warm.end()?;
        }
        for mount in own {
            let volume = self.name(mount);
            state.indexes.remove(&volume);
            let _ = fs::remove_file(self.cache.root().join("sent").join(format!("{volume}.json")));
            let _ = engine.service().client.ask(["volume", "rm", "--force", &volume]);
        }
        Ok(())
    }

    /// The volume of a folder: of this cache, so of this user on this machine, and its path.
    fn name(&self, mount: &Mount) -> String {
        let place = format!(
            "{}\n{}\n{}",
            machine(),
            self.cache.root().to_string_lossy(),
            mount.host.to_string_lossy()
        );
        format!("keyway-{}", Digest::of(place).short())
    }

    fn names(&self, mounts: &[Mount]) -> Vec<String> {
        let mut names: Vec<_> = mounts.iter().map(|mount| self.name(mount)).collect();
        names.sort();
        names
    }

    /// What has to be done to a folder's volume, which is created.
    fn parcel<'m>(
        &self,
        engine: &Containers<'_>,
        state: &mut State,
        mount: &'m Mount,
    ) -> Result<Parcel<'m>> {
        if mount.host.is_file() {
            return Err(EngineError::Unsupported {
                engine: engine.name(),
                value: mount.host.to_string_lossy().into_owned(),
                reason: "only folders can be sent to a daemon elsewhere, not single files",
            });
        }
        let volume = self.name(mount);
        let index = match state.indexes.get(&volume) {
            Some(index) => index.clone(),
            None => self.open(engine, &volume, mount)?,
        };
        let path = self.folder(engine)?.join(format!("{volume}.stat.json"));
        let mut stat = StatCache::open(path);
        let mut found = BTreeMap::new();
        listing::walk(&mount.host, "", &mut stat, &mut found)
            .map_err(|error| transfer(engine, &error))?;
        stat.save().map_err(|error| transfer(engine, &error))?;
        let send = found.iter().filter(|(path, entry)| index.files.get(*path) != Some(entry));
        let send = send.map(|(path, _)| path.clone()).collect();
        let gone = |path: &&String| !found.contains_key(*path);
        let delete = match mount.access {
            Access::ReadOnly => index.files.keys().filter(gone).cloned().collect(),
            Access::ReadWrite => Vec::new(),
        };
        Ok(Parcel { mount, volume, index, send, delete, found })
    }

    /// The index of a volume; empty if the volume is a new one.
    fn open(&self, engine: &Containers<'_>, volume: &str, mount: &Mount) -> Result<Index> {
        let client = &engine.service().client;
        let format = format!("{{{{index .Labels \"{ID}\"}}}}");
        let known = client.ask(["volume", "inspect", "--format", &format, volume]);
        if let Ok(id) = known
            && let Ok(bytes) = fs::read(self.folder(engine)?.join(format!("{volume}.json")))
            && let Ok(index) = serde_json::from_slice::<Index>(&bytes)
            && index.id == id
        {
            return Ok(index);
        }
        // What is in it is not known, or it is not there.
        let _ = client.ask(["volume", "rm", "--force", volume]);
        let number = std::hash::RandomState::new().build_hasher().finish();
        let id = format!("{number:016x}");
        let labels = [
            format!("{ID}={id}"),
            format!("{FOLDER}={}", mount.host.to_string_lossy()),
            format!("{CACHE}={}", self.cache.root().to_string_lossy()),
            format!("{MACHINE}={}", Digest::of(machine()).short()),
        ];
        let labels = labels.iter().flat_map(|label| ["--label", label]);
        let create = ["volume", "create"].into_iter().chain(labels).chain([volume]);
        client.ask(create).map_err(|error| transfer(engine, &error))?;
        Ok(Index { id, files: BTreeMap::new() })
    }

    fn folder(&self, engine: &Containers<'_>) -> Result<PathBuf> {
        self.cache.dir("sent").map_err(|error| transfer(engine, &error))
    }

    fn save(&self, engine: &Containers<'_>, volume: &str, index: &Index) -> Result<()> {
        let path = self.folder(engine)?.join(format!("{volume}.json"));
        let bytes = serde_json::to_vec(index).expect("strings and digests");
        write_atomically(&path, &bytes).map_err(|error| transfer(engine, &error))
    }

    fn deliver(
        &self,
        engine: &Containers<'_>,
        image: &Prepared,
        state: &mut State,
        mounts: &[Mount],
        parcels: &[Parcel<'_>],
    ) -> Result<()> {
        let n_files: usize = parcels.iter().map(|parcel| parcel.send.len()).sum();
        engine.shell().detail("Sending", format_args!("{n_files} changed files"));
        // An index that says less than is there only costs time; one that says more is wrong.
        for parcel in
            parcels.iter().filter(|parcel| !parcel.delete.is_empty() || !parcel.send.is_empty())
        {
            let gone = |path: &String| parcel.delete.contains(path) || parcel.send.contains(path);
            let mut index = parcel.index.clone();
            index.files.retain(|path, _| !gone(path));
            self.save(engine, &parcel.volume, &index)?;
        }
        let names = self.names(mounts);
        let courier = courier(engine, image, state, &names, mounts)?;
        for parcel in parcels {
            let paths = parcel.delete.iter().map(|path| parcel.mount.guest.join(path));
            let paths: Vec<OsString> = paths.map(PathBuf::into_os_string).collect();
            for some in paths.chunks(500) {
                let rm = ["rm", "-rf", "--"].map(OsString::from);
                courier.run(engine, image, &[&rm[..], some].concat())?;
            }
        }
        let name = courier.name.clone();
        let client = &engine.service().client;
        let time = client.ask(["info", "--format", "{{.SystemTime}}"]);
        let time = time.ok().and_then(|text| epoch_of(&text)).unwrap_or_default();
        let (user, group) = engine.service().user.unwrap_or((0, 0));
        upload(engine, &name, |tar| {
            let mut writer = Writer { tar, time, user, group };
            parcels.iter().try_for_each(|parcel| writer.parcel(parcel))
        })
    }

    /// Remembers what came from the volume, so that it is not sent back.
    fn note(
        &self,
        engine: &Containers<'_>,
        state: &mut State,
        mounts: &[Mount],
        fetched: &[PathBuf],
    ) -> Result<()> {
        for mount in mounts.iter().filter(|mount| mount.access == Access::ReadWrite) {
            let volume = self.name(mount);
            let Some(index) = state.indexes.get_mut(&volume) else {
                continue;
            };
            for path in fetched.iter().filter(|path| path.starts_with(&mount.host)) {
                let relative = path.strip_prefix(&mount.host).unwrap_or(path);
                for folder in relative.ancestors().skip(1).filter(|f| !f.as_os_str().is_empty()) {
                    index.files.insert(slashed(folder), Entry::Folder);
                }
                let entry = listing::entry_of(path).map_err(|error| transfer(engine, &error))?;
                index.files.insert(slashed(relative), entry);
            }
            let index = index.clone();
            self.save(engine, &volume, &index)?;
        }
        Ok(())
    }
}

impl Courier {
    fn run(&mut self, engine: &Containers<'_>, image: &Prepared, argv: &[OsString]) -> Result<()> {
        let env = super::environment(image, &crate::container::Command::default());
        match self.warm.run(argv, &env, Path::new("/"), None, &mut |_, _| {})? {
            Some(done) => done.judge(engine.name(), &super::display(argv)),
            None => Err(transfer(engine, &self.warm.lost()?)),
        }
    }
}

/// The container through which these volumes are reached; started the first time.
fn courier<'s>(
    engine: &Containers<'_>,
    image: &Prepared,
    state: &'s mut State,
    names: &[String],
    mounts: &[Mount],
) -> Result<&'s mut Courier> {
    if !state.couriers.contains_key(names) {
        let kind = engine.service().client.kind;
        let volumes = &engine.volumes();
        let mounts = mounts
            .iter()
            .map(|mount| options::volume(kind, &volumes.name(mount), mount, Access::ReadWrite));
        let mounts = mounts.collect::<Result<Vec<_>>>()?;
        let mut invocation = engine.shell_in(image, &mounts, Access::ReadWrite);
        invocation.command = "sh".to_owned();
        let name = invocation.force.last().cloned().unwrap_or_default();
        let warm = Warm::start(invocation, Reuse::Keep)?;
        let (user, group) = engine.service().user.unwrap_or((0, 0));
        upload(engine, &name, |tar| Writer { tar, time: 0, user, group }.folder(OUT))?;
        state.couriers.insert(names.to_vec(), Courier { name, warm });
    }
    Ok(state.couriers.get_mut(names).expect("it was just put there"))
}

/// Where a path inside lies on this machine, if a command may write there.
fn place(mounts: &[Mount], guest: &Path) -> Option<PathBuf> {
    let mount = mounts
        .iter()
        .filter(|mount| guest.starts_with(&mount.guest))
        .max_by_key(|mount| mount.guest.components().count())?;
    let below = guest.strip_prefix(&mount.guest).ok()?;
    (mount.access == Access::ReadWrite && is_plain(below)).then(|| mount.host.join(below))
}

fn is_plain(path: &Path) -> bool {
    path.components().all(|part| matches!(part, Component::Normal(_)))
}

/// The volumes of this machine and cache that nothing will use again: the folder is gone, or the index,
/// without which a volume is filled anew. None where the client does not answer.
pub fn abandoned(client: &Client, cache: &Cache) -> Vec<String> {
    let filters = [
        format!("label={CACHE}={}", cache.root().to_string_lossy()),
        format!("label={MACHINE}={}", Digest::of(machine()).short()),
    ];
    let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
    let list = ["volume", "ls", "--quiet"].into_iter().chain(filters);
    let is_used = |volume: &&str| {
        let format = format!("{{{{index .Labels \"{ID}\"}}}} {{{{index .Labels \"{FOLDER}\"}}}}");
        let labels = client.ask(["volume", "inspect", "--format", &format, volume]);
        let Ok(labels) = labels else { return true };
        let Some((id, folder)) = labels.split_once(' ') else { return true };
        let index = fs::read(cache.root().join("sent").join(format!("{volume}.json")));
        let index = index.ok().and_then(|json| serde_json::from_slice::<Index>(&json).ok());
        Path::new(folder).is_dir() && index.is_some_and(|index| index.id == id)
    };
    let volumes = client.ask(list).unwrap_or_default();
    volumes.lines().filter(|volume| !is_used(volume)).map(str::to_owned).collect()
}

/// What tells this machine from others that use the daemon; paths are often the same.
fn machine() -> String {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let host = std::env::var("HOSTNAME").or_else(|_| std::env::var("COMPUTERNAME"));
    format!("{} {}", id.trim(), host.unwrap_or_default())
}
