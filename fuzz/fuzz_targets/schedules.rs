//! The fuzz target of `crates/core/tests/schedules`, with bytes instead of a seed.

#![no_main]

#[path = "../../crates/core/tests/schedules/harness.rs"]
#[expect(dead_code, reason = "the target uses no seeds and prints no steps")]
mod harness;
#[path = "../../crates/core/tests/schedules/model.rs"]
mod model;
#[path = "../../crates/core/tests/schedules/operations.rs"]
mod operations;
#[path = "../../crates/core/tests/schedules/quiesce.rs"]
mod quiesce;
#[path = "../../crates/core/tests/schedules/rng.rs"]
mod rng;
#[path = "../../crates/core/tests/schedules/settings.rs"]
mod settings;
#[path = "../../crates/core/tests/schedules/invariants.rs"]
mod invariants;
#[path = "../../crates/core/tests/schedules/processes.rs"]
mod processes;

libfuzzer_sys::fuzz_target!(|data: &[u8]| harness::check_input(data));
