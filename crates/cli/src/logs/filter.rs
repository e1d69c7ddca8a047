//! The log filter of `HERDER_LOG`. Pure.

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Examples of a filter.
pub(super) const ALLOWED: &str = "such as `debug` or `info,herder_actors=trace`";

/// The prefixes of the crates in this binary that write to the log. A word that is neither one of these nor a level
/// would match nothing.
const PARTS: [&str; 5] = ["herder", "actix", "tokio", "mio", "ureq"];

/// Parses a filter. Refuses a word that would be read as a target that matches nothing.
pub(super) fn filter(text: &str) -> Result<EnvFilter, String> {
    if let Some(word) = single_words(text).find(|word| !is_level(word) && !is_part(word)) {
        return Err(if word.eq_ignore_ascii_case("json") {
            format!("`{word}` is not a filter; JSON logs are not supported yet")
        } else {
            format!("`{word}` is neither a log level nor a target of Herder; for another target, write `{word}=trace`")
        });
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

/// Returns the directives that are a single word: a level, or a target at every level. Returns none for a text with
/// spans, because their fields may contain commas.
fn single_words(text: &str) -> impl Iterator<Item = &str> {
    let directives = text.split(',').filter(|_| !text.contains(['[', '{']));
    directives.map(str::trim).filter(|directive| !directive.is_empty() && !directive.contains('='))
}

fn is_level(word: &str) -> bool {
    word.parse::<LevelFilter>().is_ok()
}

fn is_part(word: &str) -> bool {
    PARTS.iter().any(|part| word.starts_with(part))
}
