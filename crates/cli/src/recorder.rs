//! `herder recorder`: prints the flight recorder of a worker process, which it requests from a running server.

use crate::{
    args::Recorder,
    client::{Client, path},
    error::Outcome,
    table::{self, aligned, shown},
};
use serde_json::Value;

/// Prints the recording, one line per frame.
pub(crate) fn run(options: &Recorder) -> Outcome {
    let client = Client::of(&options.server)?;
    let mut path = path(&[&options.pool, "workers", &options.worker, "recorder"]);
    if let Some(generation) = options.generation {
        path += &format!("?generation={generation}");
    }
    let text = if options.json { client.get(&path)? } else { render(&options.pool, &client.json(&path)?) };
    table::print_line(&text);
    Ok(())
}

/// Renders a recording.
pub(crate) fn render(pool: &str, recording: &Value) -> String {
    let process = format!("{}.{}", shown(&recording["worker"]), shown(&recording["generation"]));
    let end = recording["exit"]["reason"].as_str().unwrap_or("running");
    let mut text = format!("worker {process} of pool `{pool}`: {end}\n");
    for (key, name) in [("started_at", "started"), ("ended_at", "ended")] {
        if let Some(time) = recording[key].as_str() {
            text += &format!("{name} {}\n", time.replacen('T', " ", 1));
        }
    }
    if let Some(peak) = recording["exit"]["peak_memory"].as_u64() {
        text += &format!("peak memory: {} MiB\n", peak >> 20);
    }
    text + &frames(recording) + &transitions(recording) + &output(recording)
}

fn frames(recording: &Value) -> String {
    let frame = |frame: &Value| {
        let keys = ["direction", "descriptor", "kind", "wire", "length", "command"];
        let fault =
            [&frame["fault"], &frame["bytes"]].into_iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ");
        let mut row = vec![clock(&frame["at"])];
        row.extend(keys.iter().map(|key| shown(&frame[key])));
        row.push(fault);
        row
    };
    let rows: Vec<Vec<String>> = list(&recording["frames"]).map(frame).collect();
    if rows.is_empty() {
        return String::new();
    }
    let dropped = match recording["dropped_frames"].as_u64() {
        None | Some(0) => String::new(),
        Some(1) => "(1 earlier frame is no longer recorded)\n".into(),
        Some(count) => format!("({count} earlier frames are no longer recorded)\n"),
    };
    let titles = ["TIME", "DIRECTION", "DESCRIPTOR", "KIND", "WIRE", "BYTES", "COMMAND", "FAULT"];
    format!("\n{dropped}{}\n", aligned(&titles, &rows))
}

fn transitions(recording: &Value) -> String {
    let row = |change: &Value| {
        let [from, to, reason] = ["from", "to", "reason"].map(|key| shown(&change[key]));
        vec![clock(&change["at"]), from, to, reason]
    };
    let rows: Vec<Vec<String>> = list(&recording["transitions"]).map(row).collect();
    if rows.is_empty() { String::new() } else { format!("\n{}\n", aligned(&["TIME", "FROM", "TO", "REASON"], &rows)) }
}

fn output(recording: &Value) -> String {
    let lines: Vec<String> = list(&recording["stderr_tail"]).map(|line| format!("\n  {}", shown(line))).collect();
    if lines.is_empty() { String::new() } else { format!("\nlast output:{}", lines.concat()) }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// Returns the time of day. The date is printed above.
fn clock(rfc3339: &Value) -> String {
    let text = rfc3339.as_str().unwrap_or("-");
    text.split_once('T').map_or(text, |(_, time)| time).to_owned()
}

#[cfg(test)]
mod tests {
    use super::render;
    use serde_json::json;

    #[test]
    fn a_recording_has_one_line_per_frame() {
        let recording = json!({
            "worker": "w2", "generation": 1, "started_at": "2026-11-24T06:15:02.113000Z", "ended_at": null,
            "exit": { "reason": "signal 9 (SIGKILL)", "peak_memory": 104857600 }, "dropped_frames": 7,
            "frames": [{
                "at": "2026-11-24T06:15:02.113001Z", "direction": "received", "descriptor": "calls", "kind": "unknown (0x6f)",
                "length": 3, "fault": "reserved_bytes", "bytes": "0a",
            }],
            "transitions": [{ "at": "2026-11-24T06:15:02.113002Z", "from": "ready", "to": "terminating", "reason": "shutdown requested" }],
            "stderr_tail": ["oh"],
        });
        let expected = "worker w2.1 of pool `carts`: signal 9 (SIGKILL)\n\
            started 2026-11-24 06:15:02.113000Z\n\
            peak memory: 100 MiB\n\n\
            (7 earlier frames are no longer recorded)\n\
            TIME              DIRECTION  DESCRIPTOR  KIND            WIRE  BYTES  COMMAND  FAULT\n\
            06:15:02.113001Z  received   calls       unknown (0x6f)  -     3      -        reserved_bytes 0a\n\n\
            TIME              FROM   TO           REASON\n\
            06:15:02.113002Z  ready  terminating  shutdown requested\n\n\
            last output:\n  oh";
        assert_eq!(render("carts", &recording), expected);
    }
}
