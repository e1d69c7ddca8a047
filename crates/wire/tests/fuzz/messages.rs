//! One frame with any kind, flags, wire id and body, read as either side reads it: no panic, and every message survives being
//! written and read again; so do payloads that are turned into the other codec. Run by libFuzzer and by `tests/fuzz.rs`.

use bytes::{BufMut, BytesMut};
use herder_wire::{
    CallResult, Codec, DEFAULT_MAX_FRAME, Decoder, Frame, HostMessage, WorkerMessage, check_json_object,
    json_to_msgpack, msgpack_to_json,
};

/// R41: the first three bytes are kind, flags and wire id, the others the body. No length has to be guessed to get past the header.
pub(crate) fn hold(data: &[u8]) {
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

/// What is kept for later versions is read, and never written.
pub(crate) fn parse(frame: Frame) {
    match HostMessage::parse(frame.clone()) {
        Ok(HostMessage::Ignored(_)) | Err(_) => {}
        Ok(message) => to_worker(&message),
    }
    match WorkerMessage::parse(frame) {
        Ok(WorkerMessage::Ignored(_)) | Err(_) => {}
        Ok(message) => to_host(&message),
    }
}

fn to_worker(message: &HostMessage) {
    let mut bytes = BytesMut::new();
    assert_eq!(message.encode(DEFAULT_MAX_FRAME, &mut bytes), Ok(()), "what was read can be written");
    assert_eq!(HostMessage::parse(only(bytes)).as_ref(), Ok(message));
    if let HostMessage::Call(call) = message {
        transcode(call.codec, &call.payload);
    }
}

fn to_host(message: &WorkerMessage) {
    let mut bytes = BytesMut::new();
    assert_eq!(message.encode(DEFAULT_MAX_FRAME, &mut bytes), Ok(()), "what was read can be written");
    assert_eq!(WorkerMessage::parse(only(bytes)).as_ref(), Ok(message));
    if let WorkerMessage::Result(CallResult { codec, payload, .. }) = message {
        transcode(*codec, payload);
    }
}

/// What became JSON is JSON, and goes back and forth without a change.
fn transcode(codec: Codec, payload: &[u8]) {
    let json = match codec {
        Codec::Json => json_to_msgpack(payload).and_then(|msgpack| msgpack_to_json(&msgpack)),
        Codec::Msgpack => msgpack_to_json(payload),
    };
    let accepted = check_json_object(payload).is_ok();
    let Ok(json) = json else { return };
    assert!(codec == Codec::Msgpack || accepted == json.starts_with(b"{"), "the check and the transcoder disagree");
    let again = json_to_msgpack(&json).and_then(|msgpack| msgpack_to_json(&msgpack));
    assert!(again.as_deref() == Ok(&json), "{} became {again:?}", json.escape_ascii());
}

fn only(mut bytes: BytesMut) -> Frame {
    let frame = Decoder::new(DEFAULT_MAX_FRAME).next(&mut bytes);
    assert!(bytes.is_empty(), "one frame");
    let Ok(Some(frame)) = frame else { panic!("a whole frame: {frame:?}") };
    frame
}
