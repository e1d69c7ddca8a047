//! Tests of the test kit (`herder::testing`): its fakes behave like workers, its clock drives a pool, and its checks find what
//! they look for.

mod clock;
mod concurrent;
mod processes;
mod script;
