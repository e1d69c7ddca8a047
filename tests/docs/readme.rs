//! The README's configuration has every key there is, none that is not, and the defaults it says. Its Python runs.

use super::pages::{block, read};
use herder::{Config, testing::pool};
use herder_actors::schema::{KeyType, TABLE};
use serde_json::json;
use std::path::Path;
use toml::{Table, Value};

fn find<'t>(table: &'t Table, path: &str) -> Option<&'t Value> {
    match path.split_once('.') {
        Some((group, rest)) => find(table.get(group)?.as_table()?, rest),
        None => table.get(path),
    }
}

/// Whether a key stands there with its default; keys whose default follows from something else may have any value.
fn has_default(kind: &KeyType, value: &Value) -> bool {
    match kind {
        KeyType::Count(row) => value.as_integer() == i64::try_from(row.default).ok(),
        KeyType::Span(row) => value.as_str().and_then(|text| humantime::parse_duration(text).ok()) == Some(row.default),
        KeyType::Flag(row) => value.as_bool() == Some(row.default),
        KeyType::CountOr(row) => value.as_str() == Some(row.default),
        KeyType::Choice(row) => !row.words.contains(&row.default) || value.as_str() == Some(row.default),
        KeyType::Share(row) => value.as_float().is_some_and(|share| (share * 1000.0).round() == f64::from(row.default)),
        KeyType::Words(row) => value
            .as_array()
            .is_some_and(|words| words.iter().map(|word| word.as_str()).eq(row.default.iter().map(|word| Some(*word)))),
        KeyType::Derived(_) | KeyType::Text(_) | KeyType::List(_) | KeyType::Spans(_) | KeyType::Map(_) => true,
    }
}

/// R51: the file that users copy from is read as it stands.
#[test]
fn r51_the_configuration_in_the_readme_is_complete_and_right() {
    let page = read("README.md");
    let text = block(&page, "toml");
    let config = Config::from_toml(text, Path::new(".")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(config.pools.len(), 1);
    let file: Table = text.parse().unwrap();
    let pool = file["pools"]["models"].as_table().unwrap();
    for key in TABLE {
        match (key.path, find(pool, key.path)) {
            ("command", None) => assert!(text.contains("instead: command = [")),
            ("retry.waits", None) => assert!(text.contains("or \"custom\" with waits = [")),
            ("worker_type", Some(value)) => {
                assert_eq!(value.as_str(), Some("enhanced"), "or half of the keys are errors");
            }
            (path, Some(value)) => {
                assert!(has_default(&key.kind, value), "{path} is {value}, its default {}", key.kind.default());
            }
            (path, None) => panic!("{path} is missing in the README"),
        }
    }
}

/// What follows from `pool_size` and `limit` follows in the example, too.
#[test]
fn readme_derived_defaults_match_the_rules() {
    let page = read("README.md");
    let with = |text: &str| {
        Config::from_toml(text, Path::new(".")).unwrap_or_else(|error| panic!("{error}")).pools.remove(0).settings()
    };
    let text = block(&page, "toml");
    let without = [", per_session = 250", "max = 8, "].into_iter().fold(text.to_owned(), |text, key| {
        assert!(text.contains(key), "{key}");
        text.replace(key, "")
    });
    assert_eq!(with(text), with(&without));
}

/// The first screen's two programs: its Python as it stands, called as its Rust does (which is a doctest).
#[tokio::test]
async fn the_worker_in_the_readme_runs() {
    let pool = pool("readme", |context| {
        context.file("carts.py", block(&read("README.md"), "python"));
        context.enhanced().app("carts.py:app").build()
    })
    .await;
    for expected in [vec!["tea"], vec!["tea", "tea"]] {
        let items: Vec<String> = pool.call("add", &json!({ "item": "tea" })).session("ann").await.unwrap();
        assert_eq!(items, expected);
    }
    pool.end().await;
}
