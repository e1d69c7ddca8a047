//! The OpenAPI 3.1 document: the routes of the server, and an operation for each command of each pool, with the schemas
//! that its worker sent. Pure: pools in, text out.
//!
//! `routes.json` and `schemas.json` have what does not depend on the pools.

#[cfg(feature = "mcp")]
mod mcp;
mod problems;
mod references;
#[cfg(test)]
mod tests;

use crate::Pool;
use herder_actors::{CommandDescription, WorkerType};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Map, Value, json, value::RawValue};
use std::{collections::BTreeMap, fmt::Write};

const VERSION: &str = "3.1.0";
/// The path that exists only if the application has such levels.
const LOG_LEVEL: &str = "/v1/pools/{pool}/log-level";
const ROUTES: &str = include_str!("routes.json");
const SCHEMAS: &str = include_str!("schemas.json");

/// A pool in the document.
#[derive(Clone, Debug)]
pub(super) struct PoolEntry<'a> {
    pub(super) name: &'a str,
    pub(super) worker_type: WorkerType,
    /// Whether calls can be bound to workers by their session.
    pub(super) has_affinity: bool,
    pub(super) commands: &'a [CommandDescription],
}

impl<'a> PoolEntry<'a> {
    /// Creates the entry of a pool with these commands.
    pub(super) fn new(pool: &'a Pool, commands: &'a [CommandDescription]) -> Self {
        let config = pool.config();
        let (worker_type, has_affinity) = (config.worker_type(), config.session_affinity());
        Self { name: pool.name().as_str(), worker_type, has_affinity, commands }
    }
}

/// What the document says of the server.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// The header that names the session.
    pub(super) session_header: &'a str,
    /// Whether the server has a token.
    pub(super) needs_token: bool,
    /// Whether the route of log levels exists.
    pub(super) has_log_levels: bool,
    /// Whether `/metrics` exists.
    pub(super) has_metrics: bool,
    /// Whether the endpoints for MCP exist.
    #[cfg(feature = "mcp")]
    pub(super) has_mcp: bool,
    /// The path below which only the routes of pools are mounted. `None`: the server has all routes, at its root.
    pub(super) mounted_at: Option<&'a str>,
}

/// The part of the document that does not depend on the pools.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Routes {
    info: Map<String, Value>,
    security_scheme: Value,
    /// The responses of every route.
    every: Map<String, Value>,
    /// What the operations of all commands have in common.
    call: Map<String, Value>,
    paths: BTreeMap<String, Map<String, Value>>,
    parameters: Map<String, Value>,
}

#[derive(Serialize)]
struct Document<'a> {
    openapi: &'static str,
    info: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    servers: Option<Value>,
    tags: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    security: Option<Value>,
    #[serde(serialize_with = "in_order")]
    paths: Vec<(String, Map<String, Value>)>,
    components: Components<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Components<'a> {
    schemas: BTreeMap<String, Schema<'a>>,
    responses: Map<String, Value>,
    parameters: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    security_schemes: Option<Value>,
}

/// The text of a schema: of `schemas.json`, or of a command.
#[derive(Serialize)]
#[serde(untagged)]
enum Schema<'a> {
    Fixed(&'a RawValue),
    OfCommand(Box<RawValue>),
}

