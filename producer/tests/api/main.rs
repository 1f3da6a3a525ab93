//! The API against a real Redis, with a worker that speaks to the queue and stores files as the
//! real one does but renders nothing.

mod documents;
mod events;
mod files;
mod hard;
mod jobs;
mod lists;
mod operation;
mod sharing;
mod submit;
mod support;
