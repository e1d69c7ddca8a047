//! `herder why`: prints the history of a session, which it requests from a running server.

use crate::{
    args::Why,
    client::{Client, path},
    error::Outcome,
    table,
};
use serde_json::Value;

/// Prints the history, one line per event.
pub(crate) fn run(options: &Why) -> Outcome {
    let client = Client::of(&options.server)?;
    let path = path(&[&options.pool, "sessions", &options.session, "why"]);
    let text = if options.json { client.get(&path)? } else { render(&client.json(&path)?) };
    table::print_line(&text);
    Ok(())
}

fn render(history: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut lines = vec![
        format!("session `{}` of pool `{}`", text(&history["session"]), text(&history["pool"])),
        text(&history["summary"]),
    ];
    let events = history["events"].as_array().map_or(&[][..], Vec::as_slice);
    if !events.is_empty() {
        lines.push(String::new());
    }
    if history["complete"] == false {
        lines.push("(earlier events are no longer recorded)".into());
    }
    lines.extend(events.iter().map(|event| format!("{}  {}", moment(&text(&event["at"])), text(&event["text"]))));
    lines.join("\n")
}

/// Formats a time as in the log: with a space between date and time.
fn moment(rfc3339: &str) -> String {
    rfc3339.replacen('T', " ", 1)
}

#[cfg(test)]
mod tests {
    use super::render;
    use serde_json::json;

    #[test]
    fn session_history_prints_one_line_per_event() {
        let history = json!({
            "pool": "carts", "session": "ann", "summary": "active: its state is on w1.1", "complete": false,
            "events": [{ "at": "2026-11-24T06:15:02.113Z", "text": "1 call sent to w1.1" }],
        });
        let expected = "session `ann` of pool `carts`\nactive: its state is on w1.1\n\n\
                        (earlier events are no longer recorded)\n2026-11-24 06:15:02.113Z  1 call sent to w1.1";
        assert_eq!(render(&history), expected);
    }
}
