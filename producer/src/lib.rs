//! manimq's producer side: the HTTP API, the command line and the all-in-one.

pub mod cli;
pub mod client;
pub mod exit;
pub mod job;
pub mod render;
pub mod term;
