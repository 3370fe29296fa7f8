//! `bench engines`: what it costs to start a command in each engine that works here.
//!
//! The command does nothing (`true`, in the image `base`), so what is measured is the engine. The
//! first command of a run starts a container, later ones find it. The peer is a process on this
//! machine, which is what a build without an engine would start.

use std::time::{Duration, Instant};

use super::{Figure, failed, median_ms};
use crate::cache::Cache;
use crate::container::{Command, EngineName, Image};
use crate::engine::{self, Engine, EngineError};
use crate::failure::Failure;
use crate::image::Images;
use crate::shell::Shell;
use crate::workspace::Workspace;

/// How often an engine is opened for its first command.
const N_FIRST: usize = 5;
/// How many commands follow.
const N_LATER: usize = 20;
const IMAGE: &str = "base";

/// Two figures an engine: its first command, and a later one, both beside a process started here.
pub(super) fn measure(workspace: &Workspace, shell: &Shell) -> Result<Vec<Figure>, Failure> {
    let cache = Cache::open()?;
    let images =
        Images::open(workspace.recipes_dir(), cache.clone()).with_workspace(workspace.root());
    let mut figures = Vec::new();
    for name in EngineName::ORDER {
        let opened = engine::open(name, &cache, shell);
        let engine = match opened {
            Ok(engine) => engine,
            Err(reason) => {
                shell.warn(format_args!("not measured: {reason}"));
                continue;
            }
        };
        let image = images.ensure(IMAGE, &&*engine, shell)?;
        engine.prepare(&image)?;
        let (mut first, mut later) = (Vec::new(), Vec::new());
        for _ in 0..N_FIRST {
            let engine = engine::open(name, &cache, shell).map_err(EngineError::from)?;
            engine.prepare(&image)?;
            first.push(time(&*engine, &image)?);
            for _ in 0..N_LATER / N_FIRST {
                later.push(time(&*engine, &image)?);
            }
        }
        let mut bare = Vec::new();
        for _ in 0..N_LATER {
            let start = Instant::now();
            duct::cmd!("true").run().map_err(|error| failed("`true`", &error))?;
            bare.push(start.elapsed());
        }
        let peer_value = median_ms(&mut bare);
        let figure = |what: &str, times: &mut [Duration]| {
            let name = format!("{name}, {what} command");
            Figure::new(name, "ms", median_ms(times), "a process on this machine", peer_value)
        };
        figures.push(figure("first", &mut first));
        figures.push(figure("later", &mut later));
    }
    Ok(figures)
}

fn time(engine: &dyn Engine, image: &Image) -> Result<Duration, EngineError> {
    let command = Command { argv: vec!["true".into()], workdir: "/".into(), ..Command::default() };
    let start = Instant::now();
    engine.run(image, &command, &mut |_, _| {})?;
    Ok(start.elapsed())
}
