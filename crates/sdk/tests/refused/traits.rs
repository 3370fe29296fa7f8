//! Traits that can't be interfaces.

use keyway_sdk::interface;

#[interface]
pub trait Generic<T> { //~ an interface can't be generic
    fn f(&self);
}

#[interface]
pub trait Inheriting: Send { //~ an interface can't have supertraits
    fn f(&self);
}

#[interface]
pub unsafe trait Unsafe { //~ an interface can't be an unsafe trait
    fn f(&self);
}

#[interface]
pub trait Bounded
where //~ an interface can't have a `where` clause
    u8: Copy,
{
    fn f(&self);
}

#[interface]
pub trait Empty {} //~ an interface needs at least one function

#[interface]
pub trait Associated {
    type Type; //~ an interface has functions only
}

#[interface(version = "one")] //~ expected integer literal
pub trait Numbered {
    fn f(&self);
}

#[interface(edition = 1)] //~ expected `version = 2`, `id = "company/Name"`, `extensible`, or nothing
pub trait Dated {
    fn f(&self);
}

#[interface(id = "a; b")] //~ an id is made of ASCII letters, digits and `-_./`
pub trait Split {
    fn f(&self);
}

fn main() {}
