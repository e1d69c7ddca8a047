//! Tests of the actors, mostly with scripted workers at the other ends of the sockets. One test binary: cargo links once, and
//! all tests run in parallel.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod affinity_failures;
mod call_log;
mod harness;
mod last_answer;
mod liveness;
mod metrics;
mod panics;
mod pool_supervisor;
mod quarantine;
mod recorder;
mod registry;
mod session_affinity;
mod shutdown;
mod streams;
mod worker;
