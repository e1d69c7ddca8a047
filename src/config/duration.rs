//! Durations with a unit, such as `250ms`, `30s`, `5m` or `1h 30m`: parsed, and shown.

use serde::{Deserialize, Deserializer, de};
use std::time::Duration;

/// Parses a duration with its unit.
///
/// ```
/// use herder::config::duration;
/// use std::time::Duration;
/// assert_eq!(duration::parse("1m 30s"), Ok(Duration::from_secs(90)));
/// assert_eq!(duration::parse("30").unwrap_err(), "add a unit, such as \"30s\"");
/// ```
///
/// # Errors
/// Returns a message that says what is wrong with the text.
pub fn parse(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    if !text.is_empty() && text.chars().all(|c| c.is_ascii_digit()) {
        return Err(format!("add a unit, such as \"{text}s\""));
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// Shows a duration in a form that [`parse`] reads back, such as `1m 30s`.
pub fn show(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// Deserializes a duration that is set.
pub(super) fn written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map(Some).map_err(de::Error::custom)
}

/// Deserializes a list of durations that is set.
pub(super) fn all_written<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<Duration>>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| parse(text)).collect::<Result<_, _>>().map(Some).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// R17: [`parse`] reads back every shown duration, exact to the nanosecond.
        #[test]
        fn r17_durations_round_trip(seconds in 0..=4_000_000_000_u64, nanos in 0..1_000_000_000_u32) {
            let duration = Duration::new(seconds, nanos);
            prop_assert_eq!(parse(&show(duration)), Ok(duration));
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in ".*") {
            let _ = parse(&text);
        }
    }

    #[test]
    fn r17_durations_need_a_known_unit() {
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(parse("5m"), Ok(Duration::from_secs(300)));
        assert_eq!(parse(" 1h 30m "), Ok(Duration::from_secs(5400)));
        for bad in ["", "30", "s", "-1s", "5 parsecs", "99999999999999999999s"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
