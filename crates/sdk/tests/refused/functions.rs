//! Functions that can't be part of an interface: one a trait, since the first is all that is told.

use keyway_sdk::interface;

#[interface]
pub trait Free {
    fn f(value: u8); //~ a function of an interface takes `&self` or `&mut self`
}

#[interface]
pub trait Nothing {
    fn f(); //~ a function of an interface takes `&self` or `&mut self`
}

#[interface]
pub trait Consuming {
    fn f(self); //~ a function of an interface takes `&self` or `&mut self`
}

#[interface]
pub trait Boxed {
    fn f(self: Box<Self>); //~ a function of an interface takes `&self` or `&mut self`
}

#[interface]
pub trait Asynchronous {
    async fn f(&self); //~ a future can't cross the plugin boundary
}

#[interface]
pub trait Dangerous {
    unsafe fn f(&self); //~ a function of an interface can't be unsafe
}

#[interface]
pub trait Foreign {
    extern "C" fn f(&self); //~ the calling convention is the interface's own business
}

#[interface]
pub trait Generic {
    fn f<T>(&self, value: T); //~ a function of an interface can't be generic
}

#[interface]
pub trait Answering {
    fn f(&self) -> u8 { //~ a function of an interface can't have a body
        1
    }
}

#[interface]
pub trait Conditional {
    #[cfg(unix)] //~ a function of an interface can't depend on `cfg`
    fn f(&self);
}

#[interface]
pub trait Lasting {
    fn f(&self, text: &'static str); //~ a lifetime of an interface can't be named
}

#[interface]
pub trait Taking {
    fn f(&self, (left, right): (u8, u8)); //~ an argument of an interface needs a name
}

fn main() {}
