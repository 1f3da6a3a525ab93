//! The command line from outside: the real program against a scripted API, and `manimq up` with
//! real Redis, the real API and a stand-in for the worker.

mod admin;
mod fake;
mod help;
mod jobs;
mod render;
mod standin;
mod support;
mod up;
