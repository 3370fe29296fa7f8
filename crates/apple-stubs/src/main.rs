//! Makes the stubs of macOS' libraries anew, or with `--check` says which of them differ.

#![forbid(unsafe_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use keyway_apple_stubs::libraries::Libraries;
use keyway_apple_stubs::{made, sources, system};

const USAGE: &str = "usage: keyway-apple-stubs [--check] [--zig FOLDER]

Makes the stubs in docker/files/apple from docker/apple. With --zig, the folder lib/libc of zig as the
images have it, those of the C library too.";

/// What is asked for.
struct Request {
    /// Whether files are only compared.
    is_check: bool,
    /// Zig's folder `lib/libc`.
    zig: Option<PathBuf>,
}

fn main() -> ExitCode {
    let mut request = Request { is_check: false, zig: None };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--check" => request.is_check = true,
            "--zig" => request.zig = arguments.next().map(PathBuf::from),
            _ => {
                eprintln!("{USAGE}");
                return ExitCode::from(2);
            }
        }
    }
    match run(&request) {
        Ok(stale) => {
            let did = if request.is_check { "differs" } else { "written" };
            stale.iter().for_each(|path| println!("{did}: {}", path.display()));
            ExitCode::from(u8::from(request.is_check && !stale.is_empty()))
        }
        Err(error) => {
            eprintln!("error: {error}");
            let mut cause = error.source();
            while let Some(error) = cause {
                eprintln!("cause: {error}");
                cause = error.source();
            }
            ExitCode::FAILURE
        }
    }
}

/// The files that differ from what is made now; unless it is a check they are written.
fn run(request: &Request) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let docker = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docker"));
    let folder = docker.join("files/apple");
    let mut stale = Vec::new();
    if let Some(zig) = &request.zig {
        let stub = fs::read_to_string(zig.join("darwin/libSystem.tbd"))?;
        let headers = files_below(&zig.join("include/any-darwin-any"))?;
        let headers = headers.iter().map(fs::read).collect::<Result<Vec<_>, _>>()?;
        let headers: Vec<_> =
            headers.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
        let files = made::system_files(&stub, &headers);
        stale.extend(update(&folder, &files, request)?);
    }
    let libraries = Libraries::read(&docker.join("apple/libraries.toml"))?;
    let crates = sources::declarations(&docker.join("apple/Cargo.toml"))?;
    let system = system::symbols(&fs::read_to_string(folder.join(made::SYSTEM))?);
    let files = made::files(&libraries, &crates, &system);
    stale.extend(update(&folder, &files, request)?);
    let made: BTreeSet<_> = files.keys().map(|path| folder.join(path)).collect();
    for path in files_below(&folder)? {
        if !made.contains(&path) && !made::is_system(&path) {
            if !request.is_check {
                fs::remove_file(&path)?;
            }
            stale.push(path);
        }
    }
    Ok(stale)
}

/// The files that differ, which are written unless it is a check.
fn update(
    folder: &Path,
    files: &BTreeMap<PathBuf, String>,
    request: &Request,
) -> io::Result<Vec<PathBuf>> {
    let mut stale = Vec::new();
    for (path, text) in files {
        let path = folder.join(path);
        if fs::read_to_string(&path).ok().as_ref() != Some(text) {
            if !request.is_check {
                fs::create_dir_all(path.parent().unwrap_or(folder))?;
                fs::write(&path, text)?;
            }
            stale.push(path);
        }
    }
    Ok(stale)
}

fn files_below(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    Ok(files)
}
