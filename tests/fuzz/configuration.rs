//! The fuzz target of the configuration: any text is either a valid configuration or refused with problems that have a position
//! in the text. Reading is deterministic. Run by libFuzzer and by `tests/fuzz.rs`.

use herder::config::{Config, ConfigError, ConfigProblem, duration};
use std::path::Path;

/// Checks one input (R51).
pub(crate) fn check_input(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    check_duration(text);
    match read(text) {
        Ok(config) => {
            assert!(!config.pools.is_empty(), "a valid configuration has a pool");
            assert_eq!(read(text).ok(), Some(config));
        }
        Err(error) => {
            assert!(!error.problems().is_empty() && !error.to_string().is_empty(), "{error:?}");
            error.problems().iter().for_each(|problem| check_position(text, problem));
        }
    }
}

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::from_toml(text, Path::new("."))
}

/// Asserts that the position of a problem is in the text or directly after it.
fn check_position(text: &str, problem: &ConfigProblem) {
    let line = text.split('\n').nth(problem.line - 1);
    let columns = line.map(|line| line.chars().count() + 1);
    assert!(columns.is_some_and(|columns| (1..=columns).contains(&problem.column)), "{problem:?}");
    assert!(!problem.message.contains('\n'), "{problem:?}");
}

/// Asserts that a duration that was parsed is parsed again from its displayed form.
fn check_duration(text: &str) {
    if let Ok(read) = duration::parse(text) {
        assert_eq!(duration::parse(&duration::show(read)), Ok(read));
    }
}
