//! Split streams, garbage, and messages of every shape: the decoder finds the same frames, never panics, and never asks for
//! more than one frame may need (R41).
use bytes::{BufMut, Bytes, BytesMut};
use herder_core::{AttemptState, Epoch, SessionId, Timestamp, WireId};
use herder_wire::*;
use proptest::{
    collection::{btree_set, vec},
    option,
    prelude::*,
};
use std::num::{NonZeroU8, NonZeroU32, NonZeroU64};

const MAX: u32 = 1 << 16;

fn session() -> impl Strategy<Value = SessionId> {
    "[a-zäé☕]{1,40}".prop_map(|text| SessionId::new(text).unwrap())
}

fn positive() -> impl Strategy<Value = NonZeroU32> {
    (1..=u32::MAX).prop_map(|number| NonZeroU32::new(number).unwrap())
}

fn payload() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..200).prop_map(Bytes::from)
}

fn wire() -> impl Strategy<Value = WireId> {
    (1..=u64::MAX).prop_map(WireId)
}

fn stamps() -> impl Strategy<Value = Stamps> {
    any::<(u64, u64)>().prop_map(|(started, ended)| Stamps { started: Timestamp(started), ended: Timestamp(ended) })
}

fn worker_error() -> impl Strategy<Value = WorkerError> {
    use WorkerErrorKind as K;
    let kinds = [K::Rejected, K::Exception, K::UnknownCommand, K::BadArguments, K::Malformed, K::Unencodable];
    let more = [K::Cancelled, K::TooLarge, K::StartFailed];
    let kind = proptest::sample::select([&kinds[..], &more[..]].concat());
    let text = || option::of(any::<String>());
    let data = option::of(any::<i64>().prop_map(|number| RejectionData::new(&[number]).unwrap().unwrap()));
    let rejection = (data, option::of(400..500_u16));
    (kind, any::<String>(), text(), text(), text(), vec(argument_error(), 0..4), rejection).prop_map(
        |(kind, message, type_name, code, traceback, errors, (data, status))| WorkerError {
            kind,
            message,
            type_name,
            code,
            data,
            status,
            traceback,
            errors: errors.into(),
        },
    )
}

fn argument_error() -> impl Strategy<Value = ArgumentError> {
    let step = prop_oneof![".{0,20}".prop_map(ArgumentStep::Key), any::<u64>().prop_map(ArgumentStep::Index)];
    (vec(step, 0..5), ".{0,200}", ".{0,20}").prop_map(|(loc, msg, kind)| ArgumentError::new(loc, msg, kind))
}

fn host_message() -> impl Strategy<Value = HostMessage> {
    let hello = (positive(), positive(), positive(), option::of(any::<String>()), any::<[u64; 2]>()).prop_map(
        |(concurrency, pipeline, max_frame, why, timeouts)| HostHello {
            concurrency,
            pipeline,
            max_frame,
            session_state: why.map_or(SessionStateSupport::Kept, SessionStateSupport::Refused),
            session_end_timeout_ms: NonZeroU64::new(timeouts[0]),
            stop_timeout_ms: NonZeroU64::new(timeouts[1]),
            stream_window: NonZeroU32::new(timeouts[1] as u32),
        },
    );
    let deadline = option::of((1..=u64::MAX).prop_map(Timestamp));
    let at = option::of((session(), any::<u64>().prop_map(Epoch)));
    let call = (wire(), deadline, "[a-zß]{0,30}", at, any::<bool>(), payload()).prop_map(
        |(wire, deadline, command, session, stream, payload)| CallFrame {
            wire,
            deadline,
            command: command.into(),
            session,
            stream,
            payload,
            buffers: None,
        },
    );
    let reason = prop_oneof![Just(EndReason::Ended), Just(EndReason::Expired), Just(EndReason::Moved)];
    let end = (session(), any::<u64>().prop_map(Epoch), reason).prop_map(|(session, epoch, reason)| SessionEnd {
        session,
        epoch,
        reason,
    });
    prop_oneof![
        hello.prop_map(HostMessage::Hello),
        call.prop_map(HostMessage::Call),
        (wire(), any::<bool>()).prop_map(|(wire, interrupt)| HostMessage::Cancel { wire, interrupt }),
        wire().prop_map(|wire| HostMessage::Revoke { wire }),
        (wire(), any::<u32>()).prop_map(|(wire, bytes)| HostMessage::Credit { wire, bytes }),
        btree_set(1..u64::MAX, 1..5)
            .prop_map(|calls| HostMessage::Batch { calls: calls.into_iter().map(WireId).collect() }),
        (wire(), vec(("[a-zA-Z-]{1,9}", "[ -~é]{0,20}"), 0..4)).prop_map(|(wire, all)| {
            let mut headers = CallHeaders::default();
            all.iter().for_each(|(name, value)| headers.add(name, value).unwrap());
            HostMessage::Headers { wire, headers }
        }),
        any::<u64>().prop_map(|nonce| HostMessage::Ping { nonce }),
        end.prop_map(HostMessage::SessionEnd),
        Just(HostMessage::Shutdown),
        any::<(u64, u64)>().prop_map(|(nonce, timeout_ms)| HostMessage::HealthCheck { nonce, timeout_ms }),
        vec(any::<u64>(), 1..4).prop_map(|slabs| HostMessage::SlabFree(SlabIds(slabs))),
        prop_oneof![Just(LogLevel::Off), Just(LogLevel::Info), Just(LogLevel::Trace)].prop_map(HostMessage::LogLevel),
    ]
}

