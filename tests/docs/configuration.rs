//! `docs/configuration.md`: its example has every key and no other, with the defaults that it states, and its tables list the
//! keys of the code. `HERDER_BLESS=1` writes the table of a pool's keys.

use super::pages::{block, check_rows, read, table};
use herder::config::{Config, Server, Traces};
use herder_actors::schema::{KeyType, TABLE};
use std::{collections::BTreeSet, path::Path};
use toml::{Table, Value};

const PAGE: &str = "docs/configuration.md";
const HEADINGS: &str = "| key | values | default | meaning |";

fn find<'t>(table: &'t Table, path: &str) -> Option<&'t Value> {
    match path.split_once('.') {
        Some((group, rest)) => find(table.get(group)?.as_table()?, rest),
        None => table.get(path),
    }
}

/// Returns whether the value is the key's default. A key whose default follows from something else may have any value.
fn has_default(kind: &KeyType, value: &Value) -> bool {
    match kind {
        KeyType::Count(row) => value.as_integer() == i64::try_from(row.default).ok(),
        KeyType::Span(row) => value.as_str().and_then(|text| humantime::parse_duration(text).ok()) == Some(row.default),
        KeyType::Flag(row) => value.as_bool() == Some(row.default),
        KeyType::CountOr(row) => value.as_str().map_or_else(|| value.to_string(), str::to_owned) == row.default,
        KeyType::Choice(row) => !row.words.contains(&row.default) || value.as_str() == Some(row.default),
        KeyType::Share(row) => value.as_float().is_some_and(|share| (share * 1000.0).round() == f64::from(row.default)),
        KeyType::Words(row) => value
            .as_array()
            .is_some_and(|words| words.iter().map(|word| word.as_str()).eq(row.default.iter().map(|word| Some(*word)))),
        KeyType::Derived(_) | KeyType::Text(_) | KeyType::List(_) | KeyType::Spans(_) => true,
        KeyType::Map(_) | KeyType::Batches(_) => true,
    }
}

fn parsed(text: &str) -> Config {
    Config::from_toml(text, Path::new(".")).unwrap_or_else(|error| panic!("{error}"))
}

/// R51: the file that users copy from is a valid configuration as it is.
#[test]
fn r51_the_configuration_example_is_complete_and_right() {
    let page = read(PAGE);
    let text = block(&page, "toml");
    assert_eq!(parsed(text).pools.len(), 1);
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
            (path, None) => panic!("{path} is missing in the example"),
        }
    }
}

/// R51: in the example, the keys whose defaults follow from `pool_size` and `queue.limit` have these defaults.
#[test]
fn derived_defaults_in_the_example_match_the_rules() {
    let page = read(PAGE);
    let text = block(&page, "toml");
    let without = [", per_session = 250", "max = 8, "].into_iter().fold(text.to_owned(), |text, key| {
        assert!(text.contains(key), "{key}");
        text.replace(key, "")
    });
    let settings = |text: &str| parsed(text).pools.remove(0).settings();
    assert_eq!(settings(text), settings(&without));
}

/// Returns the allowed values as the table shows them.
fn values(kind: &KeyType) -> String {
    match kind {
        KeyType::Span(_) => "duration".into(),
        KeyType::Count(_) | KeyType::Derived(_) => format!("integer, {}", kind.allowed()),
        _ => kind.allowed(),
    }
}

/// Returns the default as the table shows it: quoted as in TOML, unless it is a rule.
fn default(kind: &KeyType) -> String {
    let default = kind.default();
    match kind {
        KeyType::Count(_) | KeyType::Flag(_) | KeyType::Share(_) | KeyType::Words(_) => format!("`{default}`"),
        KeyType::CountOr(row) if !row.words.contains(&row.default) => format!("`{default}`"),
        KeyType::Span(_) | KeyType::CountOr(_) => format!("`\"{default}\"`"),
        KeyType::Choice(row) if row.words.contains(&row.default) => format!("`\"{default}\"`"),
        _ => default,
    }
}

/// R51: the table has each key of the code with its allowed values, its default and its meaning, in the order of the code.
#[test]
fn r51_documented_pool_keys_match_the_code() {
    let rows = TABLE.iter().map(|key| {
        let (values, default) = (values(&key.kind), default(&key.kind));
        format!("| `{}` | {values} | {default} | {} |", key.path, key.about.replace('|', "\\|"))
    });
    check_rows(PAGE, "## Keys of a pool", HEADINGS, &rows.collect::<Vec<_>>());
}

/// R51: each key of `[traces]` is in its table and in the example, with its default if it has one.
#[test]
fn r51_documented_keys_of_traces_match_the_code() {
    let page = read(PAGE);
    let section = &page[page.find("## Keys of `[traces]`").unwrap()..];
    let rows = table(section, &["key", "values", "default", "meaning"]);
    let shown = format!("{:#?}", Traces::default());
    let example = block(&page, "toml");
    for row in &rows {
        let (key, default) = (row[0].trim_matches('`'), row[2].trim_matches('`'));
        assert!(shown.contains(&format!("    {key}: ")), "{key}");
        assert!(example.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = "))), "{key}");
        let text = format!("[pools.a]\napp = 'a:app'\n[traces]\n{key} = {default}\n");
        assert!(default == "none" || parsed(&text).traces == Traces::default(), "{key} = {default} is not the default");
    }
    assert_eq!(rows.len(), shown.lines().count() - 2, "{shown}");
}

/// R51: each key of `[server]` is in its table and in the example, with its default if it has a fixed one.
#[test]
fn r51_documented_server_keys_match_the_code() {
    let page = read(PAGE);
    let section = &page[page.find("## Keys of `[server]`").unwrap()..];
    let rows = table(section, &["key", "values", "default", "meaning"]);
    let shown = format!("{:#?}", Server::default());
    let field = |line: &str| Some(line.strip_prefix("    ")?.split_once(": ")?.0.to_owned());
    let fields: BTreeSet<String> = shown.lines().filter_map(field).filter(|name| !name.starts_with(' ')).collect();
    let written: BTreeSet<String> = rows.iter().map(|row| row[0].trim_matches('`').to_owned()).collect();
    assert_eq!(written, fields);

    let example = block(&page, "toml");
    for row in &rows {
        let (key, default) = (row[0].trim_matches('`'), row[2].trim_matches('`'));
        assert!(example.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{key} = "))), "{key}");
        if row[2].starts_with('`') {
            let pool = "[pools.a]\napp = 'a:app'\n";
            let server = parsed(&format!("{pool}[server]\n{key} = {default}\n")).server;
            assert_eq!(server, Server::default(), "{key} = {default} is not the default");
        }
    }
    assert_eq!(parsed(example).server, Server::default(), "the example has the defaults");
}
