//! The local sandbox for real: bubblewrap, Manim, LaTeX. Nothing is mocked.
//!
//! Each promise has a test that tries to break it. Two warm sandboxes are
//! shared by all tests, as a worker's slots share jobs: a test that leaves
//! something behind breaks the next one.

#[path = "sandbox/attacks.rs"]
mod attacks;
#[path = "sandbox/container.rs"]
mod container;
#[path = "sandbox/cores.rs"]
mod cores;
#[path = "sandbox/errors.rs"]
mod errors;
#[path = "sandbox/faithful.rs"]
mod faithful;
#[path = "sandbox/files.rs"]
mod files;
#[path = "sandbox/lifecycle.rs"]
mod lifecycle;
#[path = "sandbox/limits.rs"]
mod limits;
#[path = "sandbox/progress.rs"]
mod progress;
#[path = "sandbox/renderer.rs"]
mod renderer;
#[path = "sandbox/soak.rs"]
mod soak;
#[path = "sandbox/stills.rs"]
mod stills;
#[path = "sandbox/support.rs"]
mod support;
#[path = "sandbox/tex.rs"]
mod tex;
