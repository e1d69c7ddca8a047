//! Runs the fuzz targets of this crate without a fuzzer: on the corpus, and on inputs derived from it.

mod frames;
mod messages;

use crate::corpus_tests;

#[test]
fn r41_frames_of_the_corpus() {
    corpus_tests::replay("frames", frames::check_input);
}

#[test]
fn r41_frames_like_those_of_the_corpus() {
    corpus_tests::vary("frames", 4000, frames::check_input);
}

#[test]
fn r41_messages_of_the_corpus() {
    corpus_tests::replay("messages", messages::check_input);
}

#[test]
fn r41_messages_like_those_of_the_corpus() {
    corpus_tests::vary("messages", 4000, messages::check_input);
}
