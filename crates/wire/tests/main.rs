//! Frames and messages, as bytes. One test binary: cargo links once, and all tests run in parallel.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod fuzz;
mod golden;
mod payload;
mod stream;
#[path = "../../../fuzz/twin.rs"]
mod twin;
