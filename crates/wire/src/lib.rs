//! The wire protocol between herder and its workers, version 1: bytes in, messages out.
//!
//! Holds no state but a [`Decoder`]'s place in its stream. Opens no socket, reads no clock, starts nothing. The contract is
//! `docs/protocol.md`; the test vectors in `golden/frames.txt` bind this crate and every other implementation.
//!
//! # What the hot path costs
//!
//! A result is decoded by [`Decoder::next`] and [`WorkerMessage::parse`] without a copy and without an allocation: its payload
//! is a window on the buffer that was read into, held by a reference count. (A payload therefore keeps that buffer alive.)
//! A call is encoded by [`CallHead::encode`] into a buffer that is used again; its arguments are not touched and go out
//! beside it, in one vectored write. Hello, ready, errors and session ends do allocate: they are rare.
//!
//! ```
//! use bytes::BytesMut;
//! use herder_core::WireId;
//! use herder_wire::{CallHead, DEFAULT_MAX_FRAME, Decoder, HostMessage};
//!
//! let arguments = br#"{"x":1}"#;
//! let head = CallHead { wire: WireId(7), deadline: None, command: "echo", session: None };
//! let mut bytes = BytesMut::new();
//! head.encode(arguments.len(), DEFAULT_MAX_FRAME, &mut bytes)?;
//! bytes.extend_from_slice(arguments); // a socket would take both in one vectored write
//!
//! let frame = Decoder::new(DEFAULT_MAX_FRAME).next(&mut bytes)?.expect("the frame is complete");
//! let HostMessage::Call(call) = HostMessage::parse(frame)? else { panic!("it is a call") };
//! assert_eq!((&*call.command, &*call.payload), ("echo", &arguments[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod body;
mod call;
mod decoder;
mod error;
mod header;
mod hello;
mod host;
mod kind;
mod payload;
mod ready;
mod session_end;
mod stamps;
mod worker;
mod worker_error;

pub use call::{CallFrame, CallHead, check_call_size};
pub use decoder::{Decoder, Frame};
pub use error::{EncodeError, FrameError};
pub use header::{Flags, Header};
pub use hello::{HostHello, SessionStateSupport, WorkerHello};
pub use host::HostMessage;
pub use kind::{FrameDirection, FrameKind};
pub use payload::{
    MAX_DEPTH, MAX_INTEGER_DIGITS, PayloadError, check_json, check_json_object, without_byte_order_mark,
};
pub use ready::{CommandEntry, Ready};
pub use session_end::{EndReason, SessionEnd};
pub use stamps::Stamps;
pub use worker::{CallResult, WorkerMessage};
pub use worker_error::{WorkerError, WorkerErrorKind};

/// The version both sides must speak.
pub const PROTOCOL_VERSION: u32 = 1;
/// The bytes of a frame's header.
pub const HEADER_LEN: usize = 16;
/// The longest body unless configured otherwise, in bytes.
pub const DEFAULT_MAX_FRAME: u32 = 64 << 20;
/// The longest body of a hello, in bytes; it holds before `max_frame` is agreed on, and whatever that is.
pub const MAX_HELLO: u32 = 1 << 20;
