//! The fuzz target of `crates/wire/tests/fuzz/messages.rs`.

#![no_main]

#[path = "../../crates/wire/tests/fuzz/messages.rs"]
mod messages;

libfuzzer_sys::fuzz_target!(|data: &[u8]| messages::check_input(data));
