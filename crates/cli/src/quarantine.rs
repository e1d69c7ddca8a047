//! `herder quarantine`: lists the calls that killed workers of a running server, or releases one.

use crate::{
    args::Quarantine,
    client::{Client, path},
    error::Outcome,
    table::{self, aligned, shown},
    units::micros,
};
use serde_json::{Value, json};

/// Releases a call, if one is given, else prints all.
pub(crate) fn run(options: &Quarantine) -> Outcome {
    let client = Client::of(&options.server)?;
    let pool = &options.pool;
    let list = path(&[pool, "quarantine"]);
    let text = match &options.release {
        Some(fingerprint) => {
            client.delete(&path(&[pool, "quarantine", fingerprint]))?;
            format!("released {fingerprint} of pool `{pool}`")
        }
        None if options.json => client.get(&list)?,
        None => render(pool, &client.json(&list)?),
    };
    table::print_line(&text);
    Ok(())
}

fn render(pool: &str, answer: &Value) -> String {
    let rows: Vec<Vec<String>> = answer["quarantine"].as_array().into_iter().flatten().map(row).collect();
    if rows.is_empty() {
        return format!("no call has killed workers of pool `{pool}` lately");
    }
    aligned(&["FINGERPRINT", "COMMAND", "STATE", "DEATHS", "ENDS IN"], &rows)
}

fn row(entry: &Value) -> Vec<String> {
    let state = if entry["quarantined"] == true { "quarantined" } else { "suspected" };
    let ends_in = entry["release_in_ms"].as_u64().map(|ms| ms.saturating_mul(1000));
    vec![
        shown(&entry["fingerprint"]),
        shown(&entry["command"]),
        state.into(),
        shown(&entry["deaths"]),
        micros(&json!(ends_in)),
    ]
}

#[cfg(test)]
mod tests {
    use super::render;
    use serde_json::json;

    #[test]
    fn calls_have_their_state_and_the_time_until_they_are_forgotten() {
        let entry = |command: &str, quarantined: bool| json!({ "fingerprint": "0a1b", "command": command, "deaths": 1, "quarantined": quarantined, "release_in_ms": 240_000 });
        let answer = json!({ "quarantine": [entry("resize", true), entry("add", false)] });
        let expected = "\
FINGERPRINT  COMMAND  STATE        DEATHS  ENDS IN
0a1b         resize   quarantined  1       4 min 0 s
0a1b         add      suspected    1       4 min 0 s";
        assert_eq!(render("carts", &answer), expected);
        let none = render("carts", &json!({ "quarantine": [] }));
        assert_eq!(none, "no call has killed workers of pool `carts` lately");
    }
}
