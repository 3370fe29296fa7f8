//! The trie of exported names, which the loader looks symbols up in: `LC_DYLD_INFO` or
//! `LC_DYLD_EXPORTS_TRIE`. Its format is that of Apple's `mach-o/loader.h`, at `dyld_info_command`.
//!
//! A node may be reached from itself, or by two ways from each of its parents. So every visit is charged
//! to the budget of `names.rs`.

use std::collections::BTreeSet;

use crate::names::{NameError, Names, printable};

/// Every name in `trie`.
pub(super) fn read(trie: &[u8], names: &mut Names) -> Result<BTreeSet<String>, NameError> {
    let mut exports = BTreeSet::new();
    let mut stack = Vec::new();
    if !trie.is_empty() {
        stack.push((0, Vec::new()));
    }
    while let Some((offset, name)) = stack.pop() {
        names.spend(name.len() + 1)?;
        let node = usize::try_from(offset).ok().and_then(|offset| trie.get(offset..));
        let mut node = node.ok_or(NameError::Outside)?;
        let terminal = usize::try_from(uleb128(&mut node)?).unwrap_or(usize::MAX);
        if terminal > 0 {
            exports.insert(printable(&name));
        }
        node = node.get(terminal..).ok_or(NameError::Outside)?;
        let (&n_children, mut rest) = node.split_first().ok_or(NameError::Outside)?;
        for _ in 0..n_children {
            let length = rest.iter().position(|&byte| byte == 0).ok_or(NameError::Outside)?;
            let child = [&name, &rest[..length]].concat();
            names.spend(child.len() + 1)?;
            rest = &rest[length + 1..];
            stack.push((uleb128(&mut rest)?, child));
        }
    }
    Ok(exports)
}

/// A number of seven bits a byte, the lowest first; the last byte has its high bit clear.
fn uleb128(bytes: &mut &[u8]) -> Result<u64, NameError> {
    let mut value = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (&byte, rest) = bytes.split_first().ok_or(NameError::Outside)?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(NameError::Outside)
}
