//! The tools of an endpoint: one for each command of its pools, and those for sessions. Holds nothing.

use super::{ordered::Members, rpc::RpcError};
use crate::Pool;
use herder_actors::{CommandDescription, ErrorDetail, Result};
use serde::{Deserialize, Serialize};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use std::{borrow::Cow, sync::Arc};

/// The number of tools in a page.
const PAGE: usize = 100;
/// The argument that names a session, where the protocol has none of its own.
pub(super) const HANDLE: &str = "herder_session";
pub(super) const CREATE_SESSION: &str = "herder_create_session";
pub(super) const END_SESSION: &str = "herder_end_session";

/// A pool behind an endpoint.
#[derive(Clone, Debug)]
pub(super) struct McpPool {
    pub(super) pool: Pool,
    /// Whether the pool has session affinity. Calls of other pools have no session.
    pub(super) affinity: bool,
}

impl McpPool {
    /// Returns whether a command has a parameter of its own with the name of the handle. It gets the argument then, and its calls
    /// have no session.
    pub(super) async fn has_own_handle(&self, command: &str) -> bool {
        let commands = self.pool.commands().await.unwrap_or_default();
        let described = commands.iter().find(|described| described.name == command);
        described.is_some_and(|described| has_own_handle(&described.parameters))
    }
}

/// The pools of an endpoint: all of a server (`/mcp`), or one of them.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// The name of the pool, if it is the endpoint of one.
    pub(super) name: Option<String>,
    pub(super) pools: Vec<McpPool>,
}

/// A page of the list.
#[derive(Serialize)]
pub(super) struct Page {
    tools: Vec<Tool>,
    #[serde(rename = "nextCursor", skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tool {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    input_schema: Box<RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_schema: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Annotations {
    idempotent_hint: bool,
}

impl Endpoint {
    /// Returns whether a pool has session affinity.
    pub(super) fn has_sessions(&self) -> bool {
        self.pools.iter().any(|pool| pool.affinity)
    }

    /// Returns the name of a command's tool. It contains that of the pool only if there are several.
    fn tool_name(&self, pool: &McpPool, command: &str) -> String {
        match self.pools.as_slice() {
            [_] => command.into(),
            _ => format!("{}.{command}", pool.pool.name()),
        }
    }

    /// Returns the pool and the command of a tool. The command may be unknown. A pool's name has no dot.
    pub(super) fn find<'a>(&'a self, tool: &'a str) -> Option<(&'a McpPool, &'a str)> {
        if let [pool] = self.pools.as_slice() {
            return Some((pool, tool));
        }
        let (name, command) = tool.split_once('.')?;
        let pool = self.pools.iter().find(|pool| pool.pool.name().as_str() == name)?;
        Some((pool, command))
    }

    /// Returns a page of the tools. With `handles`, sessions are named by an argument. `detail`: how much of the reason is shown
    /// if a pool has no commands because its workers do not start.
    pub(super) async fn page(
        &self,
        cursor: Option<&str>,
        handles: bool,
        detail: ErrorDetail,
    ) -> std::result::Result<Page, RpcError> {
        let skip = cursor.map_or(Ok(0), str::parse::<usize>);
        let skip = skip.map_err(|_| RpcError::invalid_params("`cursor` is not one that this server returned"))?;
        let handles = handles && self.has_sessions();
        let mut tools = if handles { session_tools() } else { Vec::new() };
        for pool in &self.pools {
            let commands = commands(&pool.pool).await;
            let commands = commands.map_err(|error| RpcError::internal(error.problem_in(detail).detail))?;
            let with_handle = handles && pool.affinity;
            let of_pool = commands.iter().map(|command| self.tool(pool, command, with_handle, handles));
            tools.extend(of_pool.collect::<serde_json::Result<Vec<_>>>().map_err(RpcError::internal)?);
        }
        let more = skip.saturating_add(PAGE);
        let next_cursor = (tools.len() > more).then(|| more.to_string());
        Ok(Page { tools: tools.into_iter().skip(skip).take(PAGE).collect(), next_cursor })
    }

    fn tool(
        &self,
        pool: &McpPool,
        command: &CommandDescription,
        with_handle: bool,
        any_output: bool,
    ) -> serde_json::Result<Tool> {
        let parameters = &command.parameters;
        let parameters = if with_handle { add_handle(parameters, command.needs_session)? } else { parameters.clone() };
        // Revisions with sessions allow only objects as structured results.
        let output_schema = command.result.clone().filter(|schema| any_output || describes_an_object(schema));
        Ok(Tool {
            name: self.tool_name(pool, &command.name),
            description: command.description.clone(),
            input_schema: parameters,
            output_schema,
            annotations: command.idempotent.then_some(Annotations { idempotent_hint: true }),
        })
    }
}

