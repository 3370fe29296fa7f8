//! Structs that can't cross.

use keyway_sdk::Layout;

#[derive(Clone, Copy, Layout)]
pub struct Reordered { //~ a struct that crosses the plugin boundary needs `#[repr(C)]`
    pub field: u8,
}

#[derive(Clone, Copy, Layout)]
#[repr(transparent)]
pub struct Transparent(u8); //~ a struct that crosses the plugin boundary needs `#[repr(C)]`

#[derive(Clone, Copy, Layout)]
#[repr(C, packed(2))] //~ a packed type can't cross the plugin boundary
pub struct Packed {
    pub field: u8,
}

#[derive(Clone, Copy, Layout)]
#[repr(C)]
pub struct Generic<T> { //~ a type that crosses the plugin boundary can't be generic
    pub field: T,
}

#[derive(Clone, Copy, Layout)]
#[repr(C)]
pub struct Referring {
    pub field: &'static u8, //~ a struct that crosses the plugin boundary can't hold a reference
}

#[derive(Clone, Copy, Layout)]
#[repr(C)]
pub struct Empty; //~ a struct without fields can't cross the plugin boundary

#[derive(Clone, Copy, Layout)]
#[repr(C)]
pub union Either { //~ a union can't cross the plugin boundary
    pub field: u8,
}

#[derive(Clone, Copy, Layout)]
#[repr(C)]
pub struct Pointing {
    pub field: *const u8, //~ `*const u8` has no fixed layout, so it can't cross the plugin boundary
}

#[derive(Clone, Layout)] //~ the trait bound `Owning: Copy` is not satisfied
#[repr(C)]
pub struct Owning { //~ the trait bound `Owning: Copy` is not satisfied
    pub field: u8,
}

#[derive(Clone, Copy, Layout)]
#[repr(C)]
pub struct Hollow {
    pub field: [u8; 0],
}

const _: bool = <Hollow as Layout>::ANY_BITS; //~ `[T; 0]` can't cross the plugin boundary: C has no type of size zero

fn main() {}
