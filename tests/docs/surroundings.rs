//! The tables of what surrounds a service or a pool in an application, in `docs/semantics.md`: each row is proved by a test that exists.

use super::{
    flags::tested,
    pages::{read, table},
};

#[test]
fn each_of_the_surroundings_has_a_test() {
    for who in ["the service", "the application", "situation of `herder serve`"] {
        let rows = table(&read("docs/semantics.md"), &[who, "what happens", "proved by"]);
        assert!(!rows.is_empty());
        for row in rows {
            tested(&row[2], &row[0]);
        }
    }
}
