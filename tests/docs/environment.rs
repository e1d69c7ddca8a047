//! The table of a worker's environment in `docs/semantics.md`: each row names tests, and they exist.

use super::{
    pages::{read, table},
    requirements::{defines, on_disk},
};

#[test]
fn each_environment_has_a_test() {
    let headings = ["environment of the host", "effect on a worker", "proved by"];
    for row in table(&read("docs/semantics.md"), &headings) {
        let named: Vec<(&str, &str)> = row[2].split('`').filter_map(|text| text.split_once("::")).collect();
        assert!(!named.is_empty(), "no test for {}", row[0]);
        for (file, name) in named {
            let source = on_disk(file).unwrap_or_else(|| panic!("there is no {file}"));
            assert!(defines(&source, file, name), "{file} has no test `{name}`");
        }
    }
}
