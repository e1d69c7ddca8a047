//! The tables in `docs/semantics.md` about the environment of a service and of a pool in an application: each row names a test,
//! and it exists.

use super::{
    flags::assert_tested,
    pages::{read, table},
};

#[test]
fn each_of_the_surroundings_has_a_test() {
    for who in ["the service", "the application", "situation of `herder serve`"] {
        let rows = table(&read("docs/semantics.md"), &[who, "what happens", "proved by"]);
        assert!(!rows.is_empty());
        for row in rows {
            assert_tested(&row[2], &row[0]);
        }
    }
}
