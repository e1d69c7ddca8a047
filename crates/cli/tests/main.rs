//! Tests of the binary `herder` from a user's perspective. They are one test binary, so that cargo links once and all
//! tests run in parallel.

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod bench;
mod bodies;
mod breaker;
#[cfg(target_os = "linux")]
mod breakpoints;
mod buffers;
mod calls;
mod chaos;
mod clients;
mod commands;
mod connections;
#[cfg(target_os = "linux")]
mod descriptors;
mod dev;
mod doctor;
mod environment;
mod errors;
mod guards;
mod init;
mod kill;
mod lifecycle;
mod logs;
mod mcp;
mod metrics;
mod new_project;
mod openapi;
mod pipelining;
mod python;
mod recorder;
mod signals;
mod status;
mod streams;
mod support;
mod threads;
mod top;
mod traces;
mod watch;
mod why;
