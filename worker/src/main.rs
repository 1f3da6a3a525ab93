//! manimq-worker.
fn main() {}
