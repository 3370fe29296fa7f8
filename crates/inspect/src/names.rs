//! Reads names out of string tables, within bounds.
//!
//! A table of a few bytes can refer to the same long string a million times, and two tables can
//! refer to each other's whole content. So every name has a length limit, and all names together
//! have a budget that is a small multiple of the file's size: the work is linear, whatever the bytes.

use thiserror::Error;

/// The longest name that is read, in bytes. Mangled names reach a few thousand.
const MAX_NAME: usize = 1 << 15;

/// Names may cost this many times the size of the file. Symbols that share a string's tail make a
/// little more than one plausible.
const BUDGET_PER_BYTE: usize = 4;

/// Reads names and keeps the accounts.
#[derive(Debug)]
pub(crate) struct Names {
    budget: usize,
}

/// Why a name was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum NameError {
    #[error("an entry or a name lies outside of its table")]
    Outside,
    #[error("a name is longer than {MAX_NAME} bytes or has no end")]
    TooLong,
    #[error("its names are {BUDGET_PER_BYTE} times as long as the whole file")]
    TooMany,
}

impl Names {
    /// The accounts for a file of `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        Self { budget: size.saturating_mul(BUDGET_PER_BYTE).saturating_add(MAX_NAME) }
    }

    /// The name at the beginning of `bytes`, up to its zero.
    ///
    /// What a terminal would take for a command, and what is not UTF-8, comes out escaped.
    pub(crate) fn read(&mut self, bytes: Option<&[u8]>) -> Result<String, NameError> {
        let bytes = bytes.ok_or(NameError::Outside)?;
        let window = bytes.get(..MAX_NAME).unwrap_or(bytes);
        let length = window.iter().position(|&byte| byte == 0).ok_or(NameError::TooLong)?;
        self.spend(length + 1)?;
        Ok(printable(&window[..length]))
    }

    /// Charges for work that reads no name.
    pub(crate) fn spend(&mut self, cost: usize) -> Result<(), NameError> {
        self.budget = self.budget.checked_sub(cost).ok_or(NameError::TooMany)?;
        Ok(())
    }
}

/// `name` as text that is safe to print.
pub(crate) fn printable(name: &[u8]) -> String {
    match str::from_utf8(name) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => name.escape_ascii().to_string(),
    }
}
