//! The fuzz target of `tests/fuzz/configuration.rs`.

#![no_main]

#[path = "../../tests/fuzz/configuration.rs"]
mod configuration;

libfuzzer_sys::fuzz_target!(|data: &[u8]| configuration::check_input(data));
