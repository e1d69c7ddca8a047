//! The kinds of frames and what a header of each must look like, as one table. Holds no state.

use std::fmt;

/// The way a kind travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameDirection {
    /// From the host to the worker.
    ToWorker,
    /// From the worker to the host.
    ToHost,
    /// Both ways.
    Both,
}

impl FrameDirection {
    /// Whether a frame that travels `self` may arrive where frames travel `other`.
    pub(crate) fn allows(self, other: Self) -> bool {
        self == Self::Both || self == other
    }
}

macro_rules! kinds {
    ($($(#[doc = $doc:literal])* $kind:ident = $byte:literal, $name:literal, $way:ident;)*) => {
        /// What a frame is. The discriminant is the byte in the header.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum FrameKind {
            $($(#[doc = $doc])* $kind = $byte,)*
        }

        impl FrameKind {
            /// Every kind of this version, in the order of its bytes.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// The kind of a header's byte; `None` if this version does not know it.
            pub fn from_byte(byte: u8) -> Option<Self> {
                match byte {
                    $($byte => Some(Self::$kind),)*
                    _ => None,
                }
            }

            /// Its name in the protocol, as in `session_end`.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$kind => $name,)*
                }
            }

            /// The way it travels.
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
    /// The worker's table of commands: it takes calls from here on.
    Ready = 2, "ready", ToHost;
    /// One attempt of a call.
    Call = 3, "call", ToWorker;
    /// A call's value. Final.
    Result = 4, "result", ToHost;
    /// A call's error, or why the worker could not start. Final.
    Error = 5, "error", ToHost;
    /// Give up one call.
    Cancel = 10, "cancel", ToWorker;
    /// Reserved: take back a call that has not started.
    Revoke = 11, "revoke", ToWorker;
    /// Reserved: the answer to a revoke.
    Revoked = 12, "revoked", ToHost;
    /// The answer to a cancel: where the attempt is.
    AttemptState = 13, "attempt_state", ToHost;
    /// Are you there?
    Ping = 14, "ping", ToWorker;
    /// The answer to a ping.
    Pong = 15, "pong", ToHost;
    /// A session is over.
    SessionEnd = 18, "session_end", ToWorker;
    /// Finish what was received, then exit.
    Shutdown = 20, "shutdown", ToWorker;
}

/// What a kind's wire id may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WireRule {
    Zero,
    Call,
    Any,
}

/// How long a kind's body may be; its upper bound is the frame's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BodyRule {
    Empty,
    AtLeast(u32),
}

/// What a header of one kind must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderRules {
    pub(crate) wire: WireRule,
    pub(crate) body: BodyRule,
    /// Which of the bits 1 to 7 of the flags may be set.
    pub(crate) flags: u8,
}

impl FrameKind {
    /// The interrupt flag of a cancel.
    pub(crate) const INTERRUPT: u8 = 0x02;

    /// What its header must look like; `None` for the reserved kinds, which are passed over whatever they hold.
    pub(crate) fn header_rules(self) -> Option<HeaderRules> {
        use {BodyRule as B, WireRule as W};
        let (wire, body, flags) = match self {
            Self::Hello | Self::Ready => (W::Zero, B::AtLeast(0), 0),
            Self::Call => (W::Call, B::AtLeast(20), 0),
            Self::Result => (W::Call, B::AtLeast(16), 0),
            Self::Error => (W::Any, B::AtLeast(16), 0),
            Self::Cancel => (W::Call, B::Empty, Self::INTERRUPT),
            Self::AttemptState => (W::Call, B::AtLeast(1), 0),
            Self::Ping | Self::Pong => (W::Any, B::Empty, 0),
            Self::SessionEnd => (W::Zero, B::AtLeast(9), 0),
            Self::Shutdown => (W::Zero, B::Empty, 0),
            Self::Revoke | Self::Revoked => return None,
        };
        Some(HeaderRules { wire, body, flags })
    }
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
