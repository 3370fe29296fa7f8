//! Types that can't be arguments.

use keyway_sdk::interface;

#[interface]
pub trait Wishes {
    fn string(&self, text: String); //~ `String` can't cross the plugin boundary as an argument
    fn vec(&self, bytes: Vec<u8>); //~ `Vec<u8>` can't cross the plugin boundary as an argument
    fn boxed(&self, value: Box<u8>); //~ `Box<u8>` can't cross the plugin boundary as an argument
    fn option(&self, value: Option<u8>); //~ `Option<u8>` can't cross the plugin boundary as an argument
    fn tuple(&self, pair: (u8, u8)); //~ `(u8, u8)` can't cross the plugin boundary as an argument
    fn array(&self, bytes: [u8; 4]); //~ `[u8; 4]` can't cross the plugin boundary as an argument
    fn wide(&self, number: u128); //~ `u128` can't cross the plugin boundary as an argument
    fn letter(&self, letter: char); //~ `char` can't cross the plugin boundary as an argument
    fn pointer(&self, pointer: *const u8); //~ `*const u8` can't cross the plugin boundary as an argument
    fn function(&self, function: fn()); //~ `fn()` can't cross the plugin boundary as an argument
    fn reference(&self, number: &u64); //~ u64` can't cross the plugin boundary as an argument
    fn object(&self, object: &dyn Send); //~ can't cross the plugin boundary as an argument
    fn strings(&self, texts: &[String]); //~ `String` has no fixed layout, so it can't cross the plugin boundary
    fn nested(&self, slices: &[&[u8]]); //~ [u8]` has no fixed layout, so it can't cross the plugin boundary
}

fn main() {}
