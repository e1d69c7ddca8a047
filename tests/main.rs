//! Tests of complete pools through the public API, and of the pages about them. They are one test binary, so that cargo links
//! once, the log is captured once, and all tests run in parallel. Only `descriptors` is a separate test binary.
//!
//! Four words name the parts of a test. A harness (`Harness`) drives the pool under test: it starts the pool, performs
//! operations and waits for events. A fake (`herder::testing`) stands for worker processes: `Script` answers calls with
//! closures, `FakeWorker` is controlled frame by frame. A reference model (`ReferenceModel`) computes after each operation what
//! the answer must be. A judge (`Judge`) checks all answers after the run.

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
