//! Any text as a configuration file: it is read, or every problem of it has a place in it. What is read is the same when it is read
//! again. Run by libFuzzer and by `tests/fuzz.rs`.

use herder::config::{Config, ConfigError, ConfigProblem, duration};
use std::path::Path;

/// R51
pub(crate) fn check_input(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    span(text);
    match read(text) {
        Ok(config) => {
            assert!(!config.pools.is_empty(), "a configuration without a pool");
            assert_eq!(read(text).ok(), Some(config));
        }
        Err(error) => {
            assert!(!error.problems().is_empty() && !error.to_string().is_empty(), "{error:?}");
            error.problems().iter().for_each(|problem| is_in(text, problem));
        }
    }
}

fn read(text: &str) -> Result<Config, ConfigError> {
    Config::from_toml(text, Path::new("."))
}

/// Its place is in the text, or right behind it.
fn is_in(text: &str, problem: &ConfigProblem) {
    let line = text.split('\n').nth(problem.line - 1);
    let columns = line.map(|line| line.chars().count() + 1);
    assert!(columns.is_some_and(|columns| (1..=columns).contains(&problem.column)), "{problem:?}");
    assert!(!problem.message.contains('\n'), "{problem:?}");
}

/// A duration that was read is read again from what is shown of it.
fn span(text: &str) {
    if let Ok(read) = duration::parse(text) {
        assert_eq!(duration::parse(&duration::show(read)), Ok(read));
    }
}
