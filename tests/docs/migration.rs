//! The migration page can be followed: its TOML blocks are valid configurations with the stated effect, its keys are those that
//! `herder check` answers, and the tests, counters and log lines that it names exist.

use super::pages::{read, table};
use herder::{
    PoolConfig,
    config::{Config, Enhanced, Expiry, Features, PoolBuilder, Sessions},
    session::Affinity,
    status::Counters,
};
use std::{collections::BTreeSet, path::Path};

fn blocks(page: &str) -> Vec<&str> {
    page.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("```")).map(|(block, _)| block).collect()
}

fn enhanced(change: impl FnOnce(PoolBuilder<Enhanced>) -> PoolBuilder<Enhanced>) -> PoolConfig {
    let builder = PoolConfig::enhanced("sessions").app("dspy_bridge.py:app").relative_to(".");
    change(builder).build().unwrap()
}

fn basic(name: &str) -> PoolConfig {
    PoolConfig::basic(name).app("dspy_bridge.py:app").relative_to(".").build().unwrap()
}

/// R56, R9: the configurations of the migration steps, in the order of the page, have the stated settings.
#[test]
fn r56_migration_steps_match_the_code() {
    let page = read("docs/migration.md");
    let begin = page.find("## Rollout and rollback").unwrap();
    let built: Vec<Vec<PoolConfig>> = blocks(&page[begin..])
        .into_iter()
        .map(|text| Config::from_toml(text, Path::new(".")).unwrap_or_else(|error| panic!("{text}{error}")).pools)
        .collect();
    let hint = Sessions::new().affinity(Affinity::Hint);
    let immediate = Sessions::new().expiry(Expiry::Immediate);
    let none = Features::new().session_affinity(false).worker_metrics(false).state_machine(false);
    let expected = [
        vec![basic("plain"), enhanced(|pool| pool.features(none.session_affinity(true)))],
        vec![enhanced(|pool| pool.session_affinity(false))],
        vec![enhanced(|pool| pool.sessions(hint))],
        vec![enhanced(|pool| pool.worker_metrics(false))],
        vec![enhanced(|pool| pool.state_machine(false))],
        vec![enhanced(|pool| pool.sessions(immediate))],
        vec![enhanced(|pool| pool.features(none))],
        vec![basic("sessions")],
    ];
    assert_eq!(built, expected);
}

#[test]
fn each_toml_block_is_a_valid_configuration() {
    let page = read("docs/migration.md");
    for text in blocks(&page) {
        assert!(Config::from_toml(text, Path::new(".")).is_ok(), "{text}");
    }
}

/// Each counter and each log line of the alerts exists: the counters by name, the log lines in the source.
#[test]
fn documented_alerts_use_existing_fields() {
    let page = read("docs/migration.md");
    let monitoring = &page[page.find("## Monitoring and alerts").unwrap()..];
    let counters = serde_json::to_value(Counters::default()).unwrap();
    let named: Vec<&str> =
        monitoring.split('`').skip(1).step_by(2).filter_map(|text| text.strip_prefix("counters.")).collect();
    assert!(named.len() >= 8, "the counters were not found: {named:?}");
    for name in named {
        assert!(counters.get(name).is_some(), "there is no counter `{name}`");
    }
    let sources = ["deferred", "logging", "affinity", "waiters"]
        .map(|file| read(&format!("actors/src/pool_supervisor/{file}.rs")));
    let sources = sources.concat()
        + &read("actors/src/shared_state/rebuild.rs")
        + &read("actors/src/shared_state/effects.rs")
        + &read("actors/src/call_log.rs");
    let (_, log) = monitoring.split_once("Other log lines to watch: ").unwrap();
    let lines = log.split('`').skip(1).step_by(2).map(|line| line.replace('\n', " "));
    for line in lines.chain(["worker lost", "worker failed to start", "worker missed a ping"].map(String::from)) {
        assert!(sources.contains(&line), "nothing logs `{line}`");
    }
}

/// R53: the table of keys has each key of DSPex that the configuration answers, and no other, beside its replacement.
#[test]
fn r53_documented_dspex_keys_match_the_code() {
    let source = read("src/config/dspex.rs");
    let (_, keys) = source.split_once("const KEYS").unwrap();
    let (keys, _) = keys.split_once("];").unwrap();
    let entries = || keys.lines().filter_map(|line| line.trim().strip_prefix("(\"")?.split_once("\", "));
    let rows = table(&read("docs/migration.md"), &["DSPex key", "Herder key"]);
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let known: BTreeSet<String> = entries().map(|(key, _)| key.to_owned()).collect();
    assert!(known.len() >= 30, "the keys were not found: {known:?}");
    assert_eq!(rows.iter().flat_map(|row| quoted(&row[0])).collect::<BTreeSet<_>>(), known);
    for (key, replacement) in entries() {
        let Some((path, _)) = replacement.strip_prefix("Is(\"").and_then(|rest| rest.split_once('"')) else { continue };
        let row = rows.iter().find(|row| quoted(&row[0]).iter().any(|name| name == key)).unwrap();
        assert!(quoted(&row[1]).iter().any(|name| name == path), "{key} is {path}; the page says {}", row[1]);
    }
}
