//! What a pool knows about its commands: descriptions and JSON Schemas of the worker that became ready most recently, checked
//! and bounded. Calls do not depend on them.

use foldhash::fast::FixedState;
use herder_wire::{CommandEntry, RawJson};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};
use std::{
    hash::{BuildHasher, Hash, Hasher},
    sync::Arc,
};

/// The maximum size of the description and the schemas of one command, in bytes.
const MAX_COMMAND: usize = 256 * 1024;
/// The maximum size of those of all commands, in bytes. They are parsed on the thread of the pool when they change.
const MAX_ALL: usize = 2 * 1024 * 1024;
/// The maximum number of characters of a schema error.
const MAX_ERROR_CHARS: usize = 512;

/// A command of a pool: its name, and what its worker says about its arguments and its result.
///
/// ```
/// # use herder_actors::CommandDescription;
/// let text = r#"{"name":"add","idempotent":false,"needs_session":false,"parameters":{"type":"object"}}"#;
/// let add: CommandDescription = serde_json::from_str(text).unwrap();
/// assert_eq!(serde_json::to_string(&add).unwrap(), text);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CommandDescription {
    /// The name that calls use.
    pub name: String,
    /// What the command does: the documentation string of a Python function.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Whether a call of this command may run again on another worker after its worker died.
    #[serde(default)]
    pub idempotent: bool,
    /// Whether a call of this command is refused if it has no session.
    #[serde(default)]
    pub needs_session: bool,
    /// Whether the handler is a generator: a caller can take its items as a stream. Its result is the list of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub stream: bool,
    /// The JSON Schema (2020-12) of the arguments. It is `{"type":"object"}`, which accepts all arguments, if the worker does
    /// not describe them.
    pub parameters: Box<RawValue>,
    /// The JSON Schema (2020-12) of the result, if the worker describes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Box<RawValue>>,
    /// Why the schemas are missing, or accept more than the command does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema_error: Option<String>,
}

/// The descriptions of a pool.
#[derive(Debug, Default)]
pub(crate) struct Descriptions {
    current: Arc<[CommandDescription]>,
    /// The hash of the entries that `current` was made from.
    hash: Option<u64>,
}

impl Descriptions {
    pub(crate) fn current(&self) -> Arc<[CommandDescription]> {
        self.current.clone()
    }

    /// Replaces the descriptions by those of these entries. Returns why some of them were ignored; empty if the entries are
    /// the same as before.
    pub(crate) fn replace(&mut self, entries: Vec<CommandEntry>) -> Vec<String> {
        // All workers normally send the same text, which is parsed once. An application that finds two texts with one hash
        // harms only its own descriptions.
        let hash = Some(hash(&entries));
        if hash == self.hash {
            return Vec::new();
        }
        self.hash = hash;
        let (mut ignored, mut space) = (Vec::new(), MAX_ALL);
        self.current = entries
            .into_iter()
            .map(|entry| {
                let (name, idempotent, stream) = (entry.name.clone(), entry.idempotent, entry.stream);
                describe(entry, &mut space).unwrap_or_else(|reason| {
                    ignored.push(format!("`{}`: {reason}", shorten(&name)));
                    CommandDescription { stream, ..undescribed(name, idempotent, Some(reason)) }
                })
            })
            .collect();
        ignored
    }
}

fn hash(entries: &[CommandEntry]) -> u64 {
    let mut hasher = FixedState::default().build_hasher();
    for entry in entries {
        (&entry.name, entry.idempotent, entry.stream).hash(&mut hasher);
        for text in texts(entry) {
            text.map(RawJson::get).hash(&mut hasher);
        }
    }
    hasher.finish()
}

fn texts(entry: &CommandEntry) -> [Option<&RawJson>; 5] {
    let CommandEntry { needs_session, description, parameters, result, schema_error, .. } = entry;
    [needs_session, description, parameters, result, schema_error].map(Option::as_ref)
}

/// Checks what a worker says about a command. Takes its size from `space`.
///
/// # Errors
/// Returns the reason why it must be ignored.
fn describe(entry: CommandEntry, space: &mut usize) -> Result<CommandDescription, String> {
    let size: usize = texts(&entry).into_iter().flatten().map(|text| text.get().len()).sum();
    if size > MAX_COMMAND {
        return Err(format!("its description has {size} bytes; the limit is {MAX_COMMAND}"));
    }
    if size > *space {
        return Err(format!("the descriptions of all commands have more than {MAX_ALL} bytes, which is the limit"));
    }
    *space -= size;
    let schema_error: Option<String> = parse("schema_error", "a string", entry.schema_error.as_ref())?;
    let (name, idempotent) = (entry.name, entry.idempotent);
    let plain = undescribed(name, idempotent, schema_error.map(|error| shorten(&error)));
    Ok(CommandDescription {
        description: parse("description", "a string", entry.description.as_ref())?,
        stream: entry.stream,
        needs_session: parse("needs_session", "true or false", entry.needs_session.as_ref())?.unwrap_or(false),
        parameters: schema("parameters", entry.parameters)?.unwrap_or(plain.parameters),
        result: schema("result", entry.result)?,
        ..plain
    })
}

