//! How a manager's plugins are, as data: a table for people, JSON for programs.

use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use keyway_manifest::text::Show as _;
use keyway_manifest::{Digest, Triple};
use serde::Serialize;

use crate::counts::{Counted, LastError};
use crate::lifecycle::LifeState;
use crate::shared::SharedPlugin;

/// All plugins of a manager, in the order in which they were started. `Display` is a table.
#[derive(Debug, Clone, Serialize)]
pub struct Status {
    /// One for each.
    pub plugins: Vec<PluginStatus>,
}

/// How a plugin is.
#[derive(Debug, Clone, Serialize)]
pub struct PluginStatus {
    /// What it is called in this manager.
    pub name: String,
    /// Its own name: its package's.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// Where its library lay when it was checked.
    pub path: Option<PathBuf>,
    /// The target that it was built for.
    pub target: Option<Triple>,
    /// The hash of the contract that it was built against.
    pub abi: Option<Digest>,
    /// The hash of what built it.
    pub toolchain: Option<Digest>,
    /// What its current generation is doing.
    pub state: LifeState,
    /// Which one that is.
    pub generation: u64,
    /// Calls that have not ended, guards among them.
    pub calls_in_flight: usize,
    /// Calls that were counted; [`Counted`] says which.
    pub calls: u64,
    /// Those of them that went wrong.
    pub errors: u64,
    /// Those of them that panicked.
    pub panics: u64,
    /// The last one that went wrong.
    pub last_error: Option<LastFailure>,
    /// How long the current generation has been there, in milliseconds.
    pub uptime_ms: u64,
    /// When its library was mapped, in milliseconds since 1970-01-01 00:00 UTC.
    pub mapped_since_ms: u64,
}

/// A call that went wrong.
#[derive(Debug, Clone, Serialize)]
pub struct LastFailure {
    /// How.
    pub error: String,
    /// When, in milliseconds since 1970-01-01 00:00 UTC.
    pub at_ms: u64,
}

impl PluginStatus {
    pub(crate) fn of(name: &str, plugin: &SharedPlugin) -> Self {
        let info = plugin.inner.info();
        let manifest = info.origin.manifest();
        let Counted { n_calls, n_errors, n_panics, last_error } = plugin.counted();
        let last_error = last_error.map(|LastError { error, at }| LastFailure {
            error: error.to_string(),
            at_ms: since_1970(at),
        });
        Self {
            name: name.to_owned(),
            plugin: info.name().to_owned(),
            version: info.origin.version().to_owned(),
            path: info.admission.as_ref().map(|admission| admission.path().to_owned()),
            target: manifest.map(|manifest| manifest.target.clone()),
            abi: manifest.and_then(|manifest| manifest.abi.as_ref()?.contract),
            toolchain: manifest.and_then(|manifest| Some(manifest.toolchain.as_ref()?.hash)),
            state: info.state(),
            generation: info.number,
            calls_in_flight: plugin.n_calls_in_flight(),
            calls: n_calls,
            errors: n_errors,
            panics: n_panics,
            last_error,
            uptime_ms: milliseconds(info.since.elapsed()),
            mapped_since_ms: since_1970(info.mapped_at),
        }
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn since_1970(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, milliseconds)
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heads = [
            "NAME",
            "VERSION",
            "STATE",
            "GENERATION",
            "CALLS",
            "RUNNING",
            "ERRORS",
            "UP",
            "LAST ERROR",
        ];
        let rows: Vec<_> = std::iter::once(heads.map(str::to_owned))
            .chain(self.plugins.iter().map(|plugin| {
                [
                    plugin.name.shown().to_string(),
                    plugin.version.shown().to_string(),
                    plugin.state.to_string(),
                    plugin.generation.to_string(),
                    plugin.calls.to_string(),
                    plugin.calls_in_flight.to_string(),
                    plugin.errors.to_string(),
                    format!("{}s", plugin.uptime_ms / 1000),
                    plugin
                        .last_error
                        .as_ref()
                        .map_or("-".to_owned(), |last| last.error.shown().to_string()),
                ]
            }))
            .collect();
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
        let widths: Vec<_> = (0..heads.len()).map(|column| width(column).unwrap_or(0)).collect();
        for row in rows {
            let cells: Vec<_> =
                row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())?;
        }
        Ok(())
    }
}
