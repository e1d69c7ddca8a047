//! The kinds of frames and the rules for their headers, as one table. Holds no state.

use std::fmt;

/// The direction in which frames of a kind are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameDirection {
    /// From the host to the worker.
    ToWorker,
    /// From the worker to the host.
    ToHost,
    /// In both directions.
    Both,
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $byte:literal, $name:literal, $way:ident;)*) => {
        /// The kind of a frame. The discriminant is the kind byte of the header.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum FrameKind {
            $($(#[doc = $doc])* $kind = $byte,)*
        }

        impl FrameKind {
            /// All kinds of this version, ordered by their bytes.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// Returns the kind for the kind byte of a header; `None` if this version does not know it.
            pub fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$kind),)*
                    _ => None,
                }
            }

            /// Returns the name of the kind in the protocol, such as `session_end`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// Returns the direction in which frames of this kind are sent.
            pub fn direction(self) -> FrameDirection {
                match self {
                    $(Self::$kind => FrameDirection::$way,)*
                }
            }
        }
    };
}

kinds! {
    /// The first frame of each side.
    Hello = 1, "hello", Both;
    /// The command table of the worker. The worker accepts calls from here on.
    Ready = 2, "ready", ToHost;
    /// One attempt of a call.
    Call = 3, "call", ToWorker;
    /// The result of a call. Final.
    Result = 4, "result", ToHost;
    /// The error of a call, or the reason why the worker could not start. Final.
    Error = 5, "error", ToHost;
    /// The headers of the call that follows. Optional.
    Headers = 6, "headers", ToWorker;
    /// An item of a stream. Not final.
    Chunk = 7, "chunk", ToHost;
    /// States which of the calls that follow are one batch.
    Batch = 8, "batch", ToWorker;
    /// Cancels one call.
    Cancel = 10, "cancel", ToWorker;
    /// Takes one call back if it has not begun.
    Revoke = 11, "revoke", ToWorker;
    /// The answer to a cancel or a revoke: the state of the attempt.
    AttemptState = 13, "attempt_state", ToHost;
    /// Asks the worker for a pong.
    Ping = 14, "ping", ToWorker;
    /// The answer to a ping.
    Pong = 15, "pong", ToHost;
    /// Lets the worker send more of a stream.
    Credit = 16, "credit", ToWorker;
    /// Ends one epoch of a session.
    SessionEnd = 18, "session_end", ToWorker;
    /// Tells the worker to finish the calls it has received, and then to exit.
    Shutdown = 20, "shutdown", ToWorker;
    /// Asks the worker to run the health function of its app.
    HealthCheck = 22, "health_check", ToWorker;
    /// The answer to a health check.
    Health = 23, "health", ToHost;
    /// Lets the peer use slabs again whose bytes the sender has read.
    SlabFree = 24, "slab_free", Both;
    /// Tells the worker to unmap slabs, or the host that they are unmapped.
    SlabDrop = 25, "slab_drop", Both;
    /// Changes the level of the log records that the worker sends.
    LogLevel = 26, "log_level", ToWorker;
}

/// Which wire ids a kind allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireRule {
    Zero,
    Call,
    Any,
}

/// Which body lengths a kind allows. The maximum is that of all frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyRule {
    Empty,
    AtLeast(u32),
}

/// The rules for the headers of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderRules {
    pub(crate) wire: WireRule,
    pub(crate) body: BodyRule,
    /// The bits 1 to 7 of the flags that may be set.
    pub(crate) flags: u8,
}

impl FrameKind {
    /// The interrupt flag of a cancel.
    pub(crate) const INTERRUPT: u8 = 0x02;
    /// The flag of a call whose caller takes chunks.
    pub(crate) const STREAM: u8 = 0x02;
    /// The flag of a result that ends a stream and has no value.
    pub(crate) const END_OF_STREAM: u8 = 0x02;
    /// The length of the body of a result that ends a stream: the stamps.
    pub(crate) const END_OF_STREAM_LEN: u32 = 16;
    /// The flag of a call, result or chunk whose value has buffers.
    pub(crate) const BUFFERS: u8 = 0x04;

    /// Returns the rules for headers of this kind.
    pub(crate) fn header_rules(self) -> HeaderRules {
        use {BodyRule as B, WireRule as W};
        let (wire, body, flags) = match self {
            Self::Hello | Self::Ready => (W::Zero, B::AtLeast(0), 0),
            Self::Call => (W::Call, B::AtLeast(20), Self::STREAM | Self::BUFFERS),
            Self::Result => (W::Call, B::AtLeast(16), Self::END_OF_STREAM | Self::BUFFERS),
            Self::Error => (W::Any, B::AtLeast(16), 0),
            Self::Headers => (W::Call, B::AtLeast(2), 0),
            Self::Chunk => (W::Call, B::AtLeast(0), Self::BUFFERS),
            Self::Batch => (W::Zero, B::AtLeast(8), 0),
            Self::Cancel => (W::Call, B::Empty, Self::INTERRUPT),
            Self::Revoke => (W::Call, B::Empty, 0),
            Self::AttemptState => (W::Call, B::AtLeast(1), 0),
            Self::Ping | Self::Pong => (W::Any, B::Empty, 0),
            Self::Credit => (W::Call, B::AtLeast(4), 0),
            Self::SessionEnd => (W::Zero, B::AtLeast(9), 0),
            Self::Shutdown => (W::Zero, B::Empty, 0),
            Self::HealthCheck => (W::Any, B::AtLeast(8), 0),
            Self::Health => (W::Any, B::AtLeast(0), 0),
            Self::SlabFree | Self::SlabDrop => (W::Zero, B::AtLeast(8), 0),
            Self::LogLevel => (W::Zero, B::AtLeast(1), 0),
        };
        HeaderRules { wire, body, flags }
    }
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
