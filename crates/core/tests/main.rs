//! Tests of the public interface of the core: answers by table, ten thousand random schedules, and every state of small
//! pools. They form one test binary, so that cargo links once and all run in parallel. `allocations` is separate, since
//! it replaces the allocator.

#[cfg(test)]
mod answers;
#[cfg(test)]
#[expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "reads the corpus and prints a failing input")]
#[path = "../../../fuzz/corpus_tests.rs"]
mod corpus_tests;
#[cfg(test)]
mod flags;
#[cfg(test)]
mod model_check;
#[cfg(test)]
mod schedules;
