//! Which folders of crates are still needed: each workspace that uses one leaves a note there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use keyway_manifest::Digest;

use super::PARTIAL;
use crate::cache::garbage::{Garbage, entries, remove};
use crate::cache::{Cache, CacheError, write_atomically};
use crate::shell::Shell;

/// Where workspaces leave their notes.
const USERS: &str = "users";
/// How long crates are kept that a workspace used with an older Cargo.lock: another branch, say.
const KEPT: Duration = Duration::from_secs(30 * 86_400);

/// Leaves with the crates the path of the lock file that names them, and its digest; the note's age says
/// when they were last used.
pub(super) fn sign_in(done: &Path, lock_file: &Path, lock: Digest) -> Result<(), CacheError> {
    let users = done.join(USERS);
    fs::create_dir_all(&users).map_err(CacheError::io("create", &users))?;
    let path = lock_file.to_string_lossy();
    let note = users.join(Digest::of(path.as_bytes()).short());
    write_atomically(&note, format!("{path}\n{lock}\n").as_bytes())
}

/// The crates that no build needs any more: whoever used them is gone, or has another Cargo.lock by now
/// and did not use them for a month.
///
/// # Errors
/// If the folder of crates can't be read.
pub fn garbage(cache: &Cache) -> Result<Vec<Garbage>, CacheError> {
    let (mut garbage, mut seen) = (Vec::new(), BTreeSet::new());
    for path in entries(&cache.root().join("vendor"))? {
        if !is_needed(&path)? {
            garbage.push(Garbage::of(path, &mut seen)?);
        }
    }
    Ok(garbage)
}

/// Removes [`garbage`] and returns it.
///
/// # Errors
/// If the folder of crates can't be read, or something can't be removed.
pub fn collect(cache: &Cache, shell: &Shell) -> Result<Vec<Garbage>, CacheError> {
    // Nobody fills a folder meanwhile.
    let _lock = cache.lock("vendor", shell)?;
    let garbage = garbage(cache)?;
    for Garbage { path, .. } in &garbage {
        // Never whole in name and not in fact, should this be killed.
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let doomed = path.with_file_name(format!("{PARTIAL}{name}"));
        fs::rename(path, &doomed).map_err(CacheError::io("rename", path))?;
        remove(&doomed)?;
    }
    Ok(garbage)
}

fn is_needed(crates: &Path) -> Result<bool, CacheError> {
    let name = crates.file_name().unwrap_or_default().to_string_lossy().into_owned();
    if name.starts_with(PARTIAL) {
        return Ok(false);
    }
    let users = crates.join(USERS);
    if !users.is_dir() {
        // Of a version of this tool that left no notes.
        return Ok(is_recent(crates));
    }
    for user in entries(&users)? {
        let note = fs::read_to_string(&user).map_err(CacheError::io("read", &user))?;
        let (lock_file, lock) = note.trim_end().split_once('\n').unwrap_or((&note, ""));
        if let Ok(found) = fs::read(lock_file)
            && (Digest::of(&found).to_string() == lock || is_recent(&user))
        {
            return Ok(true);
        }
    }
    Ok(false)
}

fn is_recent(path: &Path) -> bool {
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
    // A time in the future has no age, and is recent too.
    changed.is_ok_and(|changed| changed.elapsed().unwrap_or_default() < KEPT)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn crates_stay_as_long_as_a_workspace_may_need_them() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = Cache::at(folder.path().join("cache")).expect("a cache");
        let vendor = cache.dir("vendor").expect("a folder");
        let long_ago = SystemTime::now() - 2 * KEPT;
        let crates = |lock: &str, user: &Path, used: SystemTime| {
            let done = vendor.join(Digest::of(format!("crates of {lock}")).to_string());
            sign_in(&done, user, Digest::of(lock)).expect("it is noted");
            for note in entries(&done.join(USERS)).expect("notes") {
                let note = fs::File::options().write(true).open(note).expect("a note");
                note.set_modified(used).expect("a time");
            }
            done
        };
        let (here, gone) =
            (folder.path().join("Cargo.lock"), folder.path().join("gone/Cargo.lock"));
        fs::write(&here, "now").expect("a lock file");
        let mut kept =
            vec![crates("now", &here, long_ago), crates("last week", &here, SystemTime::now())];
        let mut garbage_paths = vec![
            crates("last year", &here, long_ago),
            crates("elsewhere", &gone, SystemTime::now()),
        ];
        let killed = vendor.join(format!("{PARTIAL}x"));
        fs::create_dir(&killed).expect("a folder");
        garbage_paths.push(killed);
        let unnoted = vendor.join(Digest::of("older tool").to_string());
        fs::create_dir(&unnoted).expect("a folder");
        kept.push(unnoted);
        kept.sort();
        garbage_paths.sort();
        let found = garbage(&cache).expect("it is found");
        let found: Vec<PathBuf> = found.into_iter().map(|garbage| garbage.path).collect();
        assert_eq!(found, garbage_paths);
        collect(&cache, &Shell::silent()).expect("it is removed");
        assert_eq!(entries(&vendor).expect("what is left"), kept);
    }
}
