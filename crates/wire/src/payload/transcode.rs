//! JSON to msgpack and back, value by value, in the order they stand. Holds no state, builds no tree.

use super::{
    MAX_DEPTH, PayloadError,
    json::{check_shape, malformed, utf8},
};
use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
    ser::{self, SerializeMap, SerializeSeq},
};
use std::{
    cell::{Cell, RefCell},
    fmt,
    io::Cursor,
};

/// Turns one msgpack value into JSON.
///
/// # Errors
/// What is not msgpack, nested deeper than [`MAX_DEPTH`], or has no place in JSON, each by its name.
pub fn msgpack_to_json(bytes: &[u8]) -> Result<Bytes, PayloadError> {
    let mut from = rmp_serde::Deserializer::new(Cursor::new(bytes));
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 4);
    let refused = Refused::default();
    let written = Transcode::new(&mut from, MAX_DEPTH, &refused).serialize(&mut serde_json::Serializer::new(&mut out));
    if let Err(error) = written {
        let reason = error.to_string();
        return Err(refused.take().unwrap_or(PayloadError::MalformedMsgpack { reason }));
    }
    match bytes.len() as u64 - from.position() {
        0 => Ok(out.into()),
        left => Err(PayloadError::MalformedMsgpack { reason: format!("{left} bytes behind the value") }),
    }
}

/// Turns one JSON value into msgpack.
///
/// # Errors
/// What is not JSON, nested deeper than [`MAX_DEPTH`], or has an integer that does not fit 64 bits.
pub fn json_to_msgpack(bytes: &[u8]) -> Result<Bytes, PayloadError> {
    let text = utf8(bytes)?;
    check_shape(text, fits_64_bits)?;
    IgnoredAny::deserialize(&mut serde_json::Deserializer::from_str(text)).map_err(|e| malformed(&e))?;
    let mut from = serde_json::Deserializer::from_str(text);
    let mut out = Vec::with_capacity(bytes.len());
    let refused = Refused::default();
    let written = Transcode::new(&mut from, MAX_DEPTH, &refused).serialize(&mut rmp_serde::Serializer::new(&mut out));
    if let Err(error) = written {
        let unknown = PayloadError::Malformed { line: 1, column: 0, reason: error.to_string() };
        return Err(refused.take().unwrap_or(unknown));
    }
    from.end().map_err(|e| malformed(&e))?;
    Ok(out.into())
}

/// What is no number at all passes: the parser names it better.
fn fits_64_bits(token: &str) -> Result<(), PayloadError> {
    let digits = token.strip_prefix('-').unwrap_or(token);
    let is_integer = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let fits = token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok();
    if fits || !is_integer { Ok(()) } else { Err(PayloadError::IntegerTooLarge(token.chars().take(40).collect())) }
}

/// The error with a name, which serde's own errors can't carry.
type Refused = Cell<Option<PayloadError>>;

/// A value that is serialized while it is read: at most `depth` levels more.
struct Transcode<'a, D> {
    from: RefCell<Option<D>>,
    depth: usize,
    refused: &'a Refused,
}

impl<'a, D> Transcode<'a, D> {
    fn new(from: D, depth: usize, refused: &'a Refused) -> Self {
        Self { from: RefCell::new(Some(from)), depth, refused }
    }
}

impl<'de, D: Deserializer<'de>> Serialize for Transcode<'_, D> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let from = self.from.take().ok_or_else(|| ser::Error::custom("a value is read once"))?;
        from.deserialize_any(Value { to, depth: self.depth, refused: self.refused }).map_err(ser::Error::custom)
    }
}

struct Value<'a, S> {
    to: S,
    depth: usize,
    refused: &'a Refused,
}

impl<S> Value<'_, S> {
    fn refuse<E: de::Error>(&self, why: PayloadError) -> E {
        refuse(self.refused, why)
    }
}

fn refuse<E: de::Error>(refused: &Refused, why: PayloadError) -> E {
    let error = E::custom(&why);
    refused.set(Some(why));
    error
}

