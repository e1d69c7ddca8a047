//! Tests with real processes: starting, stopping and killing them. Tests that need the whole test process to themselves
//! (`leaks`, `output`, `stuck_log`) are separate binaries.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod foreign_waits;
mod host_killed;
mod memory;
mod reaping;
mod signals;
mod starting;
mod stopping;
mod support;
