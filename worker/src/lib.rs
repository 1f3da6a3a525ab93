//! The worker: a pool of slots, each with one warm sandbox.
//!
//! `pool.rs` draws the tree of tasks.

pub mod assets;
pub mod attempt;
pub mod board;
pub mod ceilings;
pub mod config;
pub mod convert;
pub mod cores;
mod forward;
pub mod layout;
pub mod leases;
pub mod metrics;
pub mod pool;
pub mod run;
pub mod sandbox;
pub mod server;
pub mod slot;
pub mod spans;
pub mod upload;
pub mod verify;
