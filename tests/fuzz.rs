//! The fuzz target of the configuration without a fuzzer: the corpus, and files made from it.

mod configuration;

use crate::corpus_tests;

#[test]
fn r51_configurations_of_the_corpus() {
    corpus_tests::replay("configuration", configuration::check_input);
}

#[test]
fn r51_configurations_like_those_of_the_corpus() {
    corpus_tests::vary("configuration", 2000, configuration::check_input);
}
