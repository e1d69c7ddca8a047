//! Fuzz target: one frame with any kind, flags, wire id and body, parsed by either side. Parsing must not panic, each message
//! must survive being encoded and parsed again, and `check_json_object` must accept what a parser accepts. Run by libFuzzer and
//! by `tests/fuzz.rs`.

use bytes::{BufMut, BytesMut};
use herder_wire::{DEFAULT_MAX_FRAME, Decoder, Frame, HostMessage, PayloadError, WorkerMessage, check_json_object};
use serde_json::Value;

/// R41: the first three bytes are kind, flags and wire id; the rest is the body. The fuzzer does not have to guess a length.
pub(crate) fn check_input(data: &[u8]) {
    let [kind, flags, wire, body @ ..] = data else { return };
    let mut bytes = BytesMut::new();
    bytes.put_u32_le(body.len() as u32);
    bytes.put_slice(&[*kind, *flags, 0, 0]);
    bytes.put_u64_le(u64::from(*wire));
    bytes.put_slice(body);
    if let Ok(Some(frame)) = Decoder::new(DEFAULT_MAX_FRAME).next(&mut bytes) {
        parse(frame);
    }
}

/// Parses the frame as both sides do.
pub(crate) fn parse(frame: Frame) {
    if let Ok(message) = HostMessage::parse(frame.clone()) {
        to_worker(&message);
    }
    if let Ok(message) = WorkerMessage::parse(frame) {
        to_host(&message);
    }
}

fn to_worker(message: &HostMessage) {
    let mut bytes = BytesMut::new();
    assert_eq!(message.encode(DEFAULT_MAX_FRAME, &mut bytes), Ok(()), "what was read can be written");
    assert_eq!(HostMessage::parse(only(bytes)).as_ref(), Ok(message));
    if let HostMessage::Call(call) = message {
        check(&call.payload);
    }
}

fn to_host(message: &WorkerMessage) {
    let mut bytes = BytesMut::new();
    assert_eq!(message.encode(DEFAULT_MAX_FRAME, &mut bytes), Ok(()), "what was read can be written");
    assert_eq!(WorkerMessage::parse(only(bytes)).as_ref(), Ok(message));
    if let WorkerMessage::Result(result) = message {
        check(&result.payload);
    }
    if let WorkerMessage::Chunk { item, .. } = message {
        check(item);
    }
}

/// Checks that `check_json_object` and serde_json agree, except for integers that are too long for Python.
fn check(payload: &[u8]) {
    let checked = check_json_object(payload);
    match serde_json::from_slice(payload) {
        Ok(_) if checked == Err(PayloadError::IntegerTooLong) => {}
        Ok(Value::Object(_)) => assert_eq!(checked, Ok(()), "{}", payload.escape_ascii()),
        Ok(_) => assert_eq!(checked, Err(PayloadError::NotAnObject), "{}", payload.escape_ascii()),
        Err(_) => {} // serde_json accepts less: no lone surrogates and no floats out of range
    }
}

fn only(mut bytes: BytesMut) -> Frame {
    let frame = Decoder::new(DEFAULT_MAX_FRAME).next(&mut bytes);
    assert!(bytes.is_empty(), "one frame");
    let Ok(Some(frame)) = frame else { panic!("a whole frame: {frame:?}") };
    frame
}
