//! The fuzz target of the configuration without a fuzzer: the corpus, and files made from it.

mod configuration;

use crate::twin;

#[test]
fn r51_configurations_of_the_corpus() {
    twin::replay("configuration", configuration::hold);
}

#[test]
fn r51_configurations_like_those_of_the_corpus() {
    twin::vary("configuration", 2000, configuration::hold);
}
