//! Values with buffers: binary data beside the JSON of a call's arguments or of a result. Holds no state.
//!
//! The part of a body behind its fixed fields is then two lengths, a table, the JSON, and the bytes of the buffers, each at a
//! multiple of [`ALIGNMENT`] from the start of the frame. The bytes of a buffer may also be in a slab, memory that host and
//! worker share: the table then names their place. `docs/protocol.md` has the layout.

use crate::{
    Buffer, EncodeError, FrameError, FrameKind, HEADER_LEN, InvalidBuffer, MAX_BUFFERS, Place,
    body::to_json,
    buffer::{Content, MAX_DIMENSIONS},
    without_byte_order_mark,
};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess, Visitor},
};
use std::{borrow::Cow, collections::HashSet, fmt, marker::PhantomData, num::NonZeroU64};

/// The bytes of a buffer begin at a multiple of this number of bytes from the start of the frame.
pub const ALIGNMENT: usize = 16;
/// The two lengths at the front: those of the JSON and of the table.
const LENGTHS: usize = 8;
static ZEROS: [u8; ALIGNMENT] = [0; ALIGNMENT];

/// The buffers of a call, and whether its caller takes buffers in the result.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CallBuffers {
    /// Whether the result may have buffers. If not, binary data in it has its form in JSON.
    pub take: bool,
    /// The arguments that are buffers. Each has the pointer of one key of the arguments.
    pub buffers: Vec<Buffer>,
}

#[derive(Serialize, Deserialize)]
struct Table<'a> {
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    take: bool,
    #[serde(borrow, deserialize_with = "entries")]
    buffers: Vec<Entry<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Entry<'a> {
    #[serde(borrow)]
    at: Cow<'a, str>,
    len: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slab: Option<NonZeroU64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none", borrow)]
    dtype: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "lengths")]
    shape: Option<Cow<'a, [u64]>>,
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none", borrow)]
    media_type: Option<Cow<'a, str>>,
}

/// Reads a list of at most [`MAX_BUFFERS`] entries: each takes more memory than its text, so a longer one is refused before it
/// is in memory.
fn entries<'de: 'a, 'a, D: Deserializer<'de>>(source: D) -> Result<Vec<Entry<'a>>, D::Error> {
    source.deserialize_seq(AtMost::<Entry<'a>> { limit: MAX_BUFFERS, items: PhantomData })
}

/// Reads a shape of at most [`MAX_DIMENSIONS`] lengths, or `null`.
fn lengths<'de, 'a, D: Deserializer<'de>>(source: D) -> Result<Option<Cow<'a, [u64]>>, D::Error> {
    struct Shape(Vec<u64>);
    impl<'de> Deserialize<'de> for Shape {
        fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
            source.deserialize_seq(AtMost::<u64> { limit: MAX_DIMENSIONS, items: PhantomData }).map(Self)
        }
    }
    Ok(Option::<Shape>::deserialize(source)?.map(|shape| shape.0.into()))
}

/// A list with a limit.
struct AtMost<T> {
    limit: usize,
    items: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for AtMost<T> {
    type Value = Vec<T>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "a list of at most {} items", self.limit)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element()? {
            if items.len() == self.limit {
                return Err(de::Error::invalid_length(self.limit + 1, &self));
            }
            items.push(item);
        }
        Ok(items)
    }
}

impl CallBuffers {
    /// Checks the number of buffers, and that no two have the same place.
    ///
    /// # Errors
    /// [`InvalidBuffer::TooMany`] and [`InvalidBuffer::Twice`].
    pub fn check(&self) -> Result<(), InvalidBuffer> {
        if self.buffers.len() > MAX_BUFFERS {
            return Err(InvalidBuffer::TooMany(self.buffers.len()));
        }
        let mut places = HashSet::new();
        match self.buffers.iter().find(|buffer| !places.insert(buffer.pointer())) {
            Some(twice) => Err(InvalidBuffer::Twice(twice.pointer().strip_prefix('/').unwrap_or_default().into())),
            None => Ok(()),
        }
    }

    /// Returns the parts of a body from `start` on, in order. `start` is the length of the body's fixed fields and names, and
    /// `json` the value. Neither the JSON nor the buffers are copied.
    ///
    /// # Errors
    /// [`EncodeError::Json`].
    pub fn parts(&self, kind: FrameKind, start: usize, json: &Bytes) -> Result<Vec<Bytes>, EncodeError> {
        let table = to_json(kind, &self.table())?;
        let mut head = BytesMut::with_capacity(LENGTHS + table.len());
        head.put_u32_le(u32::try_from(json.len()).unwrap_or(u32::MAX)); // a longer one does not fit into a frame
        head.put_u32_le(u32::try_from(table.len()).unwrap_or(u32::MAX));
        head.put_slice(&table);
        let mut position = HEADER_LEN + start + head.len() + json.len();
        let mut parts = vec![head.freeze(), json.clone()];
        for buffer in self.buffers.iter().filter(|buffer| buffer.place().is_none()) {
            let padding = padding(position);
            parts.extend((padding > 0).then(|| Bytes::from_static(&ZEROS[..padding])));
            parts.push(buffer.bytes().clone());
            position += padding + buffer.length();
        }
        Ok(parts)
    }

