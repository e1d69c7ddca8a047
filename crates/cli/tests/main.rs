//! The binary `herder` as a user runs it. One binary of tests, so that there is one link.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod bench;
mod breaker;
mod calls;
mod chaos;
mod commands;
mod guards;
mod lifecycle;
mod recorder;
mod support;
mod why;
