//! The README is short, and its Python runs. Its Rust is a doctest of the crate, its console block is run by `.ci/readme`.

use super::pages::{block, read};
use herder::testing::pool;
use serde_json::json;

const MAX_LINES: usize = 120;

/// The README has at most 120 lines, because the references are separate pages (`docs/configuration.md`, `docs/cli.md`,
/// `docs/http.md`).
#[test]
fn the_readme_is_short() {
    let lines = read("README.md").lines().count();
    assert!(lines <= MAX_LINES, "README.md has {lines} lines; allowed: at most {MAX_LINES}");
}

/// The Python of the quick start runs as it is, with the calls of the Rust program beside it.
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
    pool.shutdown_and_check().await;
}
