//! The hello of each side. The version is checked before any other field is parsed. Holds no state.

use crate::{EncodeError, FrameError, FrameKind, PROTOCOL_VERSION, body, body::Body};
use serde::{Deserialize, Serialize, Serializer};
use std::num::{NonZeroU8, NonZeroU32, NonZeroU64};

/// The hello of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HostHello {
    /// The maximum number of calls that the worker runs at once.
    pub concurrency: NonZeroU32,
    /// The number of calls that are sent to the worker for each call it can run.
    pub pipeline: NonZeroU32,
    /// The maximum length of a body in either direction, in bytes.
    pub max_frame: NonZeroU32,
    /// Whether handlers may keep session state in this pool.
    pub session_state: SessionStateSupport,
    /// The time in milliseconds after which the worker interrupts an `on_session_end` hook. `None` if hooks have no time limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_end_timeout_ms: Option<NonZeroU64>,
    /// The time in milliseconds from the shutdown message within which the worker must exit. `None` if it is not limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout_ms: Option<NonZeroU64>,
    /// The maximum number of bytes of a stream that the worker sends before the consumer has taken some. `None` if the host sends
    /// no calls that ask for a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream_window: Option<NonZeroU32>,
}

/// The hello of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WorkerHello {
    /// The process id of the worker.
    pub pid: u32,
    /// The window: the maximum number of unfinished calls that the worker accepts.
    pub window: NonZeroU32,
    /// Whether the worker serves the control descriptor.
    pub control: bool,
    /// The signal on which the worker prints the stacks of its threads to standard error, whatever it is running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack_signal: Option<NonZeroU8>,
    /// The maximum number of calls that have begun and have no final frame, of a worker that begins calls in the order of their
    /// wire ids, sends the final frame of a call before it begins another one in its place, and answers a revoke. `None` if the
    /// worker does not state this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_order: Option<NonZeroU32>,
    /// Whether the worker accepts calls with buffers.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub buffers: bool,
    /// Whether the worker uses slabs: it has their socket, and can map memory.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub slabs: bool,
    /// Whether the worker accepts changes of the level of its log records.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub log_level: bool,
    /// The copy of Herder's package that is installed for the worker's interpreter, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed: Option<InstalledPackage>,
}

/// A copy of Herder's package that is installed for the interpreter of a worker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstalledPackage {
    /// The folder that contains the copy.
    pub path: String,
    /// Why the worker imports the host's copy instead. `None` if it imports the installed copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unused: Option<String>,
}

/// Whether handlers may keep session state in this pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionStateSupport {
    /// Handlers may keep session state.
    Kept,
    /// Handlers may not keep session state. The text says why, and names the key to set.
    Refused(String),
}

impl Serialize for SessionStateSupport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Kept => serializer.serialize_bool(true),
            Self::Refused(why) => serializer.serialize_str(why),
        }
    }
}

#[derive(Deserialize)]
struct Version {
    protocol: u64,
}

#[derive(Deserialize)]
struct RawHostHello {
    concurrency: u32,
    pipeline: u32,
    max_frame: u32,
    session_state: RawSessionState,
    session_end_timeout_ms: Option<NonZeroU64>,
    stop_timeout_ms: Option<NonZeroU64>,
    stream_window: Option<NonZeroU32>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "`session_state` is invalid; expected `true` or a string")]
enum RawSessionState {
    Flag(bool),
    Refused(String),
}

#[derive(Deserialize)]
struct RawWorkerHello {
    pid: u32,
    window: u32,
    #[serde(default)]
    control: bool,
    stack_signal: Option<NonZeroU8>,
    in_order: Option<NonZeroU32>,
    #[serde(default)]
    buffers: bool,
    #[serde(default)]
    slabs: bool,
    #[serde(default)]
    log_level: bool,
    installed: Option<InstalledPackage>,
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    protocol: u32,
    #[serde(flatten)]
    hello: &'a T,
}

impl HostHello {
    pub(crate) fn parse(body: &Body) -> Result<Self, FrameError> {
        check_version(body)?;
        let raw: RawHostHello = body.json()?;
        Ok(Self {
            concurrency: limit("concurrency", raw.concurrency)?,
            pipeline: limit("pipeline", raw.pipeline)?,
            max_frame: limit("max_frame", raw.max_frame)?,
            session_end_timeout_ms: raw.session_end_timeout_ms,
            stop_timeout_ms: raw.stop_timeout_ms,
            stream_window: raw.stream_window,
            session_state: match raw.session_state {
                RawSessionState::Flag(true) => SessionStateSupport::Kept,
                RawSessionState::Flag(false) => return Err(no_reason()),
                RawSessionState::Refused(why) => SessionStateSupport::Refused(why),
            },
        })
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>, EncodeError> {
        body::to_json(FrameKind::Hello, &Versioned { protocol: PROTOCOL_VERSION, hello: self })
    }
}

impl WorkerHello {
    pub(crate) fn parse(body: &Body) -> Result<Self, FrameError> {
        check_version(body)?;
        let raw: RawWorkerHello = body.json()?;
        Ok(Self {
            pid: raw.pid,
            window: limit("window", raw.window)?,
            control: raw.control,
            stack_signal: raw.stack_signal,
            in_order: raw.in_order,
            buffers: raw.buffers,
            slabs: raw.slabs,
            log_level: raw.log_level,
            installed: raw.installed,
        })
    }

    pub(crate) fn to_json(&self) -> Result<Vec<u8>, EncodeError> {
        body::to_json(FrameKind::Hello, &Versioned { protocol: PROTOCOL_VERSION, hello: self })
    }
}

/// Runs before anything else is parsed: in another version the other fields may have other meanings.
fn check_version(body: &Body) -> Result<(), FrameError> {
    match body.json::<Version>()?.protocol {
        theirs if theirs == u64::from(PROTOCOL_VERSION) => Ok(()),
        theirs => Err(FrameError::ProtocolMismatch { ours: PROTOCOL_VERSION, theirs }),
    }
}

fn limit(key: &'static str, value: u32) -> Result<NonZeroU32, FrameError> {
    NonZeroU32::new(value).ok_or(FrameError::ZeroLimit(key))
}

fn no_reason() -> FrameError {
    FrameError::MalformedJson {
        kind: FrameKind::Hello,
        reason: "`session_state` is false: it is true, or the reason".into(),
    }
}
