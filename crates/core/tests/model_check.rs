//! I1 to I4 and I8 in every state that small pools can reach. A model checker drives the core through all orders of
//! submits, frames, failed sends, deaths, pings, retries, cancels and timers, and prints the shortest path to a state that violates a
//! rule. The random schedules cover larger pools and more operations; here nothing is left to chance.
//! `cargo test -p herder-core --test it model_check -- --nocapture`.

#![expect(
    clippy::disallowed_types,
    clippy::disallowed_macros,
    reason = "the model is not the core: it may use ordered maps, and print what was explored"
)]

mod actions;
mod configurations;
mod faults;
mod pool;
mod processes;
mod rules;
mod state;
