//! The API against a real Redis, with a worker that speaks to the queue and stores files as the
//! real one does but renders nothing.

mod assets;
mod documents;
mod events;
mod files;
mod jobs;
mod operation;
mod sharing;
mod submit;
mod support;