    /// Returns an upper bound of the length of what [`parts`](Self::parts) returns for JSON of `json` bytes.
    pub fn max_length(&self, json: usize) -> usize {
        const FIELDS: usize = 64; // names and punctuation of an entry
        let entry = |buffer: &Buffer| {
            let array = buffer.dtype().map_or(0, str::len) + 21 * buffer.shape().map_or(0, <[u64]>::len);
            let names = 6 * buffer.pointer().len() + 6 * buffer.media_type().map_or(0, str::len);
            FIELDS + array + names + ALIGNMENT + buffer.length()
        };
        LENGTHS + FIELDS + json + self.buffers.iter().map(entry).sum::<usize>()
    }

    fn table(&self) -> Table<'_> {
        Table { take: self.take, buffers: self.buffers.iter().map(Entry::of).collect() }
    }

    /// Parses the rest of a body from `start` on: the buffers and the JSON, without a byte order mark. Copies no buffer.
    pub(crate) fn parse(kind: FrameKind, start: usize, mut rest: Bytes) -> Result<(Self, Bytes), FrameError> {
        let malformed = |reason: &str| FrameError::MalformedBuffers { kind, reason: reason.into() };
        let whole = HEADER_LEN + start + rest.len();
        if rest.len() < LENGTHS {
            return Err(FrameError::ShortBody { kind, have: start + rest.len(), need: start + LENGTHS });
        }
        let lengths = rest.split_to(LENGTHS);
        let (json, table) = (length(&lengths[..4]), length(&lengths[4..]));
        if json.checked_add(table).is_none_or(|both| both > rest.len()) {
            return Err(malformed("the lengths of the JSON and of the table exceed the body"));
        }
        let (table, json) = (rest.split_to(table), rest.split_to(json));
        let table: Table<'_> = serde_json::from_slice(&table).map_err(|error| malformed(&error.to_string()))?;
        let mut buffers = Vec::with_capacity(table.buffers.len());
        for entry in table.buffers {
            let content = match entry.place().map_err(malformed)? {
                Some(place) => Content::Placed(place),
                None => {
                    let padding = padding(whole - rest.len()).min(rest.len());
                    let _ = rest.split_to(padding);
                    let length = usize::try_from(entry.len).ok().filter(|length| *length <= rest.len());
                    Content::Bytes(rest.split_to(length.ok_or_else(|| malformed("a buffer is longer than the body"))?))
                }
            };
            buffers.push(entry.into_buffer(content).map_err(|reason| malformed(&reason))?);
        }
        let found = Self { take: table.take, buffers };
        let mut slabs = found.buffers.iter().filter_map(|buffer| Some(buffer.place()?.slab));
        if slabs.next().is_some_and(|first| slabs.any(|slab| slab != first)) {
            return Err(malformed("the buffers are in several slabs"));
        }
        if kind == FrameKind::Chunk && found.buffers.iter().any(|buffer| buffer.place().is_some()) {
            return Err(malformed("a buffer of an item is in a slab"));
        }
        found.check().map_err(|error| malformed(&error.to_string()))?;
        if kind == FrameKind::Call && !found.buffers.iter().all(|buffer| is_key(buffer.pointer())) {
            return Err(malformed("the place of an argument is not exactly one key"));
        }
        if !rest.is_empty() {
            return Err(malformed("the body is longer than its buffers"));
        }
        let mark = json.len() - without_byte_order_mark(&json).len();
        Ok((found, json.slice(mark..)))
    }
}

impl<'a> Entry<'a> {
    fn of(buffer: &'a Buffer) -> Self {
        Self {
            at: buffer.pointer().into(),
            len: buffer.length() as u64,
            slab: buffer.place().map(|place| place.slab),
            offset: buffer.place().map(|place| place.offset),
            dtype: buffer.dtype().map(Into::into),
            shape: buffer.shape().map(Into::into),
            media_type: buffer.media_type().map(Into::into),
        }
    }

