//! Persistent sandboxes in Blaxel's cloud, against a counterpart of its API on this machine with
//! real processes, real files and real Manim. The hosted service itself is not exercised.

mod bench;
mod cancels;
mod client;
mod cloud;
#[path = "../common/mod.rs"]
mod common;
mod control;
mod disk;
mod faults;
mod files;
mod flow;
mod frozen;
mod losses;
mod parts;
mod planes;
mod pool;
mod processes;
mod push;
mod sdk;
mod standby;
mod streams;
mod support;
mod sweep;
mod tenants;
mod two;
mod users;
mod verify;
