//! What the parts of manimq agree on.

pub mod scene_policy;
