//! The data of a span. Holds no state of its own.

use herder_core::Timestamp;
use std::num::{NonZeroU64, NonZeroU128};

/// A span that has ended.
#[derive(Clone, Debug)]
pub struct Span {
    /// The trace.
    pub trace: NonZeroU128,
    /// The id of the span.
    pub id: NonZeroU64,
    /// The span that caused it. `None`: the trace begins here.
    pub parent: Option<NonZeroU64>,
    /// The `tracestate` of the trace.
    pub state: Option<Box<str>>,
    /// What it describes.
    pub name: Box<str>,
    /// Whether it is the answer to a request from elsewhere.
    pub is_server: bool,
    /// When it began, on the monotonic clock of pools.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What is known of it.
    pub attributes: Vec<(&'static str, AttributeValue)>,
    /// The name of the error with which it ended.
    pub error: Option<&'static str>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// A text.
    Text(Box<str>),
    /// A number.
    Number(u64),
}
