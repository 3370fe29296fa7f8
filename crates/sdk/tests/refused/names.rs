//! Two types of one name in one interface.

use keyway_sdk::{Layout, interface};

pub mod first {
    #[derive(Clone, Copy, super::Layout)]
    #[repr(C)]
    pub struct Price {
        pub ticks: u64,
    }
}

pub mod second {
    #[derive(Clone, Copy, super::Layout)]
    #[repr(C)]
    pub struct Price {
        pub cents: u64,
    }
}

#[interface] //~ two different types that cross this boundary are both named `Price`: rename one
pub trait Market {
    fn convert(&self, price: first::Price) -> second::Price;
}

fn main() {}
