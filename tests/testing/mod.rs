//! The kit for tests (`herder::testing`), used on itself: what it says of a pool is so, and what it does to a pool happens.

mod clock;
mod concurrent;
mod processes;
mod script;
