//! `docs/http.md` and the documentation of `herder::http`: their routes are those that the code mounts, `meta` has the keys of
//! `ReplyMetadata`, and the table of headers is complete.

use super::pages::{read, table};
use std::collections::BTreeSet;

/// A method and a path, as in `GET /v1/pools`.
type Routes = BTreeSet<String>;

/// The headings of the page's table of routes.
pub(super) const HEADINGS: [&str; 3] = ["method and path", "role", "response"];

/// Returns the string up to the next quote after each `start`, with the source from there to the next `start`.
fn quoted<'s>(source: &'s str, start: &str) -> Vec<(&'s str, &'s str)> {
    source.split(start).skip(1).filter_map(|rest| rest.split_once('"')).collect()
}

/// Returns the routes of `src/http/routes.rs`: those of the server, those of pools, and those of the server that are added last.
fn mounted() -> Routes {
    let source = read("src/http/routes.rs");
    let (of_server, rest) = source.split_once("fn of_pools(").unwrap();
    let (of_pools, added) = rest.split_once("fn with_metrics(").unwrap();
    assert!(of_pools.contains("Self::new(POOLS,") && source.contains("const POOLS: &str = \"/v1/pools\";"));
    let mut routes = Routes::new();
    for (prefix, part) in [("", of_server), ("/v1/pools", of_pools), ("", added)] {
        routes.extend(quoted(part, "read(\"").iter().map(|(path, _)| format!("GET {prefix}{path}")));
        for (path, rest) in quoted(part, "only(\"") {
            let method = rest.split('"').nth(1).unwrap();
            routes.insert(format!("{method} {prefix}{path}"));
        }
        for (path, rest) in quoted(part, "web::resource(\"") {
            let (methods, _) = rest.split_once(';').unwrap();
            let calls = [
                ("reads()", "GET"),
                ("web::delete()", "DELETE"),
                ("web::post()", "POST"),
                ("web::put()", "PUT"),
                ("web::patch()", "PATCH"),
            ];
            for (call, method) in calls {
                if methods.contains(call) {
                    routes.insert(format!("{method} {prefix}{path}"));
                }
            }
        }
    }
    assert!(routes.len() >= 15, "the routes were not found: {routes:?}");
    routes
}

/// Returns the routes in the first cells of a table. Several methods may share a path; queries are omitted.
pub(super) fn documented<'r>(cells: impl IntoIterator<Item = &'r String>) -> Routes {
    let mut routes = Routes::new();
    for cell in cells {
        let mut methods = Vec::new();
        for text in cell.split('`').skip(1).step_by(2) {
            let (method, path) = text.split_once(' ').map_or((text, None), |(method, path)| (method, Some(path)));
            methods.push(method);
            if let Some(path) = path {
                let path = path.split('?').next().unwrap();
                routes.extend(methods.drain(..).map(|method| format!("{method} {path}")));
            }
        }
    }
    routes
}

/// Returns the table in the documentation of `herder::http`.
fn module_table() -> Vec<Vec<String>> {
    let lines = read("src/http/mod.rs");
    let page: Vec<&str> = lines.lines().filter_map(|line| line.strip_prefix("//! ")).collect();
    table(&page.join("\n"), &["method and path", "answer"])
}

fn page_table() -> Vec<Vec<String>> {
    table(&read("docs/http.md"), &HEADINGS)
}

#[test]
fn routes_in_the_page_match_the_mounted_routes() {
    assert_eq!(documented(page_table().iter().map(|row| &row[0])), mounted());
}

#[test]
fn routes_in_the_module_documentation_match_the_mounted_routes() {
    assert_eq!(documented(module_table().iter().map(|row| &row[0])), mounted());
}

/// `meta` of a call's response has these keys and no others.
#[test]
fn documented_keys_of_meta_match_the_code() {
    let source = read("actors/src/reply.rs");
    let (_, rest) = source.split_once("pub struct ReplyMetadata {").unwrap();
    let (fields, _) = rest.split_once("\n}").unwrap();
    let names = fields.lines().filter_map(|line| line.trim().strip_prefix("pub ")?.split_once(':'));
    let names: BTreeSet<&str> = names.map(|(name, _)| name).collect();
    assert!(names.len() >= 7, "the fields were not found: {names:?}");
    for rows in [page_table(), module_table()] {
        let call = rows.iter().find(|row| row[0].starts_with("`POST /v1/pools/{pool}/call/")).unwrap();
        let (_, meta) = call.last().unwrap().split_once("\"meta\": {").unwrap();
        let (meta, _) = meta.split_once('}').unwrap();
        let written: BTreeSet<&str> = meta.split('"').skip(1).step_by(2).collect();
        assert_eq!(written, names);
    }
    let page = read("docs/http.md");
    let rows = table(&page, &["key", "meaning"]);
    let written: BTreeSet<&str> = rows.iter().flat_map(|row| row[0].split('`').skip(1).step_by(2)).collect();
    assert_eq!(written, names);
}

#[test]
fn documented_headers_match_the_code() {
    let source = read("src/http/headers.rs") + &read("src/http/session_sources.rs");
    let names = quoted(&source, "CallHeader::new(\"");
    let known: BTreeSet<String> = names.into_iter().map(|(name, _)| format!("`{name}`")).collect();
    assert!(known.len() >= 5, "the headers were not found: {known:?}");
    let rows = table(&read("docs/http.md"), &["header", "values", "meaning"]);
    assert_eq!(rows.into_iter().map(|row| row[0].clone()).collect::<BTreeSet<_>>(), known);
}
