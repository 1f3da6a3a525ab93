//! manimq.
fn main() {}
