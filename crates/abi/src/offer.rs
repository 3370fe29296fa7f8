//! From what the other side offers to a table that this side can call.
//!
//! Equal texts are the usual case. Otherwise the two may be versions of one interface that may grow:
//! then what the other side lacks is filled with functions that say so, once, so that no call has to
//! ask whether its function is there.

use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ptr::NonNull;

use crate::describe::covered;
use crate::descriptor;
use crate::encoding::Dispatch;
use crate::interface::Interface;
use crate::memory::Text;
use crate::table::{Offer, read_over};

/// A table of the interface `I` that the other side offers, complete on this side.
#[derive(Debug)]
pub struct Table<I: Interface + ?Sized>(Place<I::Table>);

#[derive(Debug)]
enum Place<T> {
    /// The other side's own, which has all that this side knows.
    Theirs(NonNull<T>),
    /// A copy, where the other side's is shorter.
    Completed(Box<T>),
}

// SAFETY: a table is read only, and each of its functions may be called on any thread.
unsafe impl<I: Interface + ?Sized> Send for Table<I> {}
// SAFETY: as above.
unsafe impl<I: Interface + ?Sized> Sync for Table<I> {}

/// Why an offer can't be used as the interface that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mismatch {
    /// It has another id or version.
    Other,
    /// It has the id and the version, and another layout: what differs, a line each.
    Differs(Vec<String>),
    /// It has no table.
    NoTable,
}

/// The function of an offer that calls by bytes; `None` if the other side has none.
///
/// # Safety
/// `offer` must be null or a valid offer.
pub unsafe fn dispatch(offer: *const Offer) -> Option<Dispatch> {
    covered!(offer, Offer, dispatch).flatten()
}

/// Id, version and layout descriptor of an offer; `None` if it is none.
///
/// # Safety
/// `offer` must be null or an offer of a side that keeps to the contract, valid during `'a`.
pub unsafe fn identity<'a>(offer: *const Offer) -> Option<(&'a str, u32, &'a str)> {
    // SAFETY: the texts of an offer are valid as long as the offer.
    let text = |text: Option<Text>| text.and_then(|text| unsafe { text.get() });
    let id = text(covered!(offer, Offer, id))?;
    let version = covered!(offer, Offer, version)?;
    Some((id, version, text(covered!(offer, Offer, descriptor))?))
}

impl<I: Interface + ?Sized> Table<I> {
    /// The table behind an offer of the other side.
    ///
    /// # Errors
    /// It is no offer of `I`.
    ///
    /// # Safety
    /// `offer` must be null or an offer of a side that keeps to the contract, and valid as long as the
    /// result.
    pub unsafe fn of(offer: *const Offer) -> Result<Self, Mismatch> {
        let text = |text: Option<Text>| {
            // SAFETY: the texts of an offer are valid as long as the offer.
            text.and_then(|text| unsafe { text.get() }).unwrap_or_default()
        };
        if text(covered!(offer, Offer, id)) != I::ID
            || covered!(offer, Offer, version) != Some(I::VERSION)
        {
            return Err(Mismatch::Other);
        }
        let descriptor = text(covered!(offer, Offer, descriptor));
        if descriptor != I::DESCRIPTOR {
            let conflicts = descriptor::conflicts(I::DESCRIPTOR, descriptor);
            if !conflicts.is_empty() {
                let lines = conflicts.iter().map(ToString::to_string).collect();
                return Err(Mismatch::Differs(lines));
            }
        }
        let table = covered!(offer, Offer, table).unwrap_or(core::ptr::null());
        let table = NonNull::new(table.cast::<I::Table>().cast_mut()).ok_or(Mismatch::NoTable)?;
        // SAFETY: a table begins with its size.
        let size = unsafe { table.cast::<usize>().read() };
        if size >= size_of::<I::Table>() {
            return Ok(Self(Place::Theirs(table)));
        }
        // SAFETY: the texts agree as far as both go, and the tables with them; every field is a pointer.
        let completed = unsafe { read_over(I::MISSING, table.as_ptr()) };
        Ok(Self(Place::Completed(Box::new(completed))))
    }

    /// Where the table is.
    pub fn as_ptr(&self) -> *const I::Table {
        match &self.0 {
            Place::Theirs(table) => table.as_ptr(),
            Place::Completed(table) => &raw const **table,
        }
    }
}
