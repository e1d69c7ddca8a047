//! Processes of the system, started, stopped and killed. Tests that need a process of their own (`leaks`, `output`, `stuck_log`) are
//! separate test binaries.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod foreign_waits;
mod host_killed;
mod memory;
mod reaping;
mod signals;
mod starting;
mod stopping;
mod support;