/// Returns the commands of a pool. Waits until a worker has described them, unless none can start.
async fn commands(pool: &Pool) -> Result<Arc<[CommandDescription]>> {
    let commands = pool.commands().await?;
    if commands.is_empty() {
        pool.ready().await?;
        return pool.commands().await;
    }
    Ok(commands)
}

fn describes_an_object(schema: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Root<'a> {
        #[serde(borrow)]
        r#type: Option<&'a RawValue>,
    }
    let root = serde_json::from_str::<Root<'_>>(schema.get());
    root.is_ok_and(|root| root.r#type.is_some_and(|name| name.get() == "\"object\""))
}

/// Returns whether a schema has a property with the name of the handle.
fn has_own_handle(parameters: &RawValue) -> bool {
    #[derive(Deserialize)]
    struct Root<'a> {
        #[serde(borrow, default)]
        properties: Members<'a>,
    }
    serde_json::from_str::<Root<'_>>(parameters.get()).is_ok_and(|root| root.properties.get(HANDLE).is_some())
}

/// Returns the schema with the argument for the session. A parameter of the command with that name takes precedence.
fn add_handle(parameters: &RawValue, is_required: bool) -> serde_json::Result<Box<RawValue>> {
    if has_own_handle(parameters) {
        return Ok(parameters.to_owned());
    }
    let mut schema: Members<'_> = serde_json::from_str(parameters.get())?;
    let mut properties: Members<'_> = match schema.get("properties") {
        Some(properties) => serde_json::from_str(properties.get())?,
        None => Members::default(),
    };
    properties.set(HANDLE, to_raw_value(&json!({ "type": "string", "description": HANDLE_DESCRIPTION }))?);
    let properties = to_raw_value(&properties)?;
    if is_required {
        let mut required: Vec<Cow<'_, str>> = match schema.get("required") {
            Some(required) => serde_json::from_str(required.get())?,
            None => Vec::new(),
        };
        required.push(HANDLE.into());
        let required = to_raw_value(&required)?;
        schema.set("properties", properties);
        schema.set("required", required);
    } else {
        schema.set("properties", properties);
    }
    to_raw_value(&schema)
}

const HANDLE_DESCRIPTION: &str = "The session whose state the call uses: the `herder_session` that `herder_create_session` returned. \
     Calls of one session run one after another.";

fn session_tools() -> Vec<Tool> {
    let handle = json!({ "type": "object", "properties": { HANDLE: { "type": "string" } }, "required": [HANDLE] });
    let tool = |name: &str, description: &str, input| Tool {
        name: name.into(),
        description: Some(description.into()),
        input_schema: to_raw_value(&input).unwrap_or_default(),
        output_schema: None,
        annotations: None,
    };
    vec![
        Tool {
            output_schema: to_raw_value(&handle).ok(),
            ..tool(
                CREATE_SESSION,
                "Begins a session and returns its handle. Pass it as `herder_session` to keep state between calls. \
                 An unused session expires.",
                json!({ "type": "object", "additionalProperties": false }),
            )
        },
        tool(END_SESSION, "Ends a session and discards its state.", handle.clone()),
    ]
}

