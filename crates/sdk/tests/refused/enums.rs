//! Enums that can't cross.

use keyway_sdk::Layout;

#[derive(Clone, Copy, Layout)]
pub enum Unsized { //~ an enum that crosses the plugin boundary needs the integer it crosses as
    One,
}

#[derive(Clone, Copy, Layout)]
#[repr(C)]
pub enum AsC { //~ an enum that crosses the plugin boundary needs the integer it crosses as
    One,
}

#[derive(Clone, Copy, Layout)]
#[repr(u8)]
pub enum Holding {
    One(u8), //~ an enum that crosses the plugin boundary can't hold data
}

#[derive(Clone, Copy, Layout)]
pub enum Never {} //~ an enum that crosses the plugin boundary needs the integer it crosses as

fn main() {}
