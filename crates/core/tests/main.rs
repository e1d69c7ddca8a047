//! The core as its users see it: answers by table, ten thousand random schedules, every state of small pools. One test binary:
//! cargo links once, and all tests run in parallel. `allocations` is a separate one, since it replaces the allocator.

#[cfg(test)]
mod answers;
#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "it reads the corpus and prints an input that fails"
)]
#[path = "../../../fuzz/corpus_tests.rs"]
mod corpus_tests;
#[cfg(test)]
mod flags;
#[cfg(test)]
mod model_check;
#[cfg(test)]
mod schedules;