fn worker_message() -> impl Strategy<Value = WorkerMessage> {
    let hello = any::<(u32, bool, u8)>();
    let installed = any::<(String, Option<String>)>().prop_map(|(path, unused)| InstalledPackage { path, unused });
    let hello = (hello, positive(), option::of(positive()), option::of(installed)).prop_map(
        |((pid, control, signal), window, in_order, installed)| {
            let stack_signal = NonZeroU8::new(signal);
            WorkerHello {
                pid,
                window,
                control,
                stack_signal,
                in_order,
                buffers: control,
                slabs: control,
                log_level: control,
                installed,
            }
        },
    );
    let entry = any::<(String, bool, u64)>().prop_map(|(name, idempotent, timeout)| CommandEntry {
        timeout_ms: NonZeroU64::new(timeout),
        stream: idempotent,
        batch: NonZeroU32::new(timeout as u32)
            .map(|max_batch_size| BatchEntry { max_batch_size, max_wait_us: timeout }),
        ..CommandEntry::new(name, idempotent)
    });
    let limits = (option::of(positive()), option::of(positive()), any::<bool>());
    let ready = (vec(entry, 0..5), limits).prop_map(|(mut commands, (window, in_order, health))| {
        commands.sort_by(|a, b| a.name.cmp(&b.name));
        commands.dedup_by(|a, b| a.name == b.name);
        Ready { commands, window, in_order, health }
    });
    let result = (wire(), stamps(), payload()).prop_map(|(wire, stamps, payload)| CallResult {
        wire,
        stamps,
        payload,
        buffers: Vec::new(),
    });
    prop_oneof![
        hello.prop_map(WorkerMessage::Hello),
        ready.prop_map(WorkerMessage::Ready),
        result.prop_map(WorkerMessage::Result),
        (wire(), payload()).prop_map(|(wire, item)| WorkerMessage::Chunk { wire, item, buffers: Vec::new() }),
        (wire(), stamps()).prop_map(|(wire, stamps)| WorkerMessage::StreamEnd { wire, stamps }),
        (wire(), stamps(), worker_error()).prop_map(|(wire, stamps, error)| WorkerMessage::Error {
            wire,
            stamps,
            error
        }),
        worker_error().prop_map(WorkerMessage::StartFailed),
        (wire(), state()).prop_map(|(wire, state)| WorkerMessage::AttemptState { wire, state }),
        any::<u64>().prop_map(|nonce| WorkerMessage::Pong { nonce }),
        any::<(u64, String)>().prop_map(|(nonce, reason)| WorkerMessage::Health { nonce, reason: reason.into() }),
    ]
}

fn state() -> impl Strategy<Value = AttemptState> {
    prop_oneof![Just(AttemptState::Running), Just(AttemptState::Withdrawn), Just(AttemptState::Finished)]
}

/// Writes an optional frame of a later version.
fn foreign(body: &[u8], out: &mut BytesMut) {
    out.put_u32_le(body.len() as u32);
    out.put_slice(&[250, 0b1111_1111, 0, 0]);
    out.put_u64_le(99);
    out.put_slice(body);
}

