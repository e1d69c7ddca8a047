//! The wire protocol between herder and its workers, version 1: bytes in, messages out.
//!
//! The only state is the position of a [`Decoder`] in its stream. The crate opens no socket, reads no clock and starts nothing.
//! `docs/protocol.md` specifies the protocol; this crate and every other implementation must pass the test vectors in
//! `golden/frames.txt`.
//!
//! # Cost of the hot path
//!
//! [`Decoder::next`] and [`WorkerMessage::parse`] decode a result without a copy and without an allocation: the payload shares
//! the memory of the buffer that was read into, and keeps it alive. [`CallHead::encode`] writes a call into a buffer that the
//! caller reuses; the arguments are sent after it in one vectored write and are not copied. Hello, ready, errors and session
//! ends do allocate, because they are rare.
//!
//! ```
//! use bytes::BytesMut;
//! use herder_core::WireId;
//! use herder_wire::{CallHead, DEFAULT_MAX_FRAME, Decoder, HostMessage};
//!
//! let arguments = br#"{"x":1}"#;
//! let session = None;
//! let head = CallHead { wire: WireId(7), deadline: None, command: "echo", session, stream: false, buffers: false };
//! let mut bytes = BytesMut::new();
//! head.encode(arguments.len(), DEFAULT_MAX_FRAME, &mut bytes)?;
//! bytes.extend_from_slice(arguments); // a socket takes both in one vectored write
//!
//! let frame = Decoder::new(DEFAULT_MAX_FRAME).next(&mut bytes)?.expect("the frame is complete");
//! let HostMessage::Call(call) = HostMessage::parse(frame)? else { panic!("it is a call") };
//! assert_eq!((&*call.command, &*call.payload), ("echo", &arguments[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod argument_error;
mod body;
mod buffer;
mod buffers;
mod call;
mod decoder;
mod error;
mod header;
mod headers;
mod hello;
mod host;
mod kind;
mod payload;
mod scan;
mod text;
mod trace_parent;
mod worker;
mod worker_error;

pub use argument_error::{ArgumentError, ArgumentStep};
pub use body::SlabIds;
pub use buffer::{Buffer, InvalidBuffer, MAX_BUFFERS, Place, SharedMemory, pointer_of};
pub use buffers::{ALIGNMENT, CallBuffers};
pub use call::{CallFrame, CallHead, check_call_size};
pub use decoder::{Decoder, Frame};
pub use error::{EncodeError, FrameError};
pub use header::{Flags, Header};
pub use headers::{CallHeaders, InvalidHeader, encode_headers, is_header_name};
pub use hello::{HostHello, InstalledPackage, SessionStateSupport, WorkerHello};
pub use host::{EndReason, HostMessage, LogLevel, SessionEnd, encode_batch};
pub use kind::{FrameDirection, FrameKind};
pub use payload::{MAX_INTEGER_DIGITS, PayloadError, RawJson, check_json, check_json_object, without_byte_order_mark};
pub use scan::MAX_DEPTH;
pub use trace_parent::{InvalidTraceParent, TraceParent};
pub use worker::{BatchEntry, CallResult, CommandEntry, Ready, Stamps, WorkerMessage};
pub use worker_error::{MAX_DATA, RejectionData, WorkerError, WorkerErrorKind};

/// The version of the protocol that both sides must use.
pub const PROTOCOL_VERSION: u32 = 1;
/// The length of a frame's header, in bytes.
pub const HEADER_LEN: usize = 16;
/// The default maximum length of a body, in bytes.
pub const DEFAULT_MAX_FRAME: u32 = 64 << 20;
/// The maximum length of a hello's body, in bytes. It applies before `max_frame` is agreed on, and does not depend on it.
pub const MAX_HELLO: u32 = 1 << 20;
