//! The errors of decoding and encoding frames, one variant for each defect (R41). Holds no state.

use crate::{FrameKind, PROTOCOL_VERSION};
use herder_core::{InvalidSessionId, WireId};

/// Why bytes are not a frame, or a frame is not a message. The stream cannot be trusted after such an error and must be closed.
///
/// [`FrameError::name`] returns the name that `docs/protocol.md` uses, which is the same in every implementation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The header announces a body longer than the agreed maximum. Nothing was allocated for the body.
    #[error("a frame of {length} bytes exceeds the limit of {max} bytes")]
    Oversize {
        /// The length in the header, in bytes.
        length: u32,
        /// The maximum, in bytes.
        max: u32,
    },
    /// The kind is unknown in this version of the protocol, and the frame is not marked optional.
    #[error("frame kind {0} is unknown in protocol version {PROTOCOL_VERSION} and not optional")]
    UnknownKind(u8),
    /// Bytes 6 and 7 of the header are not zero. The peer probably does not send frames.
    #[error("the reserved bytes of the header are {0:#06x}, not 0: the data is not a frame")]
    ReservedBytes(u16),
    /// The frame sets flags that its kind does not have.
    #[error("a {kind} frame sets the reserved flags {flags:#04x}")]
    ReservedFlags {
        /// The kind of the frame.
        kind: FrameKind,
        /// The bits that must be 0.
        flags: u8,
    },
    /// The kind needs the wire id of an attempt, but the wire id is 0.
    #[error("a {0} frame has no wire id")]
    MissingWireId(FrameKind),
    /// The kind does not belong to an attempt, but the wire id is not 0.
    #[error("a {kind} frame must have wire id 0, but has {wire}")]
    UnexpectedWireId {
        /// The kind of the frame.
        kind: FrameKind,
        /// The wire id in the header.
        wire: WireId,
    },
    /// Frames of this kind are sent in the other direction only.
    #[error("a {0} frame was sent in the wrong direction")]
    WrongDirection(FrameKind),
    /// The body is shorter than the fixed fields of its kind.
    #[error("the body of a {kind} frame has {have} bytes, but needs at least {need}")]
    ShortBody {
        /// The kind of the frame.
        kind: FrameKind,
        /// The length of the body, in bytes.
        have: usize,
        /// The minimum length, in bytes.
        need: usize,
    },
    /// The kind has no body, but the frame has one; or a result that ends a stream has a value.
    #[error("this {kind} frame must have no body, but has {have} bytes")]
    UnexpectedBody {
        /// The kind of the frame.
        kind: FrameKind,
        /// The length of the body, in bytes.
        have: u32,
    },
    /// A name is not valid UTF-8.
    #[error("the {field} of a {kind} frame is not valid UTF-8")]
    NotUtf8 {
        /// The kind of the frame.
        kind: FrameKind,
        /// The field: `command` or `session`.
        field: &'static str,
    },
    /// The session id is empty, is too long, or contains control characters.
    #[error("a {kind} frame has an {source}")]
    InvalidSession {
        /// The kind of the frame.
        kind: FrameKind,
        /// The defect of the session id.
        source: InvalidSessionId,
    },
    /// A session end has a reason that this version does not know.
    #[error("unknown session end reason {0}")]
    UnknownReason(u8),
    /// The answer to a cancel has a state that this version does not know.
    #[error("unknown attempt state {0}")]
    UnknownState(u8),
    /// The body is not JSON, or not the object that its kind requires.
    #[error("the body of a {kind} frame is not the expected JSON: {reason}")]
    MalformedJson {
        /// The kind of the frame.
        kind: FrameKind,
        /// The defect and its position.
        reason: String,
    },
    /// The section of a frame with buffers is not laid out as it must be.
    #[error("the buffers of a {kind} frame are malformed: {reason}")]
    MalformedBuffers {
        /// The kind of the frame.
        kind: FrameKind,
        /// The defect.
        reason: String,
    },
    /// The peer uses another version of the protocol.
    #[error("the peer uses protocol version {theirs}, this side uses version {ours}")]
    ProtocolMismatch {
        /// The version of this side.
        ours: u32,
        /// The version of the peer.
        theirs: u64,
    },
    /// A limit in a hello is 0.
    #[error("`{0}` in the hello is 0; it must be at least 1")]
    ZeroLimit(&'static str),
    /// The command table contains a name twice.
    #[error("the command table lists `{0}` twice")]
    DuplicateCommand(String),
    /// The stream ended inside a header.
    #[error("the stream ended inside a header: {have} of 16 bytes")]
    TruncatedHeader {
        /// The number of bytes received.
        have: usize,
    },
    /// The stream ended inside a body.
    #[error("the stream ended inside the body of a {kind} frame: {have} of {need} bytes")]
    TruncatedBody {
        /// The kind of the frame, or `optional` if it is unknown.
        kind: &'static str,
        /// The number of bytes of the body that were received.
        have: u32,
        /// The length of the body that the header announced.
        need: u32,
    },
}

impl FrameError {
    /// Returns the name of the error in the test vectors of the protocol.
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
            Self::MalformedBuffers { .. } => "malformed_buffers",
            Self::ProtocolMismatch { .. } => "protocol_mismatch",
            Self::ZeroLimit(_) => "zero_limit",
            Self::DuplicateCommand(_) => "duplicate_command",
            Self::TruncatedHeader { .. } => "truncated_header",
            Self::TruncatedBody { .. } => "truncated_body",
        }
    }
}

/// Why a message cannot be encoded. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// The body is larger than the peer accepts.
    #[error("a frame of {length} bytes exceeds the limit of {max} bytes")]
    TooLarge {
        /// The length of the body, in bytes.
        length: usize,
        /// The maximum, in bytes.
        max: u32,
    },
    /// The name of the command does not fit its length field.
    #[error("a command name has {length} bytes; the limit is 65535 bytes")]
    CommandTooLong {
        /// The length of the name, in bytes.
        length: usize,
    },
    /// The peer would refuse the frame.
    #[error("the frame is invalid: {0}")]
    Refused(#[from] FrameError),
    /// A part of the message cannot be encoded as JSON.
    #[error("cannot encode a {kind} frame: {reason}")]
    Json {
        /// The kind of the frame.
        kind: FrameKind,
        /// The error of the encoder.
        reason: String,
    },
}
