//! Arguments that ask to be kept for longer than the call, under names that hide it.
#![forbid(unsafe_code)]

use keyway_sdk::{Context, Layout, interface};

pub type Bytes = &'static [u8];

pub type Name = &'static str;

pub mod lasting {
    pub type Context = super::Context<'static>;
}

pub mod own {
    #[derive(Clone, Copy, super::Layout)]
    #[repr(C)]
    pub struct Context {
        pub user: u64,
    }
}

#[interface]
pub trait Keeping {
    fn bytes(&self, bytes: Bytes); //~ borrowed data escapes outside of closure
}

#[interface]
pub trait Naming {
    fn name(&self, name: Name); //~ borrowed data escapes outside of closure
}

#[interface]
pub trait Lasting {
    fn context(&self, context: lasting::Context); //~ borrowed data escapes outside of closure
}

#[interface]
pub trait Owning {
    fn context(&self, context: own::Context, salt: u8); //~ `own::Context` is not the context of the call, which is what `Context` means here
}

fn main() {}
