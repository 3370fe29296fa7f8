//! Exports of what is no plugin, or not of this interface.

use keyway_sdk::{Host, Plugin, PluginError, export_plugin, interface};

#[interface]
pub trait Speech {
    fn speak(&self);
}

struct Mute;

impl Plugin for Mute {
    fn create(_: &[u8], _: Host) -> Result<Self, PluginError> {
        Ok(Self)
    }
}

mod without_the_interface {
    keyway_sdk::export_plugin!(super::Mute: dyn super::Speech); //~ the trait bound `Mute: Speech` is not satisfied
}

struct Stranger;

export_plugin!(Stranger); //~ the trait bound `Stranger: Plugin` is not satisfied

fn main() {}
