//! The API against a real Redis, with a worker that speaks to the queue and stores files as the
//! real one does but renders nothing.

mod assets;
mod documents;
mod errors;
mod events;
mod files;
mod hard;
mod isolation;
mod jobs;
mod keys;
mod lists;
mod model;
mod operation;
mod operators;
mod prompts;
mod scrape;
#[path = "../scripted/mod.rs"]
mod scripted;
mod sharing;
mod submit;
mod support;
mod tenant_events;
mod web;
mod webhooks;
