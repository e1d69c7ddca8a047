//! The target of each link between the pages exists: the file, and the heading in it.

use super::pages::read;
use std::path::{Component, Path, PathBuf};

pub(super) const PAGES: [&str; 27] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
    "docs/bench.md",
    "docs/buffers.md",
    "docs/cli.md",
    "docs/configuration.md",
    "docs/faults.md",
    "docs/from-fastapi.md",
    "docs/glossary.md",
    "docs/http.md",
    "docs/live-page.md",
    "docs/mcp.md",
    "docs/metrics.md",
    "docs/migration.md",
    "docs/notes/actix-http-pipelining.md",
    "docs/performance.md",
    "docs/protocol.md",
    "docs/python-dependencies.md",
    "docs/python-types.md",
    "docs/requirements.md",
    "docs/semantics.md",
    "docs/testing.md",
    "docs/traces.md",
    "python/README.md",
];

/// Returns the link targets of a page, except those on other sites.
fn links(page: &str) -> Vec<&str> {
    let targets = page.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target);
    targets.filter(|target| !target.contains("://") && !target.contains(char::is_whitespace)).collect()
}

/// Returns the anchors of the headings, in the form that GitHub gives them.
fn anchors(page: &str) -> Vec<String> {
    let kept = |c: char| match c {
        ' ' => Some('-'),
        c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c.to_ascii_lowercase()),
        _ => None,
    };
    page.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim().chars().filter_map(kept).collect())
        .collect()
}

/// Removes `..` from a path: `docs/../README.md` becomes `README.md`.
fn normalize(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut normalized, part| {
        match part {
            Component::ParentDir => _ = normalized.pop(),
            part => normalized.push(part),
        }
        normalized
    })
}

/// Describes what is wrong with a link on this page, if anything is.
fn fault(page: &str, link: &str) -> Option<String> {
    let (file, anchor) = link.split_once('#').map_or((link, None), |(file, anchor)| (file, Some(anchor)));
    let directory = Path::new(page).parent().unwrap_or(Path::new(""));
    let target = if file.is_empty() { PathBuf::from(page) } else { normalize(&directory.join(file)) };
    if !Path::new(env!("CARGO_MANIFEST_DIR")).join(&target).exists() {
        return Some(format!("{page}: there is no {}", target.display()));
    }
    let known = |anchor: &&str| anchors(&read(&target.display().to_string())).iter().any(|known| known == anchor);
    anchor
        .filter(|anchor| !known(anchor))
        .map(|anchor| format!("{page}: {} has no heading #{anchor}", target.display()))
}

#[test]
fn every_link_target_exists() {
    let pages: Vec<(&str, String)> = PAGES.iter().map(|page| (*page, read(page))).collect();
    let all: Vec<(&str, &str)> =
        pages.iter().flat_map(|(page, text)| links(text).into_iter().map(|link| (*page, link))).collect();
    assert!(all.len() > 10, "the links were not found");
    let faults: Vec<String> = all.iter().filter_map(|(page, link)| fault(page, link)).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The check reports broken links and accepts a correct one.
#[test]
fn broken_links_are_reported() {
    assert_eq!(fault("docs/semantics.md", "none.md").as_deref(), Some("docs/semantics.md: there is no docs/none.md"));
    assert!(fault("README.md", "docs/semantics.md#none").is_some_and(|fault| fault.ends_with("no heading #none")));
    assert_eq!(fault("docs/semantics.md", "../README.md#quick-start"), None);
}