macro_rules! scalars {
    ($($visit:ident($type:ty) => $serialize:ident;)*) => {$(
        fn $visit<E: de::Error>(self, value: $type) -> Result<S::Ok, E> {
            self.to.$serialize(value).map_err(E::custom)
        }
    )*};
}

impl<'de, S: Serializer> Visitor<'de> for Value<'_, S> {
    type Value = S::Ok;

    scalars! {
        visit_bool(bool) => serialize_bool;
        visit_i64(i64) => serialize_i64;
        visit_u64(u64) => serialize_u64;
        visit_str(&str) => serialize_str;
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<S::Ok, E> {
        if !value.is_finite() {
            return Err(self.refuse(PayloadError::NotFinite));
        }
        self.to.serialize_f64(value).map_err(E::custom)
    }

    fn visit_unit<E: de::Error>(self) -> Result<S::Ok, E> {
        self.to.serialize_unit().map_err(E::custom)
    }

    fn visit_bytes<E: de::Error>(self, _: &[u8]) -> Result<S::Ok, E> {
        Err(self.refuse(PayloadError::Binary))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, _: D) -> Result<S::Ok, D::Error> {
        Err(self.refuse(PayloadError::Extension))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<S::Ok, A::Error> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| self.refuse(PayloadError::TooDeep))?;
        let mut to = self.to.serialize_seq(from.size_hint()).map_err(de::Error::custom)?;
        while let Some(()) = from.next_element_seed(Element { to: &mut to, depth, refused: self.refused })? {}
        to.end().map_err(de::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<S::Ok, A::Error> {
        let depth = self.depth.checked_sub(1).ok_or_else(|| self.refuse(PayloadError::TooDeep))?;
        let mut to = self.to.serialize_map(from.size_hint()).map_err(de::Error::custom)?;
        while let Some(()) = from.next_key_seed(Key { to: &mut to, refused: self.refused })? {
            from.next_value_seed(Entry(Element { to: &mut to, depth, refused: self.refused }))?;
        }
        to.end().map_err(de::Error::custom)
    }
}

/// The next element of a sequence.
struct Element<'a, C> {
    to: &'a mut C,
    depth: usize,
    refused: &'a Refused,
}

impl<'de, C: SerializeSeq> DeserializeSeed<'de> for Element<'_, C> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        self.to.serialize_element(&Transcode::new(from, self.depth, self.refused)).map_err(de::Error::custom)
    }
}

/// The value behind a key.
struct Entry<'a, C>(Element<'a, C>);

impl<'de, C: SerializeMap> DeserializeSeed<'de> for Entry<'_, C> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        let Element { to, depth, refused } = self.0;
        to.serialize_value(&Transcode::new(from, depth, refused)).map_err(de::Error::custom)
    }
}

/// A key: text, and nothing else.
struct Key<'a, C> {
    to: &'a mut C,
    refused: &'a Refused,
}

impl<'de, C: SerializeMap> DeserializeSeed<'de> for Key<'_, C> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

macro_rules! no_keys {
    ($($visit:ident($($type:ty)?);)*) => {$(
        fn $visit<E: de::Error>(self $(, _: $type)?) -> Result<(), E> {
            Err(refuse(self.refused, PayloadError::KeyNotText))
        }
    )*};
}

impl<'de, C: SerializeMap> Visitor<'de> for Key<'_, C> {
    type Value = ();

    no_keys! {
        visit_bool(bool);
        visit_i64(i64);
        visit_u64(u64);
        visit_f64(f64);
        visit_bytes(&[u8]);
        visit_unit();
    }

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<(), E> {
        self.to.serialize_key(key).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(refuse(self.refused, PayloadError::KeyNotText))
    }

    fn visit_map<A: MapAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(refuse(self.refused, PayloadError::KeyNotText))
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        Err(refuse(self.refused, PayloadError::KeyNotText))
    }
}
