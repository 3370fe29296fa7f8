//! `bench images`: how fast layers come out of packages, beside what one core takes to hash them.
//!
//! An image is rebuilt in an empty store, as `images verify` does it: downloads are hashed and unpacked,
//! merged, hashed again as layers and written. The peer is the SHA-256 of the very bytes that come out,
//! on one core: whoever checks a layer pays at least that. Compiled standard libraries are left out.

use std::fs::File;
use std::io;
use std::time::Instant;

use keyway_manifest::Hasher;

use super::{Figure, failed, median};
use crate::cache::Cache;
use crate::commands::images::OnDemand;
use crate::engine::EngineChoice;
use crate::failure::{Exit, Failure};
use crate::image::{Images, StandardLibraries, Verdict};
use crate::shell::Shell;
use crate::workspace::Workspace;

const IMAGE: &str = "base";
/// How often both are done.
const N_RUNS: usize = 3;

/// Megabytes of layers a second.
pub(super) fn measure(workspace: &Workspace, shell: &Shell) -> Result<Figure, Failure> {
    let cache = Cache::open()?;
    let images =
        Images::open(workspace.recipes_dir(), cache.clone()).with_workspace(workspace.root());
    let quiet = Shell::silent();
    let runner = OnDemand::new(EngineChoice::Auto, workspace, &quiet)?;
    let image = images.ensure(IMAGE, &runner, shell)?;
    let lock = images.locked(IMAGE)?;
    let downloads = cache.dir("downloads/sha256")?;
    let packages = lock.packages.iter().map(|package| package.sha256);
    let mut needed = packages.chain(lock.wheels.iter().map(|wheel| wheel.sha256));
    if needed.any(|sha256| !downloads.join(sha256.to_string()).is_file()) {
        let message = format!("the downloads of image `{IMAGE}` are not in the cache");
        return Err(Failure::new(Exit::Environment, message).with_hint(
            "a network's speed is not what is measured here: `cargo xtask images lock base` fetches \
             them",
        ));
    }
    let made = lock.layers.iter().zip(&image.layers);
    let made: Vec<_> = made.filter(|(locked, _)| !locked.content.is_compiled()).collect();
    let megabytes = made.iter().map(|(locked, _)| locked.size).sum::<u64>() as f64 / 1e6;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..N_RUNS {
        let start = Instant::now();
        let mut outcome = None;
        let hand_over = |_: &str, verdict: &Verdict| outcome = Some(verdict.clone());
        images.verify(&[IMAGE.into()], StandardLibraries::LeftOut, &runner, &quiet, hand_over)?;
        ours.push(start.elapsed());
        if let Some(Verdict::Different { part, .. }) = outcome {
            let message = format!("image `{IMAGE}`: {part} came out differently");
            return Err(Failure::new(Exit::Refused, message)
                .with_hint("`cargo xtask images verify base` says how"));
        }
        let start = Instant::now();
        for (_, layer) in &made {
            let hash = || io::copy(&mut File::open(&layer.file)?, &mut Hasher::new());
            hash().map_err(|error| failed("hashing a layer", &error))?;
        }
        theirs.push(start.elapsed());
    }
    let (value, peer_value) = (
        megabytes / median(&mut ours).as_secs_f64(),
        megabytes / median(&mut theirs).as_secs_f64(),
    );
    let name = format!("image `{IMAGE}` assembled, std aside");
    Ok(Figure::new(name, "MB/s", value, "SHA-256 of the same bytes, one core", peer_value))
}
