//! The header `traceparent` of W3C Trace Context: which trace a call belongs to, and which span caused it. Pure.

use std::{
    fmt,
    num::{NonZeroU64, NonZeroU128},
    str::FromStr,
};

/// The length of version 00, and the least length of later versions.
const LENGTH: usize = 55;

/// The trace and the span that caused a call. Its text is the value of the header `traceparent`.
///
/// ```
/// use herder_wire::TraceParent;
/// let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
/// let parent: TraceParent = text.parse().unwrap();
/// assert_eq!((parent.is_sampled(), parent.to_string()), (true, text.to_owned()));
/// assert!("00-0AF7-b7ad-01".parse::<TraceParent>().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// The id of the trace.
    pub trace: NonZeroU128,
    /// The id of the span.
    pub span: NonZeroU64,
    flags: u8,
}

/// A text is no `traceparent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid `traceparent`; expected 00-TRACE-SPAN-FLAGS with 32, 16 and 2 hexadecimal digits in lower case")]
pub struct InvalidTraceParent;

impl TraceParent {
    const SAMPLED: u8 = 1;
    /// The flags that have a meaning: sampled, and that the id of the trace is random. Others must be sent as 0.
    const KNOWN: u8 = 3;

    /// Creates the value of a trace that begins here, whose id is random.
    pub fn new(trace: NonZeroU128, span: NonZeroU64, sampled: bool) -> Self {
        Self { trace, span, flags: 2 | u8::from(sampled) }
    }

    /// Whether whoever sent this records the trace.
    pub fn is_sampled(self) -> bool {
        self.flags & Self::SAMPLED != 0
    }

    /// Returns the value for what this span of the same trace causes.
    #[must_use]
    pub fn with_span(self, span: NonZeroU64) -> Self {
        Self { span, ..self }
    }
}

impl FromStr for TraceParent {
    type Err = InvalidTraceParent;

    fn from_str(text: &str) -> Result<Self, InvalidTraceParent> {
        let bytes = text.as_bytes();
        let is_whole = match bytes {
            [b'0', b'0', ..] => bytes.len() == LENGTH,
            [b'f', b'f', ..] => false,
            // A later version may have more fields.
            _ => bytes.len() == LENGTH || bytes.get(LENGTH) == Some(&b'-'),
        };
        let has_dashes = [2, 35, 52].iter().all(|at| bytes.get(*at) == Some(&b'-'));
        if !is_whole || !has_dashes {
            return Err(InvalidTraceParent);
        }
        let field = |from: usize, to: usize| hex(&bytes[from..to]).ok_or(InvalidTraceParent);
        field(0, 2)?;
        let trace = NonZeroU128::new(field(3, 35)?).ok_or(InvalidTraceParent)?;
        let span = NonZeroU64::new(field(36, 52)? as u64).ok_or(InvalidTraceParent)?;
        Ok(Self { trace, span, flags: field(53, 55)? as u8 & Self::KNOWN })
    }
}

/// Returns the number with at most 32 digits in lower case.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_well_formed_values_are_accepted() {
        const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
        let parsed: TraceParent = VALID.parse().unwrap();
        assert_eq!((parsed.to_string().as_str(), parsed.is_sampled()), (VALID, true));
        let unsampled: TraceParent = VALID.replace("-01", "-fc").parse().unwrap();
        assert_eq!((unsampled.is_sampled(), unsampled.to_string()), (false, VALID.replace("-01", "-00")));
        let later: TraceParent = (VALID.replacen("00-", "cc-", 1) + "-what-the-future-holds").parse().unwrap();
        assert_eq!(later, parsed);
        let moved = parsed.with_span(NonZeroU64::MIN).to_string();
        assert_eq!(moved, VALID.replace("00f067aa0ba902b7", "0000000000000001"));
        for bad in [
            "",
            "00",
            &VALID[..54],
            &format!("{VALID}-"),
            &format!("{VALID}x"),
            &VALID.replacen("00-", "ff-", 1),
            &VALID.replacen("00-", "0x-", 1),
            &VALID.replacen("00-", "cc-", 1).replace("-01", "-01."),
            &VALID.to_uppercase(),
            &VALID.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &VALID.replace("00f067aa0ba902b7", &"0".repeat(16)),
            &VALID.replace("-01", "_01"),
            &VALID.replace("0af", "\u{e9}f"),
        ] {
            assert_eq!(bad.parse::<TraceParent>(), Err(InvalidTraceParent), "{bad}");
        }
    }
}
