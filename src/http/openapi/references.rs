//! Makes the schema of a command a component of the document: its references to itself, such as `#/$defs/Item`, become
//! references to the component. Everything else, and the order of keys, stays as the worker sent it. Pure.

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::fmt;

/// The maximum nesting depth. A deeper schema is not rewritten.
const MAX_DEPTH: usize = 100;

/// Returns the schema as the component `name`; `None` if it is nested too deeply.
pub(super) fn as_component(schema: &RawValue, name: &str) -> Option<Box<RawValue>> {
    let mut rewriter = Rewriter { root: format!("#/components/schemas/{name}"), text: String::new() };
    rewriter.schema(schema, 0)?;
    RawValue::from_string(rewriter.text).ok()
}

struct Rewriter {
    /// The address of the component in the document.
    root: String,
    /// The schema written so far.
    text: String,
}

impl Rewriter {
    /// Writes a schema, an array of schemas, or the value of a keyword.
    fn schema(&mut self, value: &RawValue, depth: usize) -> Option<()> {
        match value.get().as_bytes().first() {
            _ if depth > MAX_DEPTH => return None,
            Some(b'{') => self.object(value, |this, key, value| this.keyword(key, value, depth))?,
            Some(b'[') => self.array(value, depth)?,
            _ => self.text.push_str(value.get()),
        }
        Some(())
    }

    /// Writes the value of a keyword.
    fn keyword(&mut self, key: &str, value: &RawValue, depth: usize) -> Option<()> {
        let is_object = value.get().starts_with('{');
        match key {
            "$ref" if value.get().starts_with('"') => self.reference(value),
            "properties" | "patternProperties" | "dependentSchemas" | "$defs" if is_object => {
                self.object(value, |this, _, schema| this.schema(schema, depth + 2))
            }
            "mapping" if is_object => self.object(value, |this, _, target| this.reference(target)),
            // Data, not schemas: an object in it may have any key.
            "default" | "const" | "enum" | "examples" | "example" => {
                self.text.push_str(value.get());
                Some(())
            }
            _ => self.schema(value, depth + 1),
        }
    }

    /// Writes a reference: a string that begins with `#`, or any other value unchanged.
    fn reference(&mut self, value: &RawValue) -> Option<()> {
        match serde_json::from_str::<String>(value.get()).ok().as_deref().and_then(|text| text.strip_prefix('#')) {
            Some(path) if path.is_empty() || path.starts_with('/') => {
                let address = format!("{}{path}", self.root);
                self.string(&address)
            }
            _ => {
                self.text.push_str(value.get());
                Some(())
            }
        }
    }

    /// Writes an object, each of its values by `write`. At the root, `$schema` and `$id` are left out: the document
    /// states the dialect, and an id would change what references mean.
    fn object(&mut self, value: &RawValue, write: impl Fn(&mut Self, &str, &RawValue) -> Option<()>) -> Option<()> {
        let Members(members) = serde_json::from_str(value.get()).ok()?;
        let is_root = self.text.is_empty();
        self.text.push('{');
        let members = members.into_iter().filter(|(key, _)| !is_root || !matches!(key.as_str(), "$schema" | "$id"));
        for (place, (key, value)) in members.enumerate() {
            if place > 0 {
                self.text.push(',');
            }
            self.string(&key)?;
            self.text.push(':');
            write(self, &key, value)?;
        }
        self.text.push('}');
        Some(())
    }

    fn array(&mut self, value: &RawValue, depth: usize) -> Option<()> {
        let items: Vec<&RawValue> = serde_json::from_str(value.get()).ok()?;
        self.text.push('[');
        for (place, item) in items.into_iter().enumerate() {
            if place > 0 {
                self.text.push(',');
            }
            self.schema(item, depth + 1)?;
        }
        self.text.push(']');
        Some(())
    }

    fn string(&mut self, text: &str) -> Option<()> {
        self.text.push_str(&serde_json::to_string(text).ok()?);
        Some(())
    }
}

/// The members of an object, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(schema: &str) -> String {
        as_component(serde_json::from_str(schema).unwrap(), "p.c").unwrap().get().into()
    }

    #[test]
    fn references_lead_to_the_component() {
        for (schema, expected) in [
            (r##"{"$ref": "#/$defs/A/x"}"##, r##"{"$ref":"#/components/schemas/p.c/$defs/A/x"}"##),
            (r##"{"items":{"$ref":"#"}}"##, r##"{"items":{"$ref":"#/components/schemas/p.c"}}"##),
            (r#"{"$ref":"https://example.org/x"}"#, r#"{"$ref":"https://example.org/x"}"#),
            (
                r##"{"anyOf":[{"$ref":"#/$defs/A"}],"z":1,"$defs":{"A":{"not":{"$ref":"#/$defs/A"}}}}"##,
                r##"{"anyOf":[{"$ref":"#/components/schemas/p.c/$defs/A"}],"z":1,"$defs":{"A":{"not":{"$ref":"#/components/schemas/p.c/$defs/A"}}}}"##,
            ),
            (
                r##"{"discriminator":{"mapping":{"a":"#/$defs/A"}}}"##,
                r##"{"discriminator":{"mapping":{"a":"#/components/schemas/p.c/$defs/A"}}}"##,
            ),
            (r#"{"$schema":"x","$id":"y","title":"t"}"#, r#"{"title":"t"}"#),
        ] {
            assert_eq!(component(schema), expected);
        }
    }

    /// Parameters and data may have the names of keywords.
    #[test]
    fn only_references_are_changed() {
        for schema in [
            r##"{"default":{"$ref":"#/$defs/A"},"examples":[{"$ref":"#"}],"const":{"$ref":"#"}}"##,
            r#"{"properties":{"$ref":{"type":"string"},"$id":{"type":"string"},"default":{"type":"null"}}}"#,
            r#"{"maximum":12345678901234567890.10,"b":1,"a":"\u00e4"}"#,
            "true",
        ] {
            assert_eq!(component(schema), schema);
        }
        let named = r##"{"properties":{"default":{"$ref":"#/$defs/A"}}}"##;
        assert!(component(named).contains("components"), "a parameter named like a keyword has a schema");
    }

    #[test]
    fn a_schema_that_is_nested_too_deeply_is_refused() {
        let nested = |depth| format!("{}{}", r#"{"not":"#.repeat(depth), "{}".to_owned() + &"}".repeat(depth));
        let rewritten = |depth| as_component(serde_json::from_str(&nested(depth)).unwrap(), "x").is_some();
        assert!(rewritten(50) && !rewritten(10_000));
    }
}
