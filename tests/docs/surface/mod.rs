//! The public surface of `herder` is `docs/surface.txt`: each module with its items, their fields, variants, methods and traits.
//! A change of the surface changes that file, so that it is seen in a review. `HERDER_BLESS=1` writes the file.
//!
//! The surface is read from the sources. Implementations that macros generate are not listed, except the setters of `group!`.

mod crates;
mod listing;

use super::pages::read;
use crates::Crates;
use listing::Listing;
use std::{collections::BTreeSet, env, fs, path::Path, sync::LazyLock};

const PAGE: &str = "docs/surface.txt";
/// The maximum number of pages at the root of the documentation.
const ROOT_PAGES: usize = 26;

/// All tests examine one listing: to parse the sources takes seconds.
static LISTING: LazyLock<Listing> = LazyLock::new(|| Listing::of(&Crates::load()));

/// R53: the public surface is the one that was reviewed.
#[test]
fn r53_public_surface_matches_its_snapshot() {
    let listing = LISTING.text();
    if env::var_os("HERDER_BLESS").is_some() {
        fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE), &listing).unwrap();
    }
    let written = read(PAGE);
    let differences: Vec<_> = differences(&written, &listing);
    assert!(
        differences.is_empty(),
        "the public surface changed; HERDER_BLESS=1 writes {PAGE}:\n{}",
        differences.join("\n")
    );
}

/// Returns the lines of one text that the other does not have, each below the name of its item.
fn differences(written: &str, listing: &str) -> Vec<String> {
    let entries = |text: &str| -> BTreeSet<String> {
        let (mut module, mut item) = ("", "");
        let mut entries = BTreeSet::new();
        for line in text.lines() {
            match line.len() - line.trim_start().len() {
                0 => module = line,
                4 => item = line.split([':', '#', '<', '(']).next().unwrap_or(line).trim(),
                _ => {}
            }
            entries.insert(format!("{module}: {item}: {}", line.trim()));
        }
        entries
    };
    let (written, listing) = (entries(written), entries(listing));
    let removed = written.difference(&listing).map(|line| format!("- {line}"));
    removed.chain(listing.difference(&written).map(|line| format!("+ {line}"))).collect()
}

/// The root of the documentation has few pages.
#[test]
fn the_root_has_few_pages() {
    let pages = LISTING.root_pages();
    assert!(pages.len() > 10, "the pages were not found: {pages:?}");
    assert!(pages.len() <= ROOT_PAGES, "{} pages at the root, at most {ROOT_PAGES}: {pages:?}", pages.len());
}

/// Documentation of public items is for users: it names no requirement, and its examples use `herder`.
#[test]
fn documentation_of_public_items_is_for_users() {
    let docs = LISTING.documentation();
    assert!(docs.len() > 500, "the documentation was not found");
    let is_requirement = |word: &str| {
        word.strip_prefix('R')
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let for_contributors: Vec<_> = docs
        .iter()
        .filter(|(_, line)| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_').any(is_requirement)
                || (!line.trim_start().starts_with('#')
                    && [" herder_actors::", "use herder_"].iter().any(|own| line.contains(own)))
        })
        .collect();
    assert!(for_contributors.is_empty(), "{for_contributors:#?}");
}

/// What a pool answers can be returned from an HTTP handler or logged as JSON.
#[test]
fn answers_can_be_serialized() {
    // Arguments, actors, and what is a text in the JSON of other types.
    const OTHERS: [&str; 5] = ["ErrorDetail", "Incident", "ExitMemory", "OutOfMemory", "SessionAffinityActor"];
    let listing = LISTING.text();
    let modules = ["breaker", "error", "quarantine", "recorder", "session", "status"];
    let mut found = 0;
    for module in modules.map(|module| format!("herder::{module}")) {
        let lines = listing.lines().skip_while(|line| **line != *module).skip(1);
        let lines: Vec<_> = lines.take_while(|line| line.starts_with(' ')).collect();
        for item in lines.chunk_by(|_, next| next.starts_with("     ")) {
            let Some(head) = item[0].trim().strip_prefix("struct ").or(item[0].trim().strip_prefix("enum ")) else {
                continue;
            };
            let name = head.split([':', ' ', '<']).next().unwrap_or(head);
            let serializes = item[0].contains("Serialize") || item.contains(&"        impl Serialize");
            found += 1;
            assert!(
                serializes || item[0].contains("thiserror::Error") || OTHERS.contains(&name),
                "{module}::{name} does not implement Serialize"
            );
        }
    }
    assert!(found > 60, "the types were not found: {found}");
}

/// Types of public signatures and fields can be named: they are in the surface.
#[test]
fn types_of_public_signatures_can_be_named() {
    let unnamed = LISTING.unnamed_types();
    assert!(unnamed.is_empty(), "not exported, but in a public signature: {unnamed:#?}");
}
