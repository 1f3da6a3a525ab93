//! The producer's side of manimq: the HTTP API (`manimq serve`), its storage and its metrics.
//!
//! [`serve`] has the settings and starts everything; [`api`] holds the routes; [`storage`] keeps
//! the artifacts; [`http`] is the server below the routes with its limits; [`metrics`] is what
//! Prometheus reads.

pub mod api;
pub mod http;
pub mod metrics;
pub mod serve;
pub mod storage;
