//! Wine's prefix: the folder that a Windows program takes for its drive and its registry.
//!
//! Making one takes seconds, so it is made once per image and kept in the cache. Wine writes to its
//! prefix and insists on owning it, so each run gets a copy of its own in the tmpfs.

use std::fs;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::cache::{Cache, CacheError};
use crate::container::{Access, Command, Image, Mount};
use crate::engine::{Engine, EngineError};
use crate::failure::{Diagnose, Exit};
use crate::shell::Shell;

/// A prefix in the cache, made by one image's wine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefix {
    path: PathBuf,
}

/// Why there is no prefix.
#[derive(Debug, Error)]
pub enum WineError {
    /// Wine could not make it.
    #[error("could not make a wine prefix in image `{image}`")]
    Make {
        /// The image's name.
        image: String,
        /// Why.
        source: EngineError,
    },
    /// The cache can't hold it.
    #[error(transparent)]
    Cache(#[from] CacheError),
}

impl Diagnose for WineError {
    fn exit(&self) -> Exit {
        match self {
            Self::Make { source: source @ EngineError::Interrupted { .. }, .. } => source.exit(),
            Self::Make { .. } | Self::Cache(_) => Exit::Environment,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Make { source, .. } => source.hint(),
            Self::Cache(error) => error.hint(),
        }
    }
}

/// Where the kept prefix is seen inside.
const KEPT: &str = "/prefix";
/// Without the wait, no registry is written.
const MAKE: &str = r#"wine64 wineboot --init && wineserver64 -w && rm -f "$WINEPREFIX/wineserver""#;
/// `$@` is the program's command line.
const RUN: &str = r#"cp -RP /prefix "$WINEPREFIX" && exec wine64 "$@""#;

impl Prefix {
    /// The prefix of `image`, made if it is missing.
    ///
    /// # Errors
    /// If wine fails or the cache can't hold it.
    pub fn of(
        image: &Image,
        engine: &dyn Engine,
        cache: &Cache,
        shell: &Shell,
    ) -> Result<Self, WineError> {
        let name = format!("prefixes/{}", image.manifest);
        let path = cache.root().join(&name);
        if path.is_dir() {
            return Ok(Self { path });
        }
        let _lock = cache.lock(&format!("prefix-{}", image.manifest.short()), shell)?;
        if path.is_dir() {
            return Ok(Self { path });
        }
        shell.status("Preparing", format_args!("wine in image {}", image.name));
        let partial = path.with_extension("partial");
        if partial.exists() {
            fs::remove_dir_all(&partial).map_err(CacheError::io("remove", &partial))?;
        }
        let folder = cache.dir(partial.strip_prefix(cache.root()).unwrap_or(&partial))?;
        let command = Command {
            argv: ["sh", "-c", MAKE].map(Into::into).into(),
            mounts: vec![mount(&folder, Access::ReadWrite)],
            ..environment(KEPT)
        };
        let made = engine.run(image, &command, &mut |_, line| shell.detail("Wine", line));
        made.map_err(|source| WineError::Make { image: image.name.clone(), source })?;
        fs::rename(&folder, &path).map_err(CacheError::io("rename into place", &path))?;
        Ok(Self { path })
    }

    /// The command under wine, in a copy of the prefix.
    pub(super) fn wrap(&self, command: Command) -> Command {
        let mut argv: Vec<_> = ["sh", "-c", RUN, "wine"].map(Into::into).into();
        argv.extend(command.argv);
        let mut mounts = command.mounts;
        mounts.push(mount(&self.path, Access::ReadOnly));
        let mut env = environment("/tmp/prefix").env;
        env.extend(command.env);
        Command { argv, env, mounts, ..command }
    }
}

fn environment(prefix: &str) -> Command {
    let env = [
        ("WINEDEBUG", "-all"),
        ("WINEPREFIX", prefix),
        ("WINESERVER", "/usr/lib/wine/wineserver64"),
    ];
    Command {
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        workdir: PathBuf::from("/tmp"),
        ..Command::default()
    }
}

fn mount(host: &Path, access: Access) -> Mount {
    Mount { host: host.to_owned(), guest: KEPT.into(), access }
}