    /// Returns the place of the bytes, if they are in a slab.
    fn place(&self) -> Result<Option<Place>, &'static str> {
        let (slab, offset) = match (self.slab, self.offset) {
            (None, None) => return Ok(None),
            (Some(slab), Some(offset)) => (slab, offset),
            _ => return Err("`slab` and `offset` must both be there or both be absent"),
        };
        if !offset.is_multiple_of(ALIGNMENT as u64) {
            return Err("an `offset` is not a multiple of 16");
        }
        let length = usize::try_from(self.len).map_err(|_| "a buffer is longer than any slab")?;
        Ok(Some(Place { slab, offset, length }))
    }

    fn into_buffer(self, content: Content) -> Result<Buffer, String> {
        if !is_pointer(&self.at) {
            return Err(format!("`{}` is no JSON Pointer", self.at.escape_debug()));
        }
        let array = match (self.dtype.as_deref(), self.shape.as_deref()) {
            (Some(dtype), Some(shape)) => Some((dtype, shape)),
            (None, None) => None,
            _ => return Err("`dtype` and `shape` must both be there or both be absent".into()),
        };
        Buffer::received(&self.at, content, array, self.media_type.as_deref()).map_err(|error| error.to_string())
    }
}

fn length(bytes: &[u8]) -> usize {
    bytes.try_into().map_or(usize::MAX, |bytes| u32::from_le_bytes(bytes) as usize)
}

/// Returns the number of bytes between the position in the frame and the next buffer.
fn padding(position: usize) -> usize {
    position.next_multiple_of(ALIGNMENT) - position
}
/// Returns whether the text is a JSON Pointer (RFC 6901).
fn is_pointer(text: &str) -> bool {
    let escapes = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    escapes && (text.is_empty() || text.starts_with('/'))
}

/// Returns whether the pointer leads to a key of the outermost object.
fn is_key(pointer: &str) -> bool {
    pointer.strip_prefix('/').is_some_and(|key| !key.contains('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pointer_of;
    use proptest::prelude::*;

    #[test]
    fn keys_are_escaped_in_pointers() {
        assert_eq!(&*pointer_of("a/b~c"), "/a~1b~0c");
        assert!(is_key(&pointer_of("a/b")) && is_pointer(&pointer_of("a~b")) && !is_key("/a/b") && !is_key(""));
        assert!(is_pointer("") && !is_pointer("a") && !is_pointer("/~2") && !is_pointer("/~"));
    }

    /// A table takes at most the memory of its limits, however long it is.
    #[test]
    fn long_tables_and_shapes_are_refused() {
        let refusal = |table: &str| {
            let lengths = [0, table.len()].map(|length| (length as u32).to_le_bytes()).concat();
            let body = [&lengths[..], table.as_bytes()].concat();
            CallBuffers::parse(FrameKind::Result, 16, body.into()).unwrap_err().to_string()
        };
        let entries = vec![r#"{"at":"","len":0}"#; MAX_BUFFERS + 1].join(",");
        let error = refusal(&format!(r#"{{"buffers":[{entries}]}}"#));
        assert!(error.contains("at most 1024 items"), "{error}");
        let shape = vec!["0"; MAX_DIMENSIONS + 1].join(",");
        let error = refusal(&format!(r#"{{"buffers":[{{"at":"","len":0,"dtype":"<f4","shape":[{shape}]}}]}}"#));
        assert!(error.contains("at most 64 items"), "{error}");
    }

    fn buffers() -> impl Strategy<Value = CallBuffers> {
        let buffer = (prop::collection::vec(any::<u8>(), 0..100), any::<bool>(), prop::option::of("[ -~]{1,9}"));
        let buffer = buffer.prop_map(|(bytes, is_array, media_type)| {
            let length = bytes.len() as u64;
            let buffer = if is_array { Buffer::array(bytes, "|u1", [length]).unwrap() } else { Buffer::from(bytes) };
            media_type.map_or(buffer.clone(), |name| buffer.with_media_type(&name).unwrap())
        });
        (any::<bool>(), prop::collection::hash_map("\\PC{0,5}", buffer, 0..4)).prop_map(|(take, named)| {
            let buffers = named.into_iter().map(|(name, buffer)| buffer.named(&name)).collect();
            CallBuffers { take, buffers }
        })
    }

    proptest! {
        /// R43: what is written is read again, with each buffer at a multiple of 16 bytes, and within the announced length.
        #[test]
        fn r43_buffers_survive_the_wire(buffers in buffers(), start in 0..64_usize, json in "\\{[ -~]{0,20}") {
            let json = Bytes::from(json);
            let parts = buffers.parts(FrameKind::Call, start, &json).unwrap();
            let body: Bytes = parts.concat().into();
            prop_assert!(body.len() <= buffers.max_length(json.len()));
            let base = body.as_ptr() as usize;
            let (found, value) = CallBuffers::parse(FrameKind::Call, start, body).unwrap();
            for buffer in found.buffers.iter().filter(|buffer| !buffer.bytes().is_empty()) {
                prop_assert_eq!((buffer.bytes().as_ptr() as usize - base + start) % ALIGNMENT, 0);
            }
            prop_assert_eq!((found, value), (buffers, json));
        }
    }
}
