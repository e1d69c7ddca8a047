//! `herder call --stream`: prints the items of a call as they arrive. Stops, and so cancels the call, when standard output is
//! closed.

use crate::{
    client::Client,
    error::{CommandError, Outcome},
    problem::problem,
    table,
};
use bytes::Bytes;
use futures_util::StreamExt;
use herder::{Call, Error};
use serde::de::IgnoredAny;
use std::io::BufRead;

/// What a line of server-sent events belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Item,
    Error,
    End,
}

/// Calls a command of a server, and prints the items.
pub(crate) fn remote(client: &Client, path: &str, mut headers: Vec<(&str, String)>, content: (&str, &[u8])) -> Outcome {
    headers.push(("Accept", "text/event-stream".to_owned()));
    print_events(client.post_for_events(path, &headers, content)?)
}

/// Prints the items of server-sent events.
///
/// # Errors
/// Fails with the error of the call, or if the events end too early.
fn print_events(events: impl BufRead) -> Outcome {
    let mut event = Event::Item;
    for line in events.lines() {
        let line = line.map_err(|error| CommandError::failed(format_args!("the stream was cut off: {error}")))?;
        match line.split_once(": ") {
            Some(("event", "error")) => event = Event::Error,
            Some(("event", "end")) => event = Event::End,
            Some(("data", item)) if event == Event::Item => match table::try_print_line(item) {
                Ok(()) => {}
                Err(_) => return Ok(()),
            },
            Some(("data", text)) if event == Event::Error => {
                let malformed = |error| CommandError::failed(format_args!("the error is malformed: {error}"));
                return Err(CommandError::Problem(serde_json::from_str(text).map_err(malformed)?));
            }
            Some(("data", _)) => return Ok(()),
            _ => {}
        }
    }
    Err(CommandError::failed("the connection ended before the end of the stream"))
}

/// Makes a call on a pool of this process, and prints the items.
pub(crate) async fn local(call: Call<IgnoredAny>) -> Outcome {
    let mut items = call.stream_json();
    while let Some(item) = items.next().await {
        let item: Bytes = item.map_err(|error| problem(&error))?;
        if table::try_print_line(&in_one_line(&item)?).is_err() {
            break;
        }
    }
    Ok(())
}

/// Returns an item as text without line breaks, which in JSON are only between tokens.
fn in_one_line(item: &Bytes) -> Outcome<String> {
    let value: &serde_json::value::RawValue =
        serde_json::from_slice(item).map_err(|error| problem(&Error::decode(error)))?;
    Ok(value.get().replace(['\n', '\r'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_end_with_the_error_of_the_call_or_with_an_end() {
        assert!(print_events(&b"data: 1\n\nevent: end\ndata: null\n\n"[..]).is_ok());
        let cut_off = print_events(&b"data: 1\n\n"[..]).unwrap_err();
        assert!(matches!(cut_off, CommandError::Failed(_)), "{cut_off:?}");
        let failed = print_events(&b"data: 1\n\nevent: error\ndata: {\"detail\":\"no\"}\n\n"[..]).unwrap_err();
        assert!(matches!(&failed, CommandError::Problem(problem) if problem["detail"] == "no"), "{failed:?}");
    }
}
