//! The document as a whole: it is complete in itself, and has only what the pools have.

use super::*;
use std::collections::BTreeSet;

fn commands() -> Vec<CommandDescription> {
    serde_json::from_str(EXAMPLE).unwrap()
}

fn about(needs_token: bool) -> About<'static> {
    About {
        session_header: "X-Session-Id",
        needs_token,
        has_log_levels: true,
        has_metrics: true,
        #[cfg(feature = "mcp")]
        has_mcp: false,
        mounted_at: None,
    }
}

/// The document of a basic and of an enhanced pool with the commands of the example.
fn example(needs_token: bool) -> Value {
    let commands = &commands()[..];
    let pools = [
        PoolEntry { name: "plain", worker_type: WorkerType::Basic, has_affinity: false, commands },
        PoolEntry { name: "carts", worker_type: WorkerType::Enhanced, has_affinity: true, commands },
    ];
    serde_json::from_str(&document(&pools, about(needs_token)).unwrap()).unwrap()
}

/// Commands as workers send them: the order of their arguments is not that of the alphabet.
const EXAMPLE: &str = r##"[
    {
        "name": "add", "description": "Add.\n\nMore.", "result": {"$ref": "#/$defs/T", "$defs": {"T": {}}},
        "parameters": {
            "type": "object", "properties": {"z": {"$ref": "#/$defs/T"}, "a": {"type": "string"}}, "required": ["z"],
            "$defs": {"T": {"type": "array", "items": {"$ref": "#/$defs/T"}}}
        }
    },
    {"name": "a b/é", "parameters": {"type": "object"}, "needs_session": true, "schema_error": "too long"},
    {"name": "a_b__", "parameters": {"type": "object"}}
]"##;

/// Calls `visit` with each object of a JSON value.
fn each_object(value: &Value, visit: &mut impl FnMut(&Map<String, Value>)) {
    match value {
        Value::Object(members) => {
            visit(members);
            members.values().for_each(|member| each_object(member, visit));
        }
        Value::Array(items) => items.iter().for_each(|item| each_object(item, visit)),
        _ => {}
    }
}

fn operations(document: &Value) -> Vec<(&String, &Map<String, Value>)> {
    let items = document["paths"].as_object().unwrap().iter();
    items
        .flat_map(|(path, item)| {
            item.as_object().unwrap().values().filter_map(move |value| Some((path, value.as_object()?)))
        })
        .collect()
}

#[test]
fn r73_every_reference_leads_to_a_part_of_the_document() {
    for needs_token in [false, true] {
        let document = example(needs_token);
        let mut references = BTreeSet::new();
        each_object(&document, &mut |members| {
            references.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
        });
        assert!(references.len() > 50 && references.iter().any(|text| text.ends_with("carts.add.arguments/$defs/T")));
        for reference in references {
            assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
        }
    }
}

/// The status of a response component is that under which operations refer to it, and each component is in use.
#[test]
fn error_responses_have_the_status_of_their_component() {
    let document = example(true);
    let mut used = BTreeSet::new();
    for (path, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let Some(name) = response["$ref"].as_str().and_then(|text| text.strip_prefix("#/components/responses/"))
            else {
                assert!(["200", "204"].contains(&status.as_str()), "{path} {status}");
                continue;
            };
            assert_eq!(problems::status(name), Some(status.as_str()), "{path} {name}");
            used.insert(name);
        }
    }
    let all: BTreeSet<&str> =
        document["components"]["responses"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(used, all);
}

