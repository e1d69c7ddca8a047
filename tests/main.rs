//! Whole pools, and the pages about them, through the public API. One test binary: cargo links once, there is one captured log, and all
//! tests run in parallel. Only `descriptors` is a separate test binary.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "../fuzz/corpus_tests.rs"]
mod corpus_tests;
mod docs;
mod faults;
mod feature_separation;
mod fuzz;
mod pools;
#[expect(dead_code, reason = "the core's schedules use all of it")]
#[path = "../crates/core/tests/schedules/rng.rs"]
mod rng;
mod testing;
