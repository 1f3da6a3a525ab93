//! manimq-worker.
