//! The fuzz target of `crates/wire/tests/fuzz/frames.rs`.

#![no_main]

#[path = "../../crates/wire/tests/fuzz/frames.rs"]
mod frames;
#[path = "../../crates/wire/tests/fuzz/messages.rs"]
#[expect(dead_code, reason = "`frames` uses only a part of it")]
mod messages;

libfuzzer_sys::fuzz_target!(|data: &[u8]| frames::check_input(data));
