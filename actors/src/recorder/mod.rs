//! The flight recorder: what passed between the host and one process last, for whoever asks why it died. [`Recorder`] is written on
//! the way of a call and holds headers alone; [`Recording`] is what it gives, with the wall clock and words. Decides nothing.

mod malformed;
mod recording;
mod ring;

pub use recording::{Descriptor, Direction, RecordedExit, RecordedFrame, RecordedTransition, Recording};

pub(crate) use malformed::MalformedFrame;
pub(crate) use ring::Recorder;