/// Removes the argument for the session. Returns the other arguments, and the session if it was given.
///
/// # Errors
/// Fails if the session is not a string.
pub(super) fn take_handle(arguments: &[u8]) -> std::result::Result<Option<(Vec<u8>, String)>, RpcError> {
    // The usual case, without decoding: a handle that is written with escapes stays an argument, which no command has.
    if !std::str::from_utf8(arguments).is_ok_and(|text| text.contains(HANDLE)) {
        return Ok(None);
    }
    let mut members: Members<'_> = serde_json::from_slice(arguments).map_err(RpcError::invalid_params)?;
    let Some(handle) = members.get(HANDLE) else { return Ok(None) };
    let wrong = |_| RpcError::invalid_params(format_args!("`{HANDLE}` must be a string"));
    let handle: String = serde_json::from_str(handle.get()).map_err(wrong)?;
    members.0.retain(|(name, _)| name != HANDLE);
    let rest = serde_json::to_vec(&members).map_err(RpcError::internal)?;
    Ok(Some((rest, handle)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Script, scripted};

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.into()).unwrap()
    }

    #[actix_web::test]
    async fn the_list_has_pages() {
        let name = |number| format!("c{number:03}");
        let script = (0..PAGE + 20)
            .fold(Script::new(), |script, number| script.command(&name(number), async |_| Ok(serde_json::Value::Null)));
        let pool = scripted("paged", script, |context| context.basic().app("app:app").build()).await;
        let pools = vec![McpPool { pool: (*pool).clone(), affinity: false }];
        let endpoint = Endpoint { name: None, pools };
        let first = endpoint.page(None, true, ErrorDetail::Brief).await.unwrap();
        let second = endpoint.page(first.next_cursor.as_deref(), true, ErrorDetail::Brief).await.unwrap();
        assert_eq!((first.tools.len(), second.tools.len(), &second.next_cursor), (PAGE, 20, &None));
        let mut names: Vec<_> = first.tools.into_iter().chain(second.tools).map(|tool| tool.name).collect();
        names.sort();
        assert!(names.into_iter().eq((0..PAGE + 20).map(name)));
        assert!(endpoint.page(Some("-1"), true, ErrorDetail::Brief).await.is_err());
        drop(endpoint);
        pool.shutdown_and_check().await;
    }

    #[test]
    fn the_session_becomes_an_argument_of_a_stateless_client() {
        let schema = raw(r#"{"type":"object","properties":{"z":{"type":"integer"},"a":true},"required":["z"]}"#);
        let added = add_handle(&schema, true).unwrap();
        let text = added.get().replace(HANDLE_DESCRIPTION, "D");
        assert_eq!(
            text,
            r#"{"type":"object","properties":{"z":{"type":"integer"},"a":true,"herder_session":{"description":"D","type":"string"}},"required":["z","herder_session"]}"#
        );
        let optional = add_handle(&raw(r#"{"type":"object"}"#), false).unwrap();
        assert!(optional.get().contains(HANDLE) && !optional.get().contains("required"));
        let own = raw(r#"{"type":"object","properties":{"herder_session":{"type":"integer"}}}"#);
        assert_eq!(add_handle(&own, false).unwrap().get(), own.get());
    }

    #[test]
    fn the_session_is_taken_out_of_the_arguments() {
        let (rest, handle) = take_handle(br#"{"n": 1.50, "herder_session":"ab", "a":[1, 2]}"#).unwrap().unwrap();
        assert_eq!((rest.as_slice(), handle.as_str()), (&br#"{"n":1.50,"a":[1, 2]}"#[..], "ab"));
        assert!(take_handle(br#"{"text":"about herder_session"}"#).unwrap().is_none());
        assert!(take_handle(br#"{"herder_session":7}"#).is_err());
    }

    #[test]
    fn only_objects_are_structured_results_of_sessions() {
        assert!(describes_an_object(&raw(r#"{"title":"x", "type": "object"}"#)));
        for other in [r#"{"type":"array"}"#, r#"{"type":["object","null"]}"#, r##"{"$ref":"#/$defs/a"}"##] {
            assert!(!describes_an_object(&raw(other)), "{other}");
        }
    }
}
