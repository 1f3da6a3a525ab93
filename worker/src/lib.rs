//! manimq-worker.

pub mod sandbox;
