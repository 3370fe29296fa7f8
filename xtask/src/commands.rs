//! One file a command; each has an `Args` for clap and a `run`.

pub(crate) mod ci;
