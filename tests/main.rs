//! Whole pools, and the pages about them, through the public API. One binary, so that there is one link, one captured log, and all
//! of it runs side by side. Only `descriptors` has a binary of its own.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod docs;
mod faults;
mod feature_separation;
mod fuzz;
mod pools;
#[expect(dead_code, reason = "the core's schedules use all of it")]
#[path = "../crates/core/tests/schedules/rng.rs"]
mod rng;
mod testing;
#[path = "../fuzz/twin.rs"]
mod twin;
