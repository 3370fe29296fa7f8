//! A host that depends on `keyway-host` alone, and defines interfaces.

use std::path::Path;

use keyway_host::{
    Context, Error, Expectation, Host, ImportPolicy, Layout, OwnedBuffer, PermissionPolicy,
    Services, ToolchainPolicy, interface,
};

/// What this program offers, as a plugin knows it.
#[interface(id = "keyway-host/Quotes")]
pub trait Quotes {
    /// A price.
    fn quote(&self, symbol: &str) -> u64;
}

/// What a plugin offers, as this program knows it.
#[interface(id = "keyway-host/Counter")]
pub trait Counter {
    /// One more each time.
    fn count(&mut self) -> u64;
}

/// An enum, a struct with one, and a function with each kind of argument and result.
#[derive(Debug, Clone, Copy, PartialEq, Layout)]
#[repr(u8)]
pub enum Side {
    /// One.
    Left,
    /// The other.
    Right,
}

/// A struct.
#[derive(Debug, Clone, Copy, PartialEq, Layout)]
#[repr(C)]
pub struct Place {
    /// A number.
    pub at: f64,
    /// An enum.
    pub side: Side,
}

/// Nobody offers it; it has to compile.
#[interface(version = 3, extensible)]
pub trait Everything {
    /// By value.
    fn place(&mut self, place: Place) -> Result<Place, keyway_host::PluginError>;
    /// Borrowed, on behalf of a context.
    fn sum(&self, context: Context<'_>, places: &[Place], sums: &mut [f64]) -> bool;
    /// Owned.
    fn bytes(&self, bytes: OwnedBuffer) -> OwnedBuffer;
}

struct Market;

impl Quotes for Market {
    fn quote(&self, symbol: &str) -> u64 {
        symbol.len() as u64 * 100
    }
}

fn main() -> Result<(), Error> {
    let expectation = Expectation {
        toolchains: ToolchainPolicy::AnyWithMatchingAbi,
        imports: ImportPolicy::Any,
        permissions: PermissionPolicy::Unchecked,
        ..Expectation::this_process()
    };
    let services = Services::builder(|_: &keyway_host::LogLine<'_>| ());
    let services = services.offer::<dyn Quotes, _>(Market).build();
    let host = Host::new(expectation, services)?;
    let library = std::env::args().nth(1).expect("a library");
    let mut plugin = host.load(Path::new(&library), b"")?;
    let answer = plugin.instance().invoke("quote", b"abc", Context::NONE)?;
    assert_eq!(&*answer, b"300");
    let mut counter = plugin.instance().interface::<dyn Counter>(Context::NONE)?;
    assert_eq!((counter.count()?, counter.count()?), (1, 2));
    assert!(plugin.instance().interface::<dyn Everything>(Context::NONE).is_err());
    plugin.unload()?;
    println!("done");
    Ok(())
}
