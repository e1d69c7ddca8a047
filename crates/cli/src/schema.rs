//! Reads the JSON Schema of a command: its arguments, and short names of their types. Pure.

use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;
use std::{collections::BTreeSet, fmt};

/// How many references and members of unions are followed: a schema may refer to itself.
const MAX_DEPTH: usize = 16;
/// The maximum number of values of an enumeration that are shown.
const MAX_VALUES: usize = 8;
const ALL_TYPES: [&str; 7] = ["null", "boolean", "integer", "number", "string", "array", "object"];

/// A parsed schema.
pub(crate) struct Schema {
    root: Value,
    /// The arguments in the order of the schema, which is that of the handler's parameters. A `Value` sorts them.
    names: Vec<String>,
}

/// The keys of `properties`, in their order.
#[derive(Default, Deserialize)]
#[serde(default)]
struct PropertyNames {
    properties: Keys,
}

#[derive(Default)]
struct Keys(Vec<String>);

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl<'de> Visitor<'de> for KeyVisitor {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some((key, _)) = map.next_entry::<String, IgnoredAny>()? {
                    keys.push(key);
                }
                Ok(Keys(keys))
            }
        }
        deserializer.deserialize_map(KeyVisitor)
    }
}

/// A part of a schema: the schema of an argument.
#[derive(Clone, Copy)]
pub(crate) struct Property<'s> {
    root: &'s Value,
    schema: &'s Value,
}

impl Schema {
    /// Parses a schema. A text that is none accepts everything.
    pub(crate) fn parse(text: &str) -> Self {
        let names: PropertyNames = serde_json::from_str(text).unwrap_or_default();
        Self { root: serde_json::from_str(text).unwrap_or(Value::Bool(true)), names: names.properties.0 }
    }

    fn part<'s>(&'s self, schema: &'s Value) -> Property<'s> {
        Property { root: &self.root, schema }
    }

    /// Returns the arguments with their names, in the order of the schema.
    pub(crate) fn properties(&self) -> impl Iterator<Item = (&str, Property<'_>)> {
        self.names.iter().map(|name| (name.as_str(), self.part(&self.root["properties"][name])))
    }

    /// Returns the schema of an argument: one of the properties, or that of all others.
    pub(crate) fn argument(&self, name: &str) -> Option<Property<'_>> {
        self.root["properties"].get(name).map(|schema| self.part(schema)).or_else(|| self.additional())
    }

    /// Returns the schema of arguments that have no name here, if there may be such.
    pub(crate) fn additional(&self) -> Option<Property<'_>> {
        match &self.root["additionalProperties"] {
            Value::Bool(false) => None,
            schema => Some(self.part(if schema.is_null() { &Value::Bool(true) } else { schema })),
        }
    }

    /// Returns whether an argument must be given.
    pub(crate) fn requires(&self, name: &str) -> bool {
        self.root["required"].as_array().is_some_and(|names| names.iter().any(|each| each == name))
    }

    /// Returns a short text for the type.
    pub(crate) fn shown(&self) -> String {
        self.part(&self.root).shown()
    }
}

impl<'s> Property<'s> {
    fn part(self, schema: &'s Value) -> Self {
        Self { root: self.root, schema }
    }

    /// Returns the default, as JSON.
    pub(crate) fn default(self) -> Option<String> {
        self.schema.get("default").map(Value::to_string)
    }

