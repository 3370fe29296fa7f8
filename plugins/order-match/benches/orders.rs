//! Orders through the boundary.

fn main() {}
