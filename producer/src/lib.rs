//! The producer's side of manimq: the HTTP API, the command line and the all-in-one.
//!
//! Server: [`serve`] has the settings and starts everything; [`api`] holds the routes; [`storage`]
//! keeps the artifacts; [`llm`] asks a language model where [`planner`] is not sure; [`webhooks`] tells tenants what became of jobs; [`http`] is the server below the routes with its limits; [`places`] shares them out; [`metrics`] is
//! what Prometheus reads. Command line: [`cli`] says what there is; [`render`] and [`job`] speak to
//! a server through [`client`]; [`admin`] looks after the queue in Redis, [`top`] watches it; [`up`] starts all parts on this machine;
//! [`doctor`] looks whether they can work; [`exit`] and [`term`] are
//! how commands end and what they print.

pub mod admin;
pub mod api;
pub mod cli;
pub mod client;
pub mod doctor;
pub mod exit;
pub mod http;
pub mod job;
pub mod llm;
pub mod metrics;
mod parse_fault;
pub mod places;
pub mod planner;
pub mod prompt;
pub mod render;
pub mod serve;
pub mod storage;
pub mod templates;
pub mod term;
pub mod top;
pub mod up;
pub mod webhooks;