/// Returns the document as JSON text.
///
/// # Errors
/// Never fails, unless a file of this module is not what the module expects; a test reads them.
pub(super) fn document(pools: &[PoolEntry<'_>], about: About<'_>) -> serde_json::Result<String> {
    let needs_token = about.needs_token;
    let mut routes: Routes = serde_json::from_str(ROUTES)?;
    routes.parameters["Session"]["name"] = about.session_header.into();
    let schemas: BTreeMap<String, &RawValue> = serde_json::from_str(SCHEMAS)?;
    let mut schemas: BTreeMap<_, _> = schemas.into_iter().map(|(name, text)| (name, Schema::Fixed(text))).collect();
    routes.name_pools(pools);
    let mut paths = routes.take_paths(about);
    for pool in pools {
        for command in pool.commands {
            paths.push(routes.call(pool, command, &mut schemas));
        }
    }
    paths.iter_mut().for_each(|(_, item)| routes.complete(item, needs_token));
    let mut responses = problems::components();
    if !needs_token {
        responses.remove("Unauthorized");
    }
    routes.info.insert("version".into(), env!("CARGO_PKG_VERSION").into());
    let components = Components {
        schemas,
        responses,
        parameters: routes.parameters,
        security_schemes: needs_token.then(|| json!({ "token": routes.security_scheme })),
    };
    let security = needs_token.then(|| json!([{ "token": [] }]));
    serde_json::to_string(&Document {
        openapi: VERSION,
        info: routes.info,
        servers: about.mounted_at.filter(|path| !path.is_empty()).map(|path| json!([{ "url": path }])),
        tags: tags(pools),
        security,
        paths,
        components,
    })
}

/// Writes an object: the commands of a pool are in the order of the application.
fn in_order<S: Serializer>(paths: &[(String, Map<String, Value>)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(paths.iter().map(|(path, item)| (path, item)))
}

impl Routes {
    /// Restricts the parameter `pool` to the pools of the server.
    fn name_pools(&mut self, pools: &[PoolEntry<'_>]) {
        let names: Vec<_> = pools.iter().map(|pool| pool.name).collect();
        if !names.is_empty() {
            self.parameters["Pool"]["schema"]["enum"] = names.into();
        }
    }

    /// Removes and returns the paths that do not depend on the commands.
    fn take_paths(&mut self, about: About<'_>) -> Vec<(String, Map<String, Value>)> {
        let is_whole = about.mounted_at.is_none();
        let mut paths: Vec<_> = std::mem::take(&mut self.paths).into_iter().collect();
        paths.retain(|(path, _)| is_whole || path.starts_with("/v1/pools"));
        paths.retain(|(path, _)| about.has_log_levels || path != LOG_LEVEL);
        paths.retain(|(path, _)| about.has_metrics || path != "/metrics");
        #[cfg(feature = "mcp")]
        if about.has_mcp {
            paths.extend(mcp::paths(is_whole));
        }
        paths
    }

    /// Returns the path of a command with its operation, and adds its schemas to the components.
    fn call<'a>(
        &self,
        pool: &PoolEntry<'_>,
        command: &CommandDescription,
        schemas: &mut BTreeMap<String, Schema<'a>>,
    ) -> (String, Map<String, Value>) {
        let name = unused_name(pool.name, &command.name, schemas);
        let parameters = format!("{name}.arguments");
        schemas.insert(parameters.clone(), component(&command.parameters, &parameters));
        let result = command.result.as_deref().map_or_else(
            || json!({}),
            |result| {
                let name = format!("{name}.result");
                schemas.insert(name.clone(), component(result, &name));
                reference(&name)
            },
        );
        let mut operation = self.call.clone();
        operation.extend(texts(command));
        operation.insert("tags".into(), json!([pool.name]));
        operation.insert("operationId".into(), name.into());
        operation.insert("x-herder-pool".into(), pool.name.into());
        operation.insert("x-herder-command".into(), command.name.as_str().into());
        operation.insert("requestBody".into(), body(&command.parameters, &parameters));
        operation["responses"]["200"] = reply(&result);
        if command.stream {
            add_stream(&mut operation);
        }
        if let Some(error) = &command.schema_error {
            operation.insert("x-herder-schema-error".into(), error.as_str().into());
        }
        if !pool.has_affinity {
            without_affinity(&mut operation);
        }
        if command.needs_session {
            require_session(&mut operation, &self.parameters["Session"]);
        }
        let path = format!("/v1/pools/{}/call/{}", pool.name, in_path(&command.name));
        (path, Map::from_iter([("post".to_owned(), operation.into())]))
    }

    /// Adds the responses of every route to the operations of a path, and removes what only a server with a token has.
    fn complete(&self, item: &mut Map<String, Value>, needs_token: bool) {
        for operation in item.values_mut().filter_map(Value::as_object_mut) {
            let needs_no_token = operation.get("security").is_some() || !needs_token;
            if !needs_token {
                operation.remove("security");
                operation.remove("x-herder-role");
            }
            let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) else { continue };
            for (status, response) in self.every.iter().filter(|(status, _)| !needs_no_token || *status != "401") {
                responses.entry(status).or_insert_with(|| response.clone());
            }
        }
    }
}

fn tags(pools: &[PoolEntry<'_>]) -> Vec<Value> {
    let of_pool = |pool: &PoolEntry<'_>| {
        let worker_type = pool.worker_type.name();
        let (name, description) = (pool.name, format!("The commands of the {worker_type} pool `{}`.", pool.name));
        json!({ "name": name, "description": description, "x-herder-worker-type": worker_type })
    };
    // The names of these groups have a space, which the name of a pool cannot have.
    let fixed = ["Server routes", "Pool routes", "Session routes"].map(|name| json!({ "name": name }));
    pools.iter().map(of_pool).chain(fixed).collect()
}

/// Returns a name for the components of a command: letters, digits, `.`, `_` and `-`, in use by no other command.
fn unused_name(pool: &str, command: &str, schemas: &BTreeMap<String, Schema<'_>>) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') { c } else { '_' };
    let mut name = format!("{pool}.{}", command.chars().map(allowed).collect::<String>());
    while schemas.contains_key(&format!("{name}.arguments")) {
        name.push('_');
    }
    name
}

