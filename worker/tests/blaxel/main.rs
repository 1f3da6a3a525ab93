//! Persistent sandboxes in Blaxel's cloud, against a counterpart of its API on this machine with
//! real processes, real files and real Manim. The hosted service itself is not exercised.

mod client;
mod cloud;
mod faults;
mod files;
mod flow;
mod pool;
mod processes;
mod sdk;
mod support;
mod verify;
