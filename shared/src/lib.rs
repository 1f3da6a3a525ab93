//! What the parts of manimq agree on.
