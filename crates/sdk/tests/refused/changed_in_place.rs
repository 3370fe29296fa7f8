//! A slice to fill whose elements have bit patterns that are no value.

use keyway_sdk::interface;

#[interface]
pub trait Wishes {
    fn fill(&self, flags: &mut [bool]); //~ `&mut [T]` crosses only if every bit pattern is a `T`: no `bool` or enum inside
}

fn main() {}
