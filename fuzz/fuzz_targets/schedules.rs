//! What is held: `crates/core/tests/schedules`, with bytes in place of a seed.

#![no_main]

#[path = "../../crates/core/tests/schedules/driver.rs"]
#[expect(dead_code, reason = "seeds, and steps that are printed")]
mod driver;
#[path = "../../crates/core/tests/schedules/model.rs"]
mod model;
#[path = "../../crates/core/tests/schedules/operations.rs"]
mod operations;
#[path = "../../crates/core/tests/schedules/rest.rs"]
mod rest;
#[path = "../../crates/core/tests/schedules/rng.rs"]
mod rng;
#[path = "../../crates/core/tests/schedules/settings.rs"]
mod settings;
#[path = "../../crates/core/tests/schedules/states.rs"]
mod states;
#[path = "../../crates/core/tests/schedules/world.rs"]
mod world;

libfuzzer_sys::fuzz_target!(|data: &[u8]| driver::hold(data));
