//! Threads with a fixed stack size.

use std::thread::Builder;

/// The default of the standard library, unless `RUST_MIN_STACK` sets another.
const STACK: usize = 2 * 1024 * 1024;

/// Returns a builder for a thread with this name and a stack of 2 MiB, regardless of `RUST_MIN_STACK`: an application that runs
/// thousands of small threads may set that variable to less than a pool needs.
pub fn thread_builder(name: impl Into<String>) -> Builder {
    Builder::new().name(name.into()).stack_size(STACK)
}
