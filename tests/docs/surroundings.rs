//! The table of what surrounds a service, in `docs/semantics.md`: each row is proved by a test that exists.

use super::{
    flags::tested,
    pages::{read, table},
};

#[test]
fn each_of_the_surroundings_has_a_test() {
    let rows = table(&read("docs/semantics.md"), &["the service", "what happens", "proved by"]);
    assert!(!rows.is_empty());
    for row in rows {
        tested(&row[2], &row[0]);
    }
}
