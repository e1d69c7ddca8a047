//! `docs/glossary.md`: sorted, 20 to 40 terms, and each is used on another page.

use super::{links::PAGES, pages::read};

fn terms(page: &str) -> Vec<&str> {
    page.lines().filter_map(|line| line.strip_prefix("## ")).collect()
}

#[test]
fn each_term_is_used_on_another_page() {
    let glossary = read("docs/glossary.md");
    let terms = terms(&glossary);
    assert!((20..=40).contains(&terms.len()), "{} terms", terms.len());
    assert!(terms.is_sorted(), "the terms are not in alphabetical order: {terms:?}");
    let others: Vec<String> =
        PAGES.iter().filter(|page| **page != "docs/glossary.md").map(|page| read(page).to_lowercase()).collect();
    for term in terms.iter().flat_map(|term| term.split(", ")) {
        let word = term.to_lowercase();
        assert!(others.iter().any(|page| page.contains(&word)), "no page uses the term {term}");
    }
}
