//! The fuzz target of the configuration, run without a fuzzer: on its corpus, and on mutations of the corpus.

mod configuration;

use crate::corpus_tests;

/// R51: see `configuration::check_input`, for each file of the corpus.
#[test]
fn r51_corpus_configurations_are_read_or_refused_with_a_position() {
    corpus_tests::replay("configuration", configuration::check_input);
}

/// R51: see `configuration::check_input`, for 2000 mutations of the corpus.
#[test]
fn r51_mutated_configurations_are_read_or_refused_with_a_position() {
    corpus_tests::vary("configuration", 2000, configuration::check_input);
}
