//! An interface with one function for each kind of type that may cross.

use keyway_sdk::{Context, Layout, OwnedBuffer, PluginError, interface};

/// An enum, and the integer it crosses as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Layout)]
#[repr(i16)]
pub enum Color {
    /// A negative value.
    Red = -7,
    /// The one after it.
    Orange,
    /// A large value.
    Blue = 300,
}

/// A struct with an enum, a `bool`, an array and padding.
#[derive(Debug, Clone, Copy, PartialEq, Layout)]
#[repr(C)]
pub struct Pixel {
    /// One byte, then padding.
    pub lit: bool,
    /// Eight bytes.
    pub weight: f64,
    /// Two bytes.
    pub color: Color,
    /// Three bytes.
    pub rgb: [u8; 3],
}

/// What the tests ask of the plugin.
#[interface(version = 4)]
pub trait Probe {
    /// Numbers by value.
    fn add(&self, left: u8, right: i64) -> i64;
    /// A float by value.
    fn half(&self, value: f64) -> f64;
    /// A `bool` both ways.
    fn not(&self, value: bool) -> bool;
    /// An enum both ways.
    fn next(&self, color: Color) -> Color;
    /// A struct both ways; counts calls.
    fn flip(&mut self, pixel: Pixel) -> Pixel;
    /// A borrowed slice of structs.
    fn count_lit(&self, pixels: &[Pixel]) -> usize;
    /// A borrowed slice to fill.
    fn double(&self, numbers: &mut [u32]);
    /// Borrowed text, an owned buffer as the result.
    fn upper(&self, text: &str) -> OwnedBuffer;
    /// An owned buffer as an argument, freed by the plugin.
    fn sum(&self, bytes: OwnedBuffer) -> u64;
    /// An error whenever the divisor is 0.
    fn divide(&self, dividend: u64, divisor: u64) -> Result<u64, PluginError>;
    /// What the call's context says: trace id's first byte, span id's first byte, deadline.
    fn context(&self, context: Context<'_>, salt: u64) -> u64;
    /// Panics.
    fn panic(&self, message: &str);
    /// Calls so far of `flip`.
    fn flips(&self) -> u64;
    /// A name that the table has a use of its own for.
    fn size(&self) -> u8;
}

/// A second interface of the same plugin.
#[interface]
pub trait Counter {
    /// One more each time.
    fn count(&mut self) -> u64;
}

/// What a host may offer to the plugin.
#[interface]
pub trait Quotes {
    /// A price.
    fn quote(&self, symbol: &str) -> u64;
}
