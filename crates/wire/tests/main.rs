//! Frames and messages, as bytes. One binary, so that there is one link.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod fuzz;
mod golden;
mod payload;
mod stream;
#[path = "../../../fuzz/twin.rs"]
mod twin;
