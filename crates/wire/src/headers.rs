//! The headers of a call, which are sent in a frame before it: text by names in lower case. Holds no state.

use crate::{EncodeError, Flags, FrameError, FrameKind, body::Body, body::put_frame};
use bytes::BytesMut;
use herder_core::WireId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The maximum length of a name, in bytes.
const MAX_NAME: usize = 128;

/// The headers of a call. Names have 1 to 128 characters of those that HTTP allows, in lower case; values have no control
/// characters other than tabs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallHeaders(BTreeMap<Box<str>, String>);

/// A header is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the header {name:?} is invalid: {reason}")]
pub struct InvalidHeader {
    name: String,
    reason: &'static str,
}

impl CallHeaders {
    /// Adds a header. A second value of a name is appended to the first one, after `", "`, as HTTP does; of `cookie`, after
    /// `"; "` (RFC 9113, 8.2.3).
    ///
    /// # Errors
    /// The name or the value has characters that are not allowed, or the name is too long.
    pub fn add(&mut self, name: &str, value: &str) -> Result<(), InvalidHeader> {
        let invalid = |reason| InvalidHeader { name: name.into(), reason };
        if !is_header_name(name) {
            return Err(invalid("a name has 1 to 128 letters, digits and characters of \"!#$%&'*+-.^_`|~\""));
        }
        if value.chars().any(|each| each.is_control() && each != '\t') {
            return Err(invalid("its value has control characters"));
        }
        let separator = if name.eq_ignore_ascii_case("cookie") { "; " } else { ", " };
        let values = self.0.entry(name.to_ascii_lowercase().into()).or_default();
        if !values.is_empty() {
            values.push_str(separator);
        }
        values.push_str(value);
        Ok(())
    }

    /// Returns the value of a header, whose name is given in lower case.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Removes a header, whose name is given in lower case.
    pub fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }

    /// Whether there are no headers.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the body of the frame, for [`encode_headers`].
    ///
    /// # Errors
    /// [`EncodeError::Json`], which does not happen with text.
    pub fn to_json(&self) -> Result<Vec<u8>, EncodeError> {
        crate::body::to_json(FrameKind::Headers, self)
    }

    pub(crate) fn parse(body: &Body) -> Result<Self, FrameError> {
        body.json()
    }
}

/// Whether a text is the name of a header.
pub fn is_header_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_allowed)
}

/// Writes the frame with the headers of an attempt, which must precede its call. `json` is from [`CallHeaders::to_json`].
///
/// The frame is optional: a worker that does not know it runs the call without headers.
///
/// # Errors
/// [`EncodeError::TooLarge`]. Writes nothing then.
pub fn encode_headers(wire: WireId, json: &[u8], max_frame: u32, out: &mut BytesMut) -> Result<(), EncodeError> {
    put_frame(FrameKind::Headers, Flags { optional: true, kind_bits: 0 }, wire, &[json], max_frame, out)
}
