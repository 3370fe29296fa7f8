//! The code signature: whether its code directory holds the SHA-256 of every page before it. The
//! kernel kills a process that touches a page whose hash differs, so a wrong one is found here.
//!
//! Who signed is not looked at: an ad-hoc signature names nobody, and trust is the manifest's business.
//! The format is that of Apple's `cs_blobs.h`; all of its numbers are big-endian.

use keyway_manifest::Digest;

use crate::facts::CodeSignature;

const SUPER_BLOB: u32 = 0xfade_0cc0;
const CODE_DIRECTORY: u32 = 0xfade_0c02;
/// The slot of the code directory, the first in any signature.
const CODE_DIRECTORY_SLOT: u32 = 0;
const SHA256: u8 = 2;
const HASH_SIZE: usize = 32;
/// No system has pages larger than 64 KiB, nor any linker one smaller than 4 KiB.
const PAGE_SHIFTS: std::ops::RangeInclusive<u8> = 12..=16;

/// Compares the signature that begins at `start` with the bytes before it.
pub(super) fn check(bytes: &[u8], start: usize, size: usize) -> CodeSignature {
    match verify(bytes, start, size) {
        Ok(()) => CodeSignature::Valid,
        Err(reason) => CodeSignature::Invalid(reason),
    }
}

fn verify(bytes: &[u8], start: usize, size: usize) -> Result<(), String> {
    let signature = bytes.get(start..).and_then(|rest| rest.get(..size)).unwrap_or_default();
    let directory = code_directory(signature)?;
    let cut = || "its code directory is cut".to_owned();
    let field = |offset| number(directory, offset).ok_or_else(cut);
    let byte = |offset: usize| directory.get(offset).copied().ok_or_else(cut);
    let (hashes, n_pages, limit) = (field(16)?, field(28)? as usize, field(32)? as usize);
    let (hash_size, hash_type, page_shift) = (byte(36)?, byte(37)?, byte(39)?);
    if hash_type != SHA256 || usize::from(hash_size) != HASH_SIZE {
        return Err(format!("its hashes are of type {hash_type}, not SHA-256"));
    }
    if !PAGE_SHIFTS.contains(&page_shift) {
        return Err(format!("its pages have 2^{page_shift} bytes"));
    }
    if limit != start {
        return Err(format!("it covers {limit} bytes, and begins at byte {start}"));
    }
    let pages = bytes.get(..limit).unwrap_or_default().chunks(1 << page_shift);
    if pages.len() != n_pages {
        return Err(format!("it has {n_pages} hashes for {} pages", pages.len()));
    }
    let hashes = directory.get(hashes as usize..).unwrap_or_default();
    let mut hashes = hashes.chunks_exact(HASH_SIZE);
    for (index, page) in pages.enumerate() {
        let hash = hashes.next().ok_or_else(cut)?;
        if hash != Digest::of(page).as_bytes() {
            return Err(format!("page {index} does not have the hash that it names"));
        }
    }
    Ok(())
}

/// The code directory in a signature: the blob that its index names first.
fn code_directory(signature: &[u8]) -> Result<&[u8], String> {
    if number(signature, 0) != Some(SUPER_BLOB) {
        return Err("it begins like no signature".to_owned());
    }
    let n_blobs = number(signature, 8).unwrap_or(0);
    let entries = signature.get(12..).unwrap_or_default().chunks_exact(8);
    let mut entries = entries.take(n_blobs as usize);
    let entry = entries.find(|entry| number(entry, 0) == Some(CODE_DIRECTORY_SLOT));
    let offset = entry.and_then(|entry| number(entry, 4)).ok_or("it has no code directory")?;
    let blob = signature.get(offset as usize..).unwrap_or_default();
    if number(blob, 0) != Some(CODE_DIRECTORY) {
        return Err("its code directory is none".to_owned());
    }
    let length = number(blob, 4).unwrap_or(0);
    blob.get(..length as usize).ok_or_else(|| "its code directory is cut".to_owned())
}

fn number(bytes: &[u8], offset: usize) -> Option<u32> {
    let four = bytes.get(offset..)?.first_chunk()?;
    Some(u32::from_be_bytes(*four))
}
