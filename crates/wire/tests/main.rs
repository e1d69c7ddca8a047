//! Tests of frames and messages as bytes, in one binary: cargo links once, and all tests run in parallel.

#![expect(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "../../../fuzz/corpus_tests.rs"]
mod corpus_tests;
mod fuzz;
mod golden;
mod payload;
mod stream;