/// Returns the schema as a component. One that cannot be a component is replaced by the schema that everything fits.
fn component<'a>(schema: &RawValue, name: &str) -> Schema<'a> {
    let component = references::as_component(schema, name);
    Schema::OfCommand(component.unwrap_or_else(|| RawValue::TRUE.to_owned()))
}

fn reference(component: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{component}") })
}

/// Returns the summary and the description of a command: the first line of its text, and the whole.
fn texts(command: &CommandDescription) -> Map<String, Value> {
    let mut texts = Map::new();
    if let Some(text) = command.description.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        texts.insert("summary".into(), text.lines().next().unwrap_or_default().into());
        texts.insert("description".into(), text.into());
    }
    texts
}

/// Returns the body of a request. An empty body stands for an empty object, so it is optional if no argument is required.
fn body(parameters: &RawValue, component: &str) -> Value {
    #[derive(Deserialize)]
    struct Root {
        #[serde(default)]
        required: Vec<String>,
    }
    let required = serde_json::from_str::<Root>(parameters.get()).is_ok_and(|root| !root.required.is_empty());
    json!({
        "required": required,
        "content": {
            "application/json": { "schema": reference(component) },
            "multipart/form-data": { "schema": form(), "encoding": { "args": { "contentType": "application/json" } } },
        },
    })
}

/// Returns the schema of a form. Its parts are not those of the schema of the arguments, since each may be a file.
fn form() -> Value {
    json!({
        "type": "object",
        "description": "Each part is the argument of its name: a file is binary data, a part of the type `application/json` a \
            value, and another part a string.",
        "properties": { "args": { "type": "object", "description": "The arguments that have no part of their own." } },
    })
}

fn reply(result: &Value) -> Value {
    let schema = json!({
        "type": "object", "required": ["result", "meta"],
        "properties": { "result": result, "meta": { "$ref": "#/components/schemas/Meta" } },
    });
    json!({ "description": "The result.", "content": { "application/json": { "schema": schema } } })
}

/// Adds the forms in which a client can take the items of a generator as they come.
fn add_stream(operation: &mut Map<String, Value>) {
    for kind in ["text/event-stream", "application/x-ndjson"] {
        operation["responses"]["200"]["content"][kind] = json!({ "schema": { "type": "string" } });
    }
    if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
        parameters.push(json!({ "$ref": "#/components/parameters/IdleTimeout" }));
    }
}

/// Removes what only calls in a pool with affinity have.
fn without_affinity(operation: &mut Map<String, Value>) {
    if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
        parameters.retain(|parameter| parameter["$ref"] != "#/components/parameters/Affinity");
    }
    if let Some(responses) = operation.get_mut("responses").and_then(Value::as_object_mut) {
        responses.remove("410");
        responses.insert("409".into(), json!({ "$ref": "#/components/responses/NameTaken" }));
        responses.insert("429".into(), json!({ "$ref": "#/components/responses/TooManyCalls" }));
    }
}

/// Makes the session a required parameter.
fn require_session(operation: &mut Map<String, Value>, session: &Value) {
    let mut session = session.clone();
    session["required"] = true.into();
    if let Some(parameters) = operation.get_mut("parameters").and_then(Value::as_array_mut) {
        parameters[0] = session;
    }
}

/// Returns the text as a segment of a path.
fn in_path(text: &str) -> String {
    let mut path = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => path.push(char::from(byte)),
            _ => _ = write!(path, "%{byte:02X}"),
        }
    }
    path
}
