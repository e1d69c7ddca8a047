//! The flight recorder: the last frames between the host and one process. [`Recorder`] is written during calls and holds
//! headers only; [`Recording`] is its content with system times and texts. Decides nothing.

mod malformed;
mod recording;
mod ring;

pub use recording::{Descriptor, Direction, RecordedExit, RecordedFrame, RecordedTransition, Recording};

pub(crate) use malformed::MalformedFrame;
pub(crate) use ring::{Recorder, frames};
