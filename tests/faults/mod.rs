//! One test for each fault that a worker or a caller can cause, on a pool of real processes. Each test proves that the caller
//! of the faulty call gets one clear error, that no other caller is affected, and that the pool recovers without help. A test's
//! name is the situation; the outcome is the test's row in `docs/faults.md`, a table that these tests write.

mod bad_input;
mod deadlines;
mod handlers;
mod harness;
mod limits;
mod processes;
mod protocol;
mod start;
mod table;
