//! The test vectors: every valid frame decodes to the fields beside it and encodes to the same bytes; every malformed frame is
//! refused with the named error (R41, R44). The tests of every other implementation use the same file.
use bytes::{Bytes, BytesMut};
use herder_wire::{
    Buffer, CallBuffers, DEFAULT_MAX_FRAME, Decoder, Frame, FrameError, FrameKind, HostMessage, Place, SlabIds, Stamps,
    WorkerMessage,
};
use serde_json::{Value, json};
use std::collections::HashSet;

const GOLDEN: &str = include_str!("../golden/frames.txt");

struct Line {
    name: &'static str,
    to_worker: bool,
    bytes: Bytes,
    wanted: Value,
}

fn lines(part: &str) -> Vec<Line> {
    let (_, rest) = GOLDEN.split_once(&format!("\n[{part}]\n")).unwrap();
    let part = rest.split("\n[").next().unwrap();
    part.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(line).collect()
}

fn line(text: &'static str) -> Line {
    let [name, way, hex, wanted] = text.splitn(4, ' ').collect::<Vec<_>>().try_into().unwrap();
    Line { name, to_worker: way == ">", bytes: unhex(hex), wanted: serde_json::from_str(wanted).unwrap() }
}

fn unhex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns all frames of a complete stream, or the error of the decoder, of the end of the stream, or of a message.
fn read(line: &Line) -> Result<Vec<(Frame, Message)>, FrameError> {
    let (mut decoder, mut buffer) = (Decoder::new(DEFAULT_MAX_FRAME), BytesMut::from(&line.bytes[..]));
    let mut messages = Vec::new();
    while let Some(frame) = decoder.next(&mut buffer)? {
        let message = if line.to_worker {
            Message::Host(HostMessage::parse(frame.clone())?)
        } else {
            Message::Worker(WorkerMessage::parse(frame.clone())?)
        };
        messages.push((frame, message));
    }
    decoder.finish(&buffer)?;
    Ok(messages)
}

#[derive(Debug)]
enum Message {
    Host(HostMessage),
    Worker(WorkerMessage),
}

impl Message {
    fn encode(&self) -> BytesMut {
        let mut out = BytesMut::new();
        match self {
            Self::Host(message) => message.encode(DEFAULT_MAX_FRAME, &mut out).unwrap(),
            Self::Worker(message) => message.encode(DEFAULT_MAX_FRAME, &mut out).unwrap(),
        }
        out
    }

    /// Returns the fields in the form of the file, without those of the header.
    fn describe(&self) -> Value {
        match self {
            Self::Host(message) => describe_host(message),
            Self::Worker(message) => describe_worker(message),
        }
    }
}

fn describe_host(message: &HostMessage) -> Value {
    match message {
        HostMessage::Hello(hello) => {
            let mut fields = serde_json::to_value(hello).unwrap();
            fields["protocol"] = json!(1);
            json!({"hello": fields})
        }
        HostMessage::Call(call) => {
            let mut fields = json!({
                "deadline": call.deadline.map_or(0, |deadline| deadline.0),
                "epoch": call.session.as_ref().map_or(0, |(_, epoch)| epoch.0),
                "command": call.command,
                "session": call.session.as_ref().map(|(session, _)| session.as_str()),
                "payload_hex": hex(&call.payload),
            });
            if call.stream {
                fields["stream"] = json!(true);
            }
            if let Some(CallBuffers { take, buffers }) = &call.buffers {
                (fields["take"], fields["buffers"]) = (json!(take), describe_buffers(buffers));
            }
            fields
        }
        HostMessage::Headers { headers, .. } => json!({"headers": headers}),
        HostMessage::Batch { calls } => json!({"calls": calls}),
        HostMessage::Cancel { interrupt, .. } => json!({"interrupt": interrupt}),
        HostMessage::Revoke { .. } | HostMessage::Ping { .. } | HostMessage::Shutdown => json!({}),
        HostMessage::Credit { bytes, .. } => json!({"bytes": bytes}),
        HostMessage::HealthCheck { timeout_ms, .. } => json!({"timeout_ms": timeout_ms}),
        HostMessage::SlabFree(SlabIds(slabs)) | HostMessage::SlabDrop(SlabIds(slabs)) => json!({"slabs": slabs}),
        HostMessage::LogLevel(level) => json!({"level": level.name()}),
        HostMessage::SessionEnd(end) => {
            json!({"epoch": end.epoch.0, "reason": end.reason.name(), "session": end.session.as_str()})
        }
    }
}

