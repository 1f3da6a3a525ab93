//! The command line from outside: the real program against a scripted API, and `manimq up` with
//! real Redis, the real API and a stand-in for the worker.

mod admin;
mod fake;
mod help;
mod jobs;
mod prompts;
mod render;
#[path = "../scripted/mod.rs"]
#[allow(dead_code, reason = "shared with the tests of the API")]
mod scripted;
mod standin;
mod support;
mod up;
