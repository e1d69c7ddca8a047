//! `herder log-level`: shows or changes the level of a pool's events in the log of a running server.

use crate::{
    args::LogLevel,
    client::{Client, path},
    error::{CommandError, Outcome},
    table,
};
use serde_json::{Value, json};

/// What stands for no level of its own.
const DEFAULT: &str = "default";

/// Changes the level, if one is given, and prints it.
pub(crate) fn run(options: &LogLevel) -> Outcome {
    let client = Client::of(&options.server)?;
    let path = path(&[&options.pool, "log-level"]);
    let answer = match options.level.as_deref() {
        None => client.get(&path)?,
        Some(level) => client.put(&path, &json!({ "level": (level != DEFAULT).then_some(level) }).to_string())?,
    };
    let answer: Value = serde_json::from_str(&answer)
        .map_err(|error| CommandError::failed(format_args!("the server's response is malformed: {error}")))?;
    table::print_line(&format!("{}: {}", options.pool, answer["level"].as_str().unwrap_or(DEFAULT)));
    Ok(())
}
