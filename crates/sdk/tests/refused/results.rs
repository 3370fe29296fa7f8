//! Types that can't be results.

use keyway_sdk::{PluginError, interface};

#[interface]
pub trait Wishes {
    fn text(&self) -> &str; //~ `&'static str` can't cross the plugin boundary as a result
    fn string(&self) -> String; //~ `String` can't cross the plugin boundary as a result
    fn option(&self) -> Option<u8>; //~ `Option<u8>` can't cross the plugin boundary as a result
    fn strings(&self) -> Result<Vec<u8>, PluginError>; //~ `Vec<u8>` can't cross the plugin boundary as a result
    fn error(&self) -> Result<u8, String>; //~ `Result<u8, String>` can't cross the plugin boundary as a result
}

fn main() {}
