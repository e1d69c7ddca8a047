//! Every way in which bytes can fail to be this protocol, each by its name (R41). Holds no state.

use crate::{FrameKind, PROTOCOL_VERSION};
use herder_core::{InvalidSessionId, WireId};

/// Why bytes are not a frame, or a frame no message. After one of these a stream can't be trusted any more: close it.
///
/// [`FrameError::name`] is the name in `docs/protocol.md`, the same in every implementation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The header announces a body longer than agreed. Nothing was allocated for it.
    #[error("a frame of {length} bytes exceeds the limit of {max} bytes")]
    Oversize {
        /// What the header says, in bytes.
        length: u32,
        /// The limit, in bytes.
        max: u32,
    },
    /// This version does not know the kind, and the frame is not marked optional.
    #[error("frame kind {0} is unknown in protocol version {PROTOCOL_VERSION} and not optional")]
    UnknownKind(u8),
    /// Bytes 6 and 7 of the header are not zero: this is likely no frame at all.
    #[error("the reserved bytes of the header are {0:#06x}, not 0: the data is not a frame")]
    ReservedBytes(u16),
    /// Flags that mean nothing for this kind are set.
    #[error("a {kind} frame sets the reserved flags {flags:#04x}")]
    ReservedFlags {
        /// The frame's kind.
        kind: FrameKind,
        /// The bits that should be 0.
        flags: u8,
    },
    /// The kind concerns a call, and the wire id is 0.
    #[error("a {0} frame has no wire id")]
    MissingWireId(FrameKind),
    /// The kind concerns no call, and the wire id is not 0.
    #[error("a {kind} frame must have wire id 0, but has {wire}")]
    UnexpectedWireId {
        /// The frame's kind.
        kind: FrameKind,
        /// What its header says.
        wire: WireId,
    },
    /// The kind does not travel this way.
    #[error("a {0} frame was sent in the wrong direction")]
    WrongDirection(FrameKind),
    /// The body ends before what its kind must have.
    #[error("the body of a {kind} frame has {have} bytes, but needs at least {need}")]
    ShortBody {
        /// The frame's kind.
        kind: FrameKind,
        /// The body's bytes.
        have: usize,
        /// The bytes it needs.
        need: usize,
    },
    /// The kind has no body, and here is one.
    #[error("a {kind} frame must have no body, but has {have} bytes")]
    UnexpectedBody {
        /// The frame's kind.
        kind: FrameKind,
        /// The body's bytes.
        have: u32,
    },
    /// A name is not valid UTF-8.
    #[error("the {field} of a {kind} frame is not valid UTF-8")]
    NotUtf8 {
        /// The frame's kind.
        kind: FrameKind,
        /// `command` or `session`.
        field: &'static str,
    },
    /// The session id is empty, too long, or has control characters.
    #[error("a {kind} frame has an {source}")]
    InvalidSession {
        /// The frame's kind.
        kind: FrameKind,
        /// What is wrong with it.
        source: InvalidSessionId,
    },
    /// A session end with a reason this version does not know.
    #[error("unknown session end reason {0}")]
    UnknownReason(u8),
    /// The answer to a cancel with a state this version does not know.
    #[error("unknown attempt state {0}")]
    UnknownState(u8),
    /// The body is not JSON, or not the object this kind must have.
    #[error("the body of a {kind} frame is not the expected JSON: {reason}")]
    MalformedJson {
        /// The frame's kind.
        kind: FrameKind,
        /// What is wrong, and where.
        reason: String,
    },
    /// The peer speaks another version.
    #[error("the peer uses protocol version {theirs}, this side uses version {ours}")]
    ProtocolMismatch {
        /// This side's version.
        ours: u32,
        /// The peer's version.
        theirs: u64,
    },
    /// A limit in a hello is 0.
    #[error("`{0}` in the hello is 0; it must be at least 1")]
    ZeroLimit(&'static str),
    /// The table of commands has a name twice.
    #[error("the command table lists `{0}` twice")]
    DuplicateCommand(String),
    /// The stream ended inside a header.
    #[error("the stream ended inside a header: {have} of 16 bytes")]
    TruncatedHeader {
        /// The bytes that came.
        have: usize,
    },
    /// The stream ended inside a body.
    #[error("the stream ended inside the body of a {kind} frame: {have} of {need} bytes")]
    TruncatedBody {
        /// The frame's kind, `optional` if it is not known.
        kind: &'static str,
        /// The body's bytes that came.
        have: u32,
        /// The body's bytes that the header announced.
        need: u32,
    },
}

impl FrameError {
    /// Its name in the protocol's test vectors.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Oversize { .. } => "oversize",
            Self::UnknownKind(_) => "unknown_kind",
            Self::ReservedBytes(_) => "reserved_bytes",
            Self::ReservedFlags { .. } => "reserved_flags",
            Self::MissingWireId(_) => "missing_wire_id",
            Self::UnexpectedWireId { .. } => "unexpected_wire_id",
            Self::WrongDirection(_) => "wrong_direction",
            Self::ShortBody { .. } => "short_body",
            Self::UnexpectedBody { .. } => "unexpected_body",
            Self::NotUtf8 { .. } => "not_utf8",
            Self::InvalidSession { .. } => "invalid_session",
            Self::UnknownReason(_) => "unknown_reason",
            Self::UnknownState(_) => "unknown_state",
            Self::MalformedJson { .. } => "malformed_json",
            Self::ProtocolMismatch { .. } => "protocol_mismatch",
            Self::ZeroLimit(_) => "zero_limit",
            Self::DuplicateCommand(_) => "duplicate_command",
            Self::TruncatedHeader { .. } => "truncated_header",
            Self::TruncatedBody { .. } => "truncated_body",
        }
    }
}

/// Why a message can't become a frame. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The body would be larger than the peer accepts.
    #[error("a frame of {length} bytes exceeds the limit of {max} bytes")]
    TooLarge {
        /// The body's bytes.
        length: usize,
        /// The limit, in bytes.
        max: u32,
    },
    /// The command's name does not fit its length field.
    #[error("a command name has {length} bytes; the limit is 65535 bytes")]
    CommandTooLong {
        /// The name's bytes.
        length: usize,
    },
    /// The peer would refuse this frame.
    #[error("the frame is invalid: {0}")]
    Refused(#[from] FrameError),
    /// A part could not become JSON.
    #[error("cannot encode a {kind} frame: {reason}")]
    Json {
        /// The frame's kind.
        kind: FrameKind,
        /// What went wrong.
        reason: String,
    },
}
