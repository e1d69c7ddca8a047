//! The life of a process: [`start`] (which processes are started, and their readiness), [`pings`], [`stop`], [`death`]
//! (its exit, step by step) and [`restarts`] (what replaces it; the failure of the pool). The records of the processes
//! are in [`Workers`](crate::worker::Workers).

mod death;
mod pings;
mod restarts;
mod start;
mod stop;
