//! The fuzz targets of this crate without a fuzzer: the corpus, and inputs made from it.

mod frames;
mod messages;

use crate::twin;

#[test]
fn r41_frames_of_the_corpus() {
    twin::replay("frames", frames::hold);
}

#[test]
fn r41_frames_like_those_of_the_corpus() {
    twin::vary("frames", 4000, frames::hold);
}

#[test]
fn r41_messages_of_the_corpus() {
    twin::replay("messages", messages::hold);
}

#[test]
fn r41_messages_like_those_of_the_corpus() {
    twin::vary("messages", 4000, messages::hold);
}
