//! `herder why`: the story of one session, as a running server tells it. Prints; decides nothing.

use crate::{
    args::Why,
    client::{Client, path},
    error::Outcome,
    table,
};
use serde_json::Value;

/// Prints it, a line an event.
pub(crate) fn run(options: &Why) -> Outcome {
    let client = Client::of(&options.server)?;
    let path = path(&[&options.pool, "sessions", &options.session, "why"]);
    let text = if options.json { client.get(&path)? } else { told(&client.json(&path)?) };
    table::out(&text);
    Ok(())
}

fn told(trail: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let mut lines = vec![
        format!("session `{}` of pool `{}`", text(&trail["session"]), text(&trail["pool"])),
        text(&trail["summary"]),
    ];
    let events = trail["events"].as_array().map_or(&[][..], Vec::as_slice);
    if !events.is_empty() {
        lines.push(String::new());
    }
    if trail["complete"] == false {
        lines.push("(earlier events are no longer recorded)".into());
    }
    lines.extend(events.iter().map(|event| format!("{}  {}", moment(&text(&event["at"])), text(&event["text"]))));
    lines.join("\n")
}

/// As in logs, for people: a blank between date and time.
fn moment(rfc3339: &str) -> String {
    rfc3339.replacen('T', " ", 1)
}

#[cfg(test)]
mod tests {
    use super::told;
    use serde_json::json;

    #[test]
    fn a_story_is_a_line_an_event() {
        let trail = json!({
            "pool": "carts", "session": "ann", "summary": "active: its state is on w1.1", "complete": false,
            "events": [{ "at": "2026-11-24T06:15:02.113Z", "text": "1 call sent to w1.1" }],
        });
        let expected = "session `ann` of pool `carts`\nactive: its state is on w1.1\n\n\
                        (earlier events are no longer recorded)\n2026-11-24 06:15:02.113Z  1 call sent to w1.1";
        assert_eq!(told(&trail), expected);
    }
}