fn undescribed(name: String, idempotent: bool, schema_error: Option<String>) -> CommandDescription {
    let parameters = to_raw_value(&serde_json::json!({ "type": "object" })).unwrap_or_default();
    CommandDescription {
        name,
        description: None,
        idempotent,
        needs_session: false,
        stream: false,
        parameters,
        result: None,
        schema_error,
    }
}

/// Returns a schema, unchanged. It is parsed only to refuse texts that clients could not parse.
fn schema(key: &str, raw: Option<RawJson>) -> Result<Option<Box<RawValue>>, String> {
    parse::<Map<String, Value>>(key, "a JSON object", raw.as_ref())?;
    Ok(raw.map(|raw| raw.0))
}

fn parse<T: DeserializeOwned>(key: &str, expected: &str, raw: Option<&RawJson>) -> Result<Option<T>, String> {
    let Some(raw) = raw else { return Ok(None) };
    let parsed = serde_json::from_str(raw.get());
    parsed.map(Some).map_err(|error| format!("`{key}` is not {expected}: {error}"))
}

fn shorten(text: &str) -> String {
    text.chars().take(MAX_ERROR_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use herder_wire::Ready;
    use serde_json::json;

    fn entries(commands: &Value) -> Vec<CommandEntry> {
        serde_json::from_str::<Ready>(&json!({ "commands": commands }).to_string()).unwrap().commands
    }

    #[test]
    fn r73_descriptions_are_kept_as_they_were_sent() {
        let mut descriptions = Descriptions::default();
        let add = json!({ "name": "add", "idempotent": true, "needs_session": true, "description": "Adds.",
            "parameters": { "type": "object", "properties": {} }, "result": { "type": "integer" } });
        assert!(descriptions.replace(entries(&json!([{ "name": "echo" }, add]))).is_empty());
        let [echo, described] = &descriptions.current()[..] else { panic!() };
        assert_eq!(serde_json::to_value(described).unwrap(), add);
        assert_eq!((echo.parameters.get(), &echo.description), (r#"{"type":"object"}"#, &None));
    }

    /// A wrong or too large description is ignored, and reported once.
    #[test]
    fn r73_a_wrong_description_is_ignored() {
        let parameters = json!({ "type": "object", "const": "x".repeat(MAX_COMMAND) });
        for (wrong, expected) in [
            (json!({ "parameters": [] }), "`parameters` is not a JSON object: "),
            (json!({ "result": true }), "`result` is not a JSON object: "),
            (json!({ "description": 1 }), "`description` is not a string: "),
            (json!({ "needs_session": "no" }), "`needs_session` is not true or false: "),
            (json!({ "parameters": parameters }), "its description has 262"),
        ] {
            let mut descriptions = Descriptions::default();
            let mut entry = json!({ "name": "a", "idempotent": true });
            entry.as_object_mut().unwrap().append(wrong.clone().as_object_mut().unwrap());
            let ignored = descriptions.replace(entries(&json!([entry, { "name": "b", "description": "B." }])));
            assert!(ignored.len() == 1 && ignored[0].starts_with(&format!("`a`: {expected}")), "{ignored:?}");
            let [a, b] = &descriptions.current()[..] else { panic!() };
            assert!(a.idempotent && a.parameters.get() == r#"{"type":"object"}"# && a.schema_error.is_some(), "{a:?}");
            assert_eq!(b.description.as_deref(), Some("B."));
            assert!(descriptions.replace(entries(&json!([entry, { "name": "b", "description": "B." }]))).is_empty());
        }
        let surrogate = r#"{"commands": [{"name": "a", "parameters": {"const": "\ud800"}}]}"#;
        let entries = serde_json::from_str::<Ready>(surrogate).unwrap().commands;
        assert_eq!(Descriptions::default().replace(entries).len(), 1);
    }

    #[test]
    fn r73_the_size_of_all_descriptions_is_bounded() {
        let text = "x".repeat(MAX_COMMAND - 2);
        let commands: Vec<Value> =
            (0..20).map(|number| json!({ "name": number.to_string(), "description": text })).collect();
        let mut descriptions = Descriptions::default();
        assert_eq!(descriptions.replace(entries(&json!(commands))).len(), 20 - MAX_ALL / MAX_COMMAND);
        assert_eq!(descriptions.current().len(), 20);
    }
}
