//! Processes of the system, started, stopped and killed. What needs a process of its own has a binary of its own: `leaks`, `output`,
//! `stuck_log`.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod host_killed;
mod memory;
mod starting;
mod stopping;
mod support;