/// Feeds `bytes` to a decoder in pieces, as a socket does, and checks what the decoder asks for.
fn read_in_pieces(bytes: &[u8], mut cuts: Vec<usize>) -> Result<Vec<Frame>, FrameError> {
    let (mut decoder, mut buffer, mut frames) = (Decoder::new(MAX), BytesMut::new(), Vec::new());
    cuts.iter_mut().for_each(|cut| *cut %= bytes.len() + 1);
    cuts.extend([0, bytes.len()]);
    cuts.sort_unstable();
    for pair in cuts.windows(2) {
        buffer.extend_from_slice(&bytes[pair[0]..pair[1]]);
        while let Some(frame) = decoder.next(&mut buffer)? {
            assert_eq!(frame.body.len(), frame.header.length as usize);
            frames.push(frame);
        }
        let missing = decoder.missing(&buffer);
        assert!((1..=MAX_HELLO.max(MAX) as usize).contains(&missing), "asks for {missing}");
    }
    decoder.finish(&buffer)?;
    Ok(frames)
}

proptest! {
    #[test]
    fn r41_host_messages_survive_any_cutting(messages in vec(host_message(), 1..6), cuts in vec(any::<usize>(), 0..12)) {
        let mut bytes = BytesMut::new();
        for message in &messages {
            message.encode(MAX, &mut bytes).unwrap();
            foreign(b"later", &mut bytes);
        }
        let frames = read_in_pieces(&bytes, cuts).unwrap();
        let read: Vec<_> = frames.into_iter().map(|frame| HostMessage::parse(frame).unwrap()).collect();
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn r41_worker_messages_survive_any_cutting(messages in vec(worker_message(), 1..6), cuts in vec(any::<usize>(), 0..12)) {
        let mut bytes = BytesMut::new();
        for message in &messages {
            foreign(b"", &mut bytes);
            message.encode(MAX, &mut bytes).unwrap();
        }
        let frames = read_in_pieces(&bytes, cuts).unwrap();
        let read: Vec<_> = frames.into_iter().map(|frame| WorkerMessage::parse(frame).unwrap()).collect();
        prop_assert_eq!(read, messages);
    }

    #[test]
    fn r41_the_optional_flag_changes_nothing_on_a_known_kind(message in host_message()) {
        let mut bytes = BytesMut::new();
        message.encode(MAX, &mut bytes).unwrap();
        bytes[5] |= 1;
        let frames = read_in_pieces(&bytes, Vec::new()).unwrap();
        let read: Vec<_> = frames.into_iter().map(|frame| HostMessage::parse(frame).unwrap()).collect();
        prop_assert_eq!(read, [message]);
    }

    #[test]
    fn r41_a_stream_that_ends_inside_a_frame_says_so(message in worker_message(), cut in any::<proptest::sample::Index>()) {
        let mut bytes = BytesMut::new();
        message.encode(MAX, &mut bytes).unwrap();
        let cut = 1 + cut.index(bytes.len() - 1);
        match read_in_pieces(&bytes[..cut], Vec::new()) {
            Err(FrameError::TruncatedHeader { have }) => prop_assert_eq!(have, cut),
            Err(FrameError::TruncatedBody { have, need, .. }) => {
                prop_assert_eq!((have as usize, need as usize), (cut - HEADER_LEN, bytes.len() - HEADER_LEN));
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    #[test]
    fn r41_garbage_never_panics(bytes in vec(any::<u8>(), 0..300), cuts in vec(any::<usize>(), 0..6)) {
        parse_all(&bytes, cuts);
    }

    /// Garbage after a plausible header.
    #[test]
    fn r41_garbage_in_bodies_never_panics(
        kind in 1_u8..22, flags in any::<u8>(), wire in 0_u64..3, body in vec(any::<u8>(), 0..100), cuts in vec(any::<usize>(), 0..6),
    ) {
        let mut bytes = BytesMut::new();
        bytes.put_u32_le(body.len() as u32);
        bytes.put_slice(&[kind, flags, 0, 0]);
        bytes.put_u64_le(wire);
        bytes.put_slice(&body);
        parse_all(&bytes, cuts);
    }

    /// A message with one changed byte is parsed or refused without a panic.
    #[test]
    fn r41_one_wrong_byte_never_panics(message in worker_message(), at in any::<proptest::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = BytesMut::new();
        message.encode(MAX, &mut bytes).unwrap();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        parse_all(&bytes, Vec::new());
    }
}

fn parse_all(bytes: &[u8], cuts: Vec<usize>) {
    for frame in read_in_pieces(bytes, cuts).into_iter().flatten() {
        let _ = HostMessage::parse(frame.clone());
        let _ = WorkerMessage::parse(frame);
    }
}

/// R41: a length of 1 GiB is refused when the header is read, before anything is allocated, and again on a second call.
#[test]
fn r41_an_oversize_length_allocates_nothing() {
    let (mut decoder, mut buffer) = (Decoder::new(DEFAULT_MAX_FRAME), BytesMut::with_capacity(64));
    buffer.put_u32_le(1 << 30);
    buffer.put_slice(&[4, 0, 0, 0]);
    buffer.put_u64_le(7);
    let capacity = buffer.capacity();
    for _ in 0..2 {
        let refused = decoder.next(&mut buffer);
        assert_eq!(refused, Err(FrameError::Oversize { length: 1 << 30, max: DEFAULT_MAX_FRAME }));
        assert_eq!((buffer.capacity(), decoder.missing(&buffer)), (capacity, 0));
    }
}

/// The payload of a result shares the memory of the bytes that were read.
#[test]
fn results_are_not_copied() {
    let mut buffer = BytesMut::new();
    let stamps = Stamps { started: Timestamp(1), ended: Timestamp(2) };
    let payload = Bytes::from(vec![7; 5000]);
    let result = CallResult { wire: WireId(1), stamps, payload, buffers: Vec::new() };
    WorkerMessage::Result(result.clone()).encode(MAX, &mut buffer).unwrap();
    let place = buffer.as_ptr().wrapping_add(HEADER_LEN + 16);
    let frame = Decoder::new(MAX).next(&mut buffer).unwrap().unwrap();
    let WorkerMessage::Result(read) = WorkerMessage::parse(frame).unwrap() else { panic!("a result") };
    assert_eq!(read, result);
    assert_eq!(read.payload.as_ptr(), place);
}

/// A buffer that reserves what the decoder asks for receives the body of a large frame in one piece.
#[test]
fn a_large_body_can_be_reserved_exactly() {
    let (mut decoder, mut bytes) = (Decoder::new(MAX), BytesMut::new());
    let payload = Bytes::from(vec![7; 50_000]);
    let result = CallResult { wire: WireId(1), stamps: Stamps::NOT_RUN, payload, buffers: Vec::new() };
    WorkerMessage::Result(result).encode(MAX, &mut bytes).unwrap();
    let mut buffer = BytesMut::from(&bytes[..100]);
    assert_eq!(decoder.next(&mut buffer), Ok(None));
    assert_eq!(decoder.missing(&buffer), bytes.len() - 100);
}

/// The bytes of an optional frame are discarded as they arrive.
#[test]
fn r41_passing_over_keeps_nothing() {
    let (mut decoder, mut bytes) = (Decoder::new(MAX), BytesMut::new());
    foreign(&[1; 60_000], &mut bytes);
    let mut buffer = BytesMut::from(&bytes[..30_000]);
    assert_eq!(decoder.next(&mut buffer), Ok(None));
    assert!(buffer.is_empty());
    assert_eq!(
        decoder.finish(&buffer),
        Err(FrameError::TruncatedBody { kind: "optional", have: 30_000 - 16, need: 60_000 })
    );
}

/// A message that the peer would refuse is not encoded, and nothing is written.
#[test]
fn r41_frames_a_peer_would_refuse_are_not_encoded() {
    let mut out = BytesMut::new();
    let (session, deadline) = (None, None);
    let head = CallHead { wire: WireId(1), deadline, command: "echo", session, stream: false, buffers: false };
    assert_eq!(head.encode(1000, 1023, &mut out), Err(EncodeError::TooLarge { length: 1024, max: 1023 }));
    assert_eq!(head.encode(1000, 1024, &mut BytesMut::new()), Ok(()));
    let nobody = CallHead { wire: WireId(0), ..head };
    assert_eq!(nobody.encode(2, MAX, &mut out), Err(EncodeError::Refused(FrameError::MissingWireId(FrameKind::Call))));
    let long = "x".repeat(65536);
    let named = CallHead { command: &long, ..head };
    assert_eq!(named.encode(2, DEFAULT_MAX_FRAME, &mut out), Err(EncodeError::CommandTooLong { length: 65536 }));
    let error = WorkerError::new(WorkerErrorKind::Exception, "oh");
    let unasked = WorkerMessage::Error { wire: WireId(0), stamps: Stamps::NOT_RUN, error };
    assert_eq!(unasked.encode(MAX, &mut out), Err(EncodeError::Refused(FrameError::MissingWireId(FrameKind::Error))));
    assert!(out.is_empty());
}

/// An unknown kind of error counts as an exception, and unknown keys are skipped.
#[test]
fn errors_of_later_versions_are_exceptions() {
    let error: WorkerError = serde_json::from_str(r#"{"kind":"new","message":"m","hint":1}"#).unwrap();
    assert_eq!(error, WorkerError::new(WorkerErrorKind::Exception, "m"));
}

/// R38: the strings of an error may be malformed. The error still reaches the caller and does not end the worker.
#[test]
fn r38_the_texts_of_an_error_are_read_leniently() {
    let read = |text: &[u8]| serde_json::from_slice::<WorkerError>(text);
    let error =
        read(br#"{"kind":"exception","message":"a\ud800b","code":"\udc00","type":null,"traceback":"\ud83d\ude00"}"#);
    let error = error.unwrap();
    assert!(error.message.starts_with("a\u{fffd}") && error.message.ends_with('b'), "{error:?}");
    assert!(error.code.unwrap().chars().all(|each| each == '\u{fffd}'));
    assert_eq!((error.type_name, error.traceback.as_deref()), (None, Some("\u{1f600}")));
    let twice = read(br#"{"kind":"rejected","kind":"cancelled","\ud800":1,"message":"1","message":"2","x":1,"x":[2]}"#);
    assert_eq!(twice.unwrap(), WorkerError::new(WorkerErrorKind::Cancelled, "2"));
    assert_eq!(read(br#"{"kind":"\ud800","message":""}"#).unwrap(), WorkerError::new(WorkerErrorKind::Exception, ""));
    for bad in ["{}", r#"{"kind":"exception"}"#, r#"{"message":"m"}"#, r#"{"kind":1,"message":"m"}"#, "[]", "1"] {
        assert!(read(bad.as_bytes()).is_err(), "{bad}");
    }
}

fn list_of(errors: &str) -> Box<[ArgumentError]> {
    let text = format!(r#"{{"kind":"bad_arguments","errors":{errors},"message":"m"}}"#);
    let error: WorkerError = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{errors:.80}: {error}"));
    assert_eq!((error.kind, &*error.message), (WorkerErrorKind::BadArguments, "m"));
    error.errors
}

#[test]
fn the_errors_of_the_arguments_are_read() {
    let sent = r#"[{"type":"float_type","loc":["order","lines",0,"a b"],"msg":"no","input":[{}],"url":null},
                   {"loc":[],"msg":"","type":""}, {"loc":[0,"\ud800"],"msg":"\udc00","type":"t"}]"#;
    let key = |key: &str| ArgumentStep::Key(key.into());
    let errors = list_of(sent);
    let loc = vec![key("order"), key("lines"), ArgumentStep::Index(0), key("a b")];
    assert_eq!(errors[0], ArgumentError::new(loc, "no", "float_type"));
    assert_eq!(errors[1], ArgumentError::new(Vec::new(), "", ""));
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(texts[..2], [r#"order.lines[0]["a b"]: no"#, ""]);
    assert!(texts[2].starts_with("[0][\"\u{fffd}") && texts[2].ends_with('\u{fffd}'), "{texts:?}");
}

#[test]
fn data_and_status_of_a_rejection_are_read_or_ignored() {
    let read = |data: &str, status: &str| {
        let text = format!(r#"{{"kind":"rejected","data":{data},"status":{status},"message":"m"}}"#);
        let error: WorkerError = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:.80}: {error}"));
        assert_eq!(error.message, "m");
        (error.data.map(|data| data.get().to_owned()), error.status)
    };
    let data = r#"{"left":0,"digits":12345678901234567890123456789}"#;
    assert_eq!(read(data, "409"), (Some(data.into()), Some(409)));
    let largest = format!("\"{}\"", "x".repeat(MAX_DATA - 2));
    assert_eq!(read(&largest, "499"), (Some(largest.clone()), Some(499)));
    assert_eq!(read(&format!("[{largest}]"), "399").0, None);
    for status in ["399", "500", "-409", "409.0", "\"409\"", "null", "[]", "18446744073709551616"] {
        assert_eq!(read("null", status), (None, None), "{status}");
    }
}

/// R41: whatever a worker sends as `errors`, the call gets its error, and no large list is kept.
#[test]
fn r41_hostile_errors_of_the_arguments_are_cut_or_ignored() {
    let fits = r#"{"loc":["a"],"msg":"m","type":"t"}"#;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for bad in
        ["null", "1", "-1.5e300", "true", r#""text""#, "{}", r#"{"loc":[],"msg":"","type":""}"#, "[[]]", "[1]", &deep]
    {
        assert_eq!(*list_of(bad), [], "{bad:.40}");
    }
    for bad in [
        r#"{"loc":[],"msg":""}"#,
        r#"{"loc":"a","msg":"","type":""}"#,
        r#"{"loc":[-1],"msg":"","type":""}"#,
        r#"{"loc":[1.5],"msg":"","type":""}"#,
        r#"{"loc":[null],"msg":"","type":""}"#,
        r#"{"loc":[18446744073709551616],"msg":"","type":""}"#,
        r#"{"loc":[],"msg":1,"type":""}"#,
        r#"{"loc":[],"loc":[],"msg":"","type":""}"#,
    ] {
        assert_eq!(*list_of(&format!("[{fits},{bad}]")), [], "one bad error makes the list a bad one: {bad}");
    }
    assert_eq!(list_of(&format!("[{}{fits}]", format!("{fits},").repeat(1_000_000))).len(), 50);
    let long = "\u{e4}".repeat(1000);
    let errors = list_of(&format!(r#"[{{"loc":["{long}"],"msg":"{long}","type":"{long}"}}]"#));
    let cut = "\u{e4}".repeat(200);
    assert_eq!(*errors, [ArgumentError::new(vec![ArgumentStep::Key(cut.clone())], cut.clone(), cut)]);
    let steps = list_of(&format!(r#"[{{"loc":[{}1],"msg":"","type":""}}]"#, "1,".repeat(100_000)));
    assert_eq!(steps[0].loc.len(), 32);
    let large = format!(r#"{{"loc":[{}1],"msg":"{long}","type":""}}"#, format!("\"{long}\",").repeat(31));
    let errors = list_of(&format!("[{fits},{},{fits}]", vec![large; 9].join(",")));
    assert_eq!(errors.len(), 1 + 5, "64 KiB of texts are five of the large errors");
}

/// A byte order mark before a result is removed.
#[test]
fn a_byte_order_mark_before_a_result_is_skipped() {
    let (wire, stamps) = (WireId(7), Stamps::NOT_RUN);
    let payload = bytes::Bytes::from_static(b"\xef\xbb\xbf[1]");
    let mut out = BytesMut::new();
    WorkerMessage::Result(CallResult { wire, stamps, payload, buffers: Vec::new() }).encode(MAX, &mut out).unwrap();
    let frame = Decoder::new(MAX).next(&mut out).unwrap().unwrap();
    let WorkerMessage::Result(result) = WorkerMessage::parse(frame).unwrap() else { panic!("a result") };
    assert_eq!(&*result.payload, b"[1]");
}

/// A deadline at time zero of the clock has passed; it is not read as "no deadline".
#[test]
fn a_deadline_of_zero_is_still_a_deadline() {
    let mut out = BytesMut::new();
    let deadline = Some(Timestamp(0));
    let head = CallHead { wire: WireId(1), deadline, command: "", session: None, stream: false, buffers: false };
    head.encode(0, MAX, &mut out).unwrap();
    let frame = Decoder::new(MAX).next(&mut out).unwrap().unwrap();
    let HostMessage::Call(call) = HostMessage::parse(frame).unwrap() else { panic!("a call") };
    assert_eq!(call.deadline, Some(Timestamp(1)));
}

/// Stamps show whether the handler ran; its run time is never negative.
#[test]
fn stamps_show_whether_the_handler_ran() {
    let at = |started, ended| Stamps { started: Timestamp(started), ended: Timestamp(ended) };
    assert!(!Stamps::NOT_RUN.ran() && at(5, 5).ran() && at(0, 1).ran());
    assert_eq!(at(5, 12).run_time().as_nanos(), 7);
    assert_eq!([at(12, 5), at(5, 5), at(0, 0)].map(|stamps| stamps.run_time().as_nanos()), [1, 1, 0]);
}