    pub(crate) fn description(self) -> Option<&'s str> {
        self.schema["description"].as_str()
    }

    /// Returns whether the value is binary data, which is written as base64.
    pub(crate) fn is_base64(self) -> bool {
        self.members().any(|member| member.schema["contentEncoding"] == "base64")
    }

    /// Returns whether a text is preferred although numbers are accepted: a decimal number would lose digits.
    pub(crate) fn prefers_text(self) -> bool {
        self.members().any(|member| member.schema["format"] == "decimal")
    }

    /// Returns this schema, or the members of the union that it is.
    fn members(self) -> impl Iterator<Item = Self> {
        let members = self.schema["anyOf"].as_array().map(Vec::as_slice);
        let members = members.unwrap_or(std::slice::from_ref(self.schema));
        members.iter().map(move |member| self.part(member))
    }

    /// Returns the JSON types that the schema accepts; at least these, if it has parts that are not understood here.
    pub(crate) fn types(self) -> BTreeSet<&'static str> {
        self.types_within(MAX_DEPTH)
    }

    fn types_within(self, depth: usize) -> BTreeSet<&'static str> {
        let Some(depth) = depth.checked_sub(1) else { return ALL_TYPES.into() };
        if let Some(target) = self.target() {
            return target.types_within(depth);
        }
        let named = |name: &Value| ALL_TYPES.into_iter().find(|each| name == each);
        match (&self.schema["type"], &self.schema["const"], self.schema["enum"].as_array(), self.union()) {
            (Value::String(_), ..) => named(&self.schema["type"]).into_iter().collect(),
            (Value::Array(names), ..) => names.iter().filter_map(named).collect(),
            (_, value, ..) if !value.is_null() => [type_of(value)].into(),
            (.., Some(values), _) => values.iter().map(type_of).collect(),
            (.., Some(members)) => members.iter().flat_map(|each| self.part(each).types_within(depth)).collect(),
            _ => ALL_TYPES.into(),
        }
    }

    fn union(self) -> Option<&'s Vec<Value>> {
        self.schema["anyOf"].as_array().or_else(|| self.schema["oneOf"].as_array())
    }

    /// Returns the definition that the schema refers to.
    fn target(self) -> Option<Self> {
        let reference = self.schema["$ref"].as_str()?.strip_prefix('#')?;
        self.root.pointer(reference).map(|schema| self.part(schema))
    }

    /// Returns a short text for the type: `string`, `array of integer`, `Order | null`.
    pub(crate) fn shown(self) -> String {
        self.shown_within(MAX_DEPTH)
    }

    fn shown_within(self, depth: usize) -> String {
        let Some(depth) = depth.checked_sub(1) else { return "..".into() };
        if let Some(reference) = self.schema["$ref"].as_str() {
            return reference.rsplit('/').next().unwrap_or(reference).to_owned();
        }
        if let Some(members) = self.union() {
            return members.iter().map(|each| self.part(each).shown_within(depth)).collect::<Vec<_>>().join(" | ");
        }
        if let Some(value) = self.schema.get("const") {
            return value.to_string();
        }
        if let Some(values) = self.schema["enum"].as_array() {
            let mut shown: Vec<_> = values.iter().take(MAX_VALUES).map(Value::to_string).collect();
            shown.extend((values.len() > MAX_VALUES).then(|| "..".to_owned()));
            return shown.join(" | ");
        }
        let inner = |key: &str, name: &str| match &self.schema[key] {
            schema @ Value::Object(_) => format!("{name} of {}", self.part(schema).shown_within(depth)),
            _ => name.to_owned(),
        };
        match &self.schema["type"] {
            Value::String(name) if name == "array" => inner("items", name),
            Value::String(name) if name == "object" => inner("additionalProperties", name),
            Value::String(name) => self.with_format(name),
            Value::Array(names) => {
                self.with_format(&names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" | "))
            }
            _ => "any".into(),
        }
    }

    fn with_format(self, name: &str) -> String {
        let format = self.schema["format"].as_str().or_else(|| self.schema["contentEncoding"].as_str());
        format.map_or_else(|| name.to_owned(), |format| format!("{name} ({format})"))
    }

    /// Returns a placeholder for a value on a command line.
    pub(crate) fn sample(self) -> &'static str {
        let types = self.types();
        match () {
            () if self.is_base64() => "@FILE",
            () if types.contains("string") => "TEXT",
            () if types.contains("integer") || types.contains("number") => "1",
            () if types.contains("boolean") => "true",
            () if types.contains("object") => "'{..}'",
            () if types.contains("array") => "'[..]'",
            () => "null",
        }
    }
}

/// Returns the JSON type of a value.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::Schema;
    use serde_json::json;

    #[test]
    fn types_have_short_names() {
        for (schema, shown, types) in [
            (json!({}), "any", 7),
            (json!({ "type": "string", "format": "date-time" }), "string (date-time)", 1),
            (json!({ "type": ["string", "number"], "format": "decimal" }), "string | number (decimal)", 2),
            (json!({ "type": "array", "items": { "type": "integer" } }), "array of integer", 1),
            (json!({ "enum": ["a", 1] }), "\"a\" | 1", 2),
            (json!({ "const": "cat", "type": "string" }), "\"cat\"", 1),
            (
                json!({ "anyOf": [{ "type": "object", "additionalProperties": { "type": "number" } }, { "type": "null" }] }),
                "object of number | null",
                2,
            ),
            (json!({ "$ref": "#/$defs/Tree", "$defs": { "Tree": { "$ref": "#/$defs/Tree" } } }), "Tree", 7),
        ] {
            let text = schema.to_string();
            let schema = Schema::parse(&text);
            assert_eq!((schema.shown().as_str(), schema.part(&schema.root).types().len()), (shown, types), "{text}");
        }
    }
}
