//! What of the log is chosen: the text of `HERDER_LOG` as a filter. Pure.

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// What a filter looks like.
pub(super) const ALLOWED: &str = "such as `debug` or `info,herder_actors=trace`";

/// The crates of this binary that log, by the beginnings of their names. A word that is none of these and no level would choose nothing.
const PARTS: [&str; 5] = ["herder", "actix", "tokio", "mio", "ureq"];

/// Parses a filter, and refuses one that is taken for a target and would show nothing.
pub(super) fn filter(text: &str) -> Result<EnvFilter, String> {
    if let Some(word) = bare_words(text).find(|word| !is_level(word) && !is_part(word)) {
        return Err(if word.eq_ignore_ascii_case("json") {
            format!("`{word}` is not a filter; JSON logs are not supported yet")
        } else {
            format!("`{word}` is neither a log level nor a target of Herder; for another target, write `{word}=trace`")
        });
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

/// The directives that are one word: a level, or a target at every level. Of a text with spans, none: their fields may have commas.
fn bare_words(text: &str) -> impl Iterator<Item = &str> {
    let directives = text.split(',').filter(|_| !text.contains(['[', '{']));
    directives.map(str::trim).filter(|directive| !directive.is_empty() && !directive.contains('='))
}

fn is_level(word: &str) -> bool {
    word.parse::<LevelFilter>().is_ok()
}

fn is_part(word: &str) -> bool {
    PARTS.iter().any(|part| word.starts_with(part))
}
