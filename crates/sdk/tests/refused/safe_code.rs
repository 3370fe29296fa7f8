//! What safe code can't do: say how a type crosses.
#![forbid(unsafe_code)]

use keyway_sdk::abi::describe::{Describe, Type};
use keyway_sdk::abi::interface::{Argument, Returned};
use keyway_sdk::{Export, interface};

pub struct Liar(u8);

impl Describe for Liar { //~ the trait `Describe` requires an `unsafe impl` declaration
    const TYPE: &'static Type = <u8 as Describe>::TYPE;
}

impl Argument for Liar { //~ the trait `Argument` requires an `unsafe impl` declaration
    const TYPE: &'static Type = <u8 as Describe>::TYPE;
    type Wire = u8;
    type Lifted<'call> = Self;

    fn lower(self) -> u8 {
        self.0
    }
}

impl Returned for Liar { //~ the trait `Returned` requires an `unsafe impl` declaration
    const TYPE: &'static Type = <u8 as Describe>::TYPE;
    type Wire = u8;
    type Host<'a> = Self;

    fn lower(self) -> Result<u8, keyway_sdk::PluginError> {
        Ok(self.0)
    }
}

#[interface]
pub trait Speech {
    fn speak(&self);
}

pub struct Mute;

impl Export<Mute> for dyn Speech {} //~ the trait `Export<Mute>` requires an `unsafe impl` declaration

fn main() {}
