//! Every fault a worker or a caller can bring, against whole pools of real processes: one clear error to the one caller concerned,
//! nobody else notices, and the pool is whole again by itself. `docs/faults.md` is the table these tests write.

mod bad_input;
mod deadlines;
mod handlers;
mod harness;
mod limits;
mod processes;
mod protocol;
mod start;
mod table;