fn describe_worker(message: &WorkerMessage) -> Value {
    match message {
        WorkerMessage::Hello(hello) => {
            let mut fields = serde_json::to_value(hello).unwrap();
            fields["protocol"] = json!(1);
            json!({"hello": fields})
        }
        WorkerMessage::Ready(ready) => json!({"ready": ready}),
        WorkerMessage::Chunk { item, buffers, .. } if buffers.is_empty() => json!({"payload_hex": hex(item)}),
        WorkerMessage::Chunk { item, buffers, .. } => {
            json!({"payload_hex": hex(item), "buffers": describe_buffers(buffers)})
        }
        WorkerMessage::StreamEnd { stamps, .. } => {
            json!({"started": stamps.started.0, "ended": stamps.ended.0, "end_of_stream": true})
        }
        WorkerMessage::Result(result) => {
            let Stamps { started, ended } = result.stamps;
            let mut fields = json!({"started": started.0, "ended": ended.0, "payload_hex": hex(&result.payload)});
            if !result.buffers.is_empty() {
                fields["buffers"] = describe_buffers(&result.buffers);
            }
            fields
        }
        WorkerMessage::Error { stamps, error, .. } => {
            json!({"started": stamps.started.0, "ended": stamps.ended.0, "error": error})
        }
        WorkerMessage::StartFailed(error) => json!({"started": 0, "ended": 0, "error": error}),
        WorkerMessage::AttemptState { state, .. } => json!({"state": format!("{state:?}").to_lowercase()}),
        WorkerMessage::Pong { .. } => json!({}),
        WorkerMessage::Health { reason, .. } => json!({"reason": reason}),
        WorkerMessage::SlabFree(SlabIds(slabs)) | WorkerMessage::SlabDrop(SlabIds(slabs)) => json!({"slabs": slabs}),
    }
}

fn describe_buffers(buffers: &[Buffer]) -> Value {
    let describe = |buffer: &Buffer| {
        let mut fields = json!({
            "at": buffer.pointer(), "hex": hex(buffer.bytes()), "dtype": buffer.dtype(), "shape": buffer.shape(),
            "type": buffer.media_type(),
        });
        if let Some(Place { slab, offset, length }) = buffer.place() {
            (fields["slab"], fields["offset"], fields["len"]) = (json!(slab), json!(offset), json!(length));
        }
        fields
    };
    buffers.iter().map(describe).collect()
}

#[test]
fn r44_every_golden_frame_decodes_to_its_fields_and_encodes_to_its_bytes() {
    for mut line in lines("frames") {
        let messages = read(&line).unwrap_or_else(|e| panic!("{}: {e}", line.name));
        let [(frame, message)] = &messages[..] else { panic!("{}: {} frames", line.name, messages.len()) };
        let mut found = message.describe();
        let header = frame.header;
        found["kind"] = json!(header.kind.name());
        found["wire_id"] = json!(header.wire.0);
        check_payload(&mut line.wanted);
        assert_eq!(found, line.wanted, "{}", line.name);
        assert_eq!(hex(&message.encode()), hex(&line.bytes), "{}", line.name);
    }
}

/// Checks that the value of the payload and its bytes in hex are the same.
fn check_payload(wanted: &mut Value) {
    let Some(value) = wanted.as_object_mut().unwrap().remove("payload") else { return };
    let payload = unhex(wanted["payload_hex"].as_str().unwrap());
    assert_eq!(serde_json::from_slice::<Value>(&payload).unwrap(), value);
}

#[test]
fn r44_every_kind_in_use_has_a_golden_frame() {
    let seen: HashSet<_> =
        lines("frames").iter().map(|line| line.wanted["kind"].as_str().unwrap().to_owned()).collect();
    for kind in FrameKind::ALL {
        assert!(seen.contains(kind.name()), "{kind} has no golden frame");
    }
}

#[test]
fn r41_ignored_frames_are_passed_over() {
    for line in lines("ignored") {
        let messages = read(&line).unwrap_or_else(|e| panic!("{}: {e}", line.name));
        assert!(messages.is_empty(), "{}: {messages:?}", line.name);
    }
}

#[test]
fn r41_every_malformed_frame_is_found_under_its_name() {
    let mut names = HashSet::new();
    for line in lines("malformed") {
        let error = read(&line).map(|messages| panic!("{}: read as {messages:?}", line.name)).unwrap_err();
        assert_eq!(error.name(), line.wanted["error"].as_str().unwrap(), "{}: {error}", line.name);
        assert!(!error.to_string().is_empty());
        names.insert(error.name());
    }
    // One name for each variant of FrameError: a new variant needs a test vector.
    assert_eq!(names.len(), 20, "{names:?}");
}

/// The protocol page names every test vector, every error and every kind.
#[test]
fn r44_the_protocol_page_names_every_vector_and_error() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md")).unwrap();
    let vectors = ["frames", "ignored", "malformed"].map(lines);
    for line in vectors.iter().flatten() {
        assert!(page.contains(&format!("`{}`", line.name)), "{} is not on the page", line.name);
        let error = line.wanted["error"].as_str().filter(|_| line.wanted.get("kind").is_none());
        assert!(error.is_none_or(|name| page.contains(&format!("`{name}`"))), "{error:?} is not on the page");
    }
    for kind in FrameKind::ALL {
        assert!(page.contains(&format!("| {} | {} |", *kind as u8, kind)), "{kind} is not on the page");
    }
}
