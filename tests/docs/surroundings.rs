//! The tables of what surrounds a service, in `docs/semantics.md`: each row is proved by a test that exists.

use super::{
    flags::tested,
    pages::{read, table},
};

#[test]
fn each_of_the_surroundings_has_a_test() {
    for first in ["the service", "surroundings of `herder serve`"] {
        for row in table(&read("docs/semantics.md"), &[first, "what happens", "proved by"]) {
            tested(&row[2], &row[0]);
        }
    }
}