#[test]
fn r73_a_command_has_an_operation_with_its_schemas() {
    let text = document(
        &[PoolEntry { name: "p", worker_type: WorkerType::Basic, has_affinity: false, commands: &commands() }],
        about(false),
    );
    let text = text.unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let add = &document["paths"]["/v1/pools/p/call/add"]["post"];
    assert_eq!((&add["summary"], &add["description"]), (&json!("Add."), &json!("Add.\n\nMore.")));
    assert_eq!(document["components"]["parameters"]["Session"]["name"], "X-Session-Id");
    assert_eq!(add["requestBody"]["required"], true);
    let content = add["requestBody"]["content"].as_object().unwrap();
    assert_eq!(content.keys().collect::<Vec<_>>(), ["application/json", "multipart/form-data"]);
    assert!(text.contains(
        r##""properties":{"z":{"$ref":"#/components/schemas/p.add.arguments/$defs/T"},"a":{"type":"string"}}"##
    ));
    let place = |command: &str| text.find(&format!("/v1/pools/p/call/{command}\":")).unwrap();
    assert!(place("add") < place("a%20b%2F%C3%A9"), "commands are in the order of the application");
    let odd = &document["paths"]["/v1/pools/p/call/a%20b%2F%C3%A9"]["post"];
    assert_eq!((&odd["x-herder-command"], &odd["x-herder-schema-error"]), (&json!("a b/é"), &json!("too long")));
    assert_eq!((&odd["parameters"][0]["required"], &odd["requestBody"]["required"]), (&json!(true), &json!(false)));
    let ids: BTreeSet<_> =
        operations(&document).iter().map(|(_, operation)| operation["operationId"].to_string()).collect();
    assert_eq!(ids.len(), operations(&document).len(), "ids are unique: {ids:?}");
    assert_eq!(document["components"]["parameters"]["Pool"]["schema"]["enum"], json!(["p"]));
}

/// R3: nothing of session affinity is in the operations of a pool without it.
#[test]
fn r3_only_pools_with_affinity_have_its_header_and_errors() {
    let document = example(false);
    let call = |pool| &document["paths"][format!("/v1/pools/{pool}/call/add")]["post"];
    for (pool, expected) in [("plain", false), ("carts", true)] {
        let text = call(pool).to_string();
        for part in ["parameters/Affinity", "SessionGone", "CallConflict", "TooManySessionCalls"] {
            assert_eq!(text.contains(part), expected, "{pool} {part}");
        }
    }
}

#[test]
fn r68_a_token_is_documented_only_if_there_is_one() {
    let (with, without) = (example(true), example(false));
    assert_eq!(with["security"], json!([{ "token": [] }]));
    assert_eq!(with["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    for (path, operation) in operations(&with) {
        let is_probe = ["/healthz", "/readyz"].contains(&path.as_str());
        assert_eq!(
            (operation["responses"].get("401").is_none(), operation.contains_key("security")),
            (is_probe, is_probe),
            "{path}"
        );
    }
    let text = without.to_string();
    for part in ["security", "\"401\"", "Unauthorized"] {
        assert!(!text.contains(part), "{part}");
    }
}

/// Routes that an app mounts below a path have a document of their own. MCP is in it only if it is on.
#[test]
fn document_of_mounted_routes_names_their_path() {
    let pools = [PoolEntry { name: "p", worker_type: WorkerType::Basic, has_affinity: false, commands: &commands() }];
    let text = document(&pools, About { mounted_at: Some("/herder"), ..about(false) }).unwrap();
    let mounted: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(mounted["servers"], json!([{ "url": "/herder" }]));
    let paths: Vec<&String> = mounted["paths"].as_object().unwrap().keys().collect();
    assert!(paths.iter().all(|path| path.starts_with("/v1/pools")), "{paths:?}");
    assert!(example(false).get("servers").is_none() && example(false)["paths"].get("/mcp").is_none());
}

#[cfg(feature = "mcp")]
#[test]
fn document_of_a_server_with_mcp_has_its_endpoints() {
    let text = document(&[], About { has_mcp: true, ..about(true) }).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    for path in ["/mcp", "/v1/pools/{pool}/mcp"] {
        let item = &document["paths"][path];
        assert_eq!(item["delete"]["responses"]["401"]["$ref"], "#/components/responses/Unauthorized", "{path}");
        each_object(item, &mut |members| {
            let reference = members.get("$ref").and_then(Value::as_str);
            assert!(reference.is_none_or(|text| document.pointer(&text[1..]).is_some()), "{reference:?}");
        });
    }
    let mounted = super::document(&[], About { has_mcp: true, mounted_at: Some("/x"), ..about(true) }).unwrap();
    assert!(!mounted.contains("\"/mcp\"") && mounted.contains("\"/v1/pools/{pool}/mcp\""));
}
