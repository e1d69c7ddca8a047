//! A JSON object as a list of its members. Keeps their order and the bytes of their values. Pure.

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;
use std::{borrow::Cow, fmt};

/// The members of an object, borrowed from its text.
#[derive(Debug, Default)]
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, Cow<'a, RawValue>)>);

impl<'a> Members<'a> {
    pub(super) fn get(&self, key: &str) -> Option<&RawValue> {
        self.0.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_ref())
    }

    /// Sets a member. A new one becomes the last.
    pub(super) fn set(&mut self, key: &'static str, value: Box<RawValue>) {
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = Cow::Owned(value),
            None => self.0.push((key.into(), Cow::Owned(value))),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some((key, value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
            members.push((key.0, Cow::Borrowed(value)));
        }
        Ok(Members(members))
    }
}

/// A key. `Cow` alone would always copy it.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

impl Serialize for Members<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_bytes_are_kept() {
        let text = r#"{"b": 1.50,"a":{"z":1, "y":[]},"\u00e4":null}"#;
        let mut members: Members<'_> = serde_json::from_str(text).unwrap();
        assert_eq!(members.get("b").unwrap().get(), "1.50");
        members.set("a", RawValue::from_string("2".into()).unwrap());
        members.set("c", RawValue::from_string("3".into()).unwrap());
        assert_eq!(serde_json::to_string(&members).unwrap(), r#"{"b":1.50,"a":2,"ä":null,"c":3}"#);
        assert!(serde_json::from_str::<Members<'_>>("[]").is_err());
    }
}
