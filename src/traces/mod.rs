//! Traces of calls: the trace that a call belongs to, and with the feature `otlp` the export of its spans.
//!
//! A call belongs to the trace of its header `traceparent` (W3C Trace Context), which comes from an HTTP request or from
//! [`Call::header`](crate::Call::header), or to the trace in which its caller runs, which [`set_current`] tells. The handler reads
//! it from `herder.current_call().traceparent`. If the worker's environment has the package `opentelemetry`, the spans of the
//! handler continue the trace.
//!
//! With [`export`], the calls of recorded traces have spans: the call itself, each wait in the queue,
//! each attempt, and the run of the handler. Nothing is recorded otherwise.
//!
//! ```
//! use herder::traces::{TraceContext, set_current};
//! // With the crates `tracing-opentelemetry` and `opentelemetry`, inject the context of `tracing::Span::current()` here.
//! set_current(|| TraceContext::parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None));
//! ```

#[cfg(feature = "otlp")]
mod otlp;

#[doc(inline)]
pub use herder_actors::traces::{TraceContext, set_current};
#[cfg(feature = "otlp")]
pub use otlp::{ExportError, Exporter, export};
