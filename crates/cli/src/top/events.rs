//! Reads server-sent events of the server (`GET /v1/events`) and formats them as lines. Holds no state.

use serde_json::Value;
use std::io::BufRead;

/// An event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ServerEvent {
    /// Where to continue after it.
    pub(super) id: Option<String>,
    /// The line that shows it.
    pub(super) text: String,
}

/// Reads events to the end of the stream.
pub(super) fn read(stream: impl BufRead) -> impl Iterator<Item = ServerEvent> {
    let mut lines = stream.lines();
    std::iter::from_fn(move || {
        let (mut id, mut kind, mut data) = (None, String::new(), String::new());
        loop {
            let line = lines.next()?.ok()?;
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => id = Some(value.to_owned()),
                "event" => value.clone_into(&mut kind),
                "data" => data += value,
                // An empty line ends an event; without data, there was none.
                "" if line.is_empty() && !data.is_empty() => {
                    return Some(ServerEvent { id, text: shown(&kind, &data) });
                }
                _ => {}
            }
        }
    })
}

fn shown(kind: &str, data: &str) -> String {
    if kind == "gap" {
        return "(events were missed)".into();
    }
    let Ok(event) = serde_json::from_str::<Value>(data) else { return data.to_owned() };
    let text = |key: &str| event[key].as_str().unwrap_or_default();
    // The time of day, without the fraction of a second.
    let time = text("at").split_once('T').map_or("", |(_, time)| time.get(..8).unwrap_or(time));
    let message = format!("{}{}", what(text("kind")), text("message"));
    let parts = [time, text("pool"), text("worker"), &message];
    parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("  ")
}

/// Returns what precedes the message of an event of this kind. Empty if the message says what happened.
fn what(kind: &str) -> &'static str {
    match kind {
        "worker_exited" => "exited: ",
        "worker_killed" => "killed: ",
        "worker_stopped" => "stopped: ",
        "start_failed" => "start failed: ",
        "session_lost" => "session lost: ",
        "call_failed" => "call failed: ",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_read_with_their_ids() {
        let stream = ": hello\n\nid: 7\ndata: {\"at\": \"2026-11-30T16:10:23.5Z\", \"pool\": \"carts\", \"kind\": \"worker_exited\", \
                      \"worker\": \"w2\",\ndata: \"message\": \"signal 9\"}\n\ndata: {\"kind\": \"worker_ready\", \"message\": \
                      \"the worker is ready\"}\n\nevent: gap\ndata: {}\n\ndata: {\"cut";
        let expected = [
            ServerEvent { id: Some("7".into()), text: "16:10:23  carts  w2  exited: signal 9".into() },
            ServerEvent { id: None, text: "the worker is ready".into() },
            ServerEvent { id: None, text: "(events were missed)".into() },
        ];
        assert_eq!(read(stream.as_bytes()).collect::<Vec<_>>(), expected);
    }
}
