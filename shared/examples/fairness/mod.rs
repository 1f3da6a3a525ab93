//! The fairness experiment: a discrete-event simulation in which only the jobs are simulated.
//!
//! [`queue::Manimq`] is the real queue on a real Redis with its clock set to the simulated instant;
//! [`baselines`] are plain schedulers beside it. All of them get the same arrivals. Shared by the
//! example `fairness` and the test of the same name.

pub mod baselines;
pub mod queue;
pub mod scenarios;
pub mod sim;
