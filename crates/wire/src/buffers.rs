//! Values with buffers: binary data beside the JSON of a call's arguments or of a result. Holds no state.
//!
//! The part of a body behind its fixed fields is then two lengths, a table, the JSON, and the bytes of the buffers, each at a
//! multiple of [`ALIGNMENT`] from the start of the frame. `docs/protocol.md` has the layout.

use crate::{EncodeError, FrameError, FrameKind, HEADER_LEN, body::to_json, without_byte_order_mark};
use bytes::{BufMut, Bytes, BytesMut};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, SeqAccess, Visitor},
};
use std::{borrow::Cow, collections::HashSet, fmt, marker::PhantomData};

/// The bytes of a buffer begin at a multiple of this number of bytes from the start of the frame.
pub const ALIGNMENT: usize = 16;
/// The maximum number of buffers of one value.
pub const MAX_BUFFERS: usize = 1024;
/// The maximum number of dimensions of an array, that of numpy.
const MAX_DIMENSIONS: usize = 64;
/// The two lengths at the front: those of the JSON and of the table.
const LENGTHS: usize = 8;
static ZEROS: [u8; ALIGNMENT] = [0; ALIGNMENT];

/// Binary data of a call or of a result: bytes, with an optional media type, or an array with its element type and shape.
///
/// ```
/// # use herder_wire::Buffer;
/// let image = Buffer::from(vec![0x89, b'P', b'N', b'G']).with_media_type("image/png")?;
/// let array = Buffer::array(vec![0_u8; 24], "<f4", [2, 3])?;
/// assert_eq!((image.bytes().len(), array.shape()), (4, Some(&[2, 3][..])));
/// # Ok::<(), herder_wire::InvalidBuffer>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    pointer: Box<str>,
    bytes: Bytes,
    array: Option<Box<Array>>,
    media_type: Option<Box<str>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Array {
    dtype: Box<str>,
    shape: Box<[u64]>,
}

/// Why a buffer cannot be sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBuffer {
    /// The element type is none of those that arrays can have.
    #[error("the element type `{0}` is unknown; expected one as numpy writes it, such as `<f4`, `<i8` or `|u1`")]
    UnknownType(Box<str>),
    /// The number of bytes does not follow from the element type and the shape.
    #[error("an array of the type {dtype} and the shape {shape:?} does not have {length} bytes")]
    WrongLength {
        /// The element type.
        dtype: Box<str>,
        /// The length of each dimension.
        shape: Box<[u64]>,
        /// The length of the buffer, in bytes.
        length: usize,
    },
    /// The shape has too many dimensions.
    #[error("an array has {0} dimensions; the limit is 64")]
    TooManyDimensions(usize),
    /// The media type has more than 255 bytes or characters that HTTP headers cannot have.
    #[error("the media type is invalid; expected at most 255 printable ASCII characters, such as `image/png`")]
    MediaType,
    /// A second buffer has the same place.
    #[error("two buffers are attached as `{0}`")]
    Twice(Box<str>),
    /// There are too many buffers.
    #[error("a call has {0} buffers; the limit is {MAX_BUFFERS}")]
    TooMany(usize),
}

impl<T: Into<Bytes>> From<T> for Buffer {
    fn from(bytes: T) -> Self {
        Self { pointer: "".into(), bytes: bytes.into(), array: None, media_type: None }
    }
}

impl Buffer {
    /// Creates an array in C order. `dtype` is the element type as numpy writes it (`numpy.dtype.str`): byte order `<`, `>` or
    /// `|`, then the kind and the size of an element in bytes: `b1`, `i` and `u` with 1, 2, 4 or 8, `f` with 2, 4, 8 or 16, or `c`
    /// with 8, 16 or 32.
    ///
    /// # Errors
    /// [`InvalidBuffer`]: the type is unknown, or the bytes do not have the length of such an array.
    pub fn array(
        bytes: impl Into<Bytes>,
        dtype: &str,
        shape: impl IntoIterator<Item = u64>,
    ) -> Result<Self, InvalidBuffer> {
        let (bytes, shape) = (bytes.into(), shape.into_iter().collect::<Box<[u64]>>());
        check_array(dtype, &shape, bytes.len())?;
        Ok(Self { array: Some(Box::new(Array { dtype: dtype.into(), shape })), ..Self::from(bytes) })
    }

    /// Sets the media type, such as `image/png`.
    ///
    /// # Errors
    /// [`InvalidBuffer::MediaType`].
    pub fn with_media_type(mut self, name: &str) -> Result<Self, InvalidBuffer> {
        check_media_type(name)?;
        self.media_type = Some(name.into());
        Ok(self)
    }

    /// Returns the buffer as the argument `name`.
    #[doc(hidden)] // `attach` does this
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.pointer = pointer_of(name);
        self
    }

    /// Returns the place in the JSON at which the value stands, as a JSON Pointer (RFC 6901). Empty: it is the whole value.
    pub fn pointer(&self) -> &str {
        &self.pointer
    }

    /// Returns the bytes. They share memory with all clones. A received buffer of more than 8 KiB shares the memory of its whole
    /// frame, with the JSON and all other buffers: a clone that is kept for long keeps all of it. [`copy_to`](Self::copy_to) copies
    /// the bytes instead.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Returns the element type of an array, as numpy writes it: `<f4`.
    pub fn dtype(&self) -> Option<&str> {
        self.array.as_ref().map(|array| &*array.dtype)
    }

    /// Returns the length of each dimension of an array. It is in C order: the last index changes fastest.
    pub fn shape(&self) -> Option<&[u64]> {
        self.array.as_ref().map(|array| &*array.shape)
    }

    /// Returns the media type, if the sender has set one.
    pub fn media_type(&self) -> Option<&str> {
        self.media_type.as_deref()
    }

    #[doc(hidden)] // done before the caller gets the buffer
    /// Copies the bytes if they are at most `limit`, so that they do not keep the memory of what was read with them.
    pub fn detach_small(&mut self, limit: usize) {
        if self.bytes.len() <= limit {
            self.bytes = Bytes::copy_from_slice(&self.bytes);
        }
    }

    /// Copies the bytes to the front of `target`, and returns their number; `None` if `target` is too short.
    pub fn copy_to(&self, target: &mut [u8]) -> Option<usize> {
        target.get_mut(..self.bytes.len())?.copy_from_slice(&self.bytes);
        Some(self.bytes.len())
    }
}

/// Returns the JSON Pointer of a key of the outermost object.
pub fn pointer_of(key: &str) -> Box<str> {
    format!("/{}", key.replace('~', "~0").replace('/', "~1")).into()
}

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
        match self.buffers.iter().find(|buffer| !places.insert(&*buffer.pointer)) {
            Some(twice) => Err(InvalidBuffer::Twice(twice.pointer.strip_prefix('/').unwrap_or_default().into())),
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
        for buffer in &self.buffers {
            let padding = padding(position);
            parts.extend((padding > 0).then(|| Bytes::from_static(&ZEROS[..padding])));
            parts.push(buffer.bytes.clone());
            position += padding + buffer.bytes.len();
        }
        Ok(parts)
    }

    /// Returns an upper bound of the length of what [`parts`](Self::parts) returns for JSON of `json` bytes.
    pub fn max_length(&self, json: usize) -> usize {
        const FIELDS: usize = 64; // names and punctuation of an entry
        let entry = |buffer: &Buffer| {
            let array = buffer.array.as_ref().map_or(0, |array| array.dtype.len() + 21 * array.shape.len());
            let names = 6 * buffer.pointer.len() + 6 * buffer.media_type.as_ref().map_or(0, |name| name.len());
            FIELDS + array + names + ALIGNMENT + buffer.bytes.len()
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
            let padding = padding(whole - rest.len()).min(rest.len());
            let _ = rest.split_to(padding);
            let length = usize::try_from(entry.len).ok().filter(|length| *length <= rest.len());
            let bytes = rest.split_to(length.ok_or_else(|| malformed("a buffer is longer than the body"))?);
            buffers.push(entry.into_buffer(bytes).map_err(|reason| malformed(&reason))?);
        }
        let found = Self { take: table.take, buffers };
        found.check().map_err(|error| malformed(&error.to_string()))?;
        if kind == FrameKind::Call && !found.buffers.iter().all(|buffer| is_key(&buffer.pointer)) {
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
            len: buffer.bytes.len() as u64,
            dtype: buffer.dtype().map(Into::into),
            shape: buffer.shape().map(Into::into),
            media_type: buffer.media_type().map(Into::into),
        }
    }

    fn into_buffer(self, bytes: Bytes) -> Result<Buffer, String> {
        if !is_pointer(&self.at) {
            return Err(format!("`{}` is no JSON Pointer", self.at.escape_debug()));
        }
        let array = match (self.dtype, self.shape) {
            (Some(dtype), Some(shape)) => {
                check_array(&dtype, &shape, bytes.len()).map_err(|error| error.to_string())?;
                Some(Box::new(Array { dtype: dtype.as_ref().into(), shape: shape.as_ref().into() }))
            }
            (None, None) => None,
            _ => return Err("`dtype` and `shape` must both be there or both be absent".into()),
        };
        if let Some(name) = &self.media_type {
            check_media_type(name).map_err(|error| error.to_string())?;
        }
        let media_type = self.media_type.map(|name| name.as_ref().into());
        Ok(Buffer { pointer: self.at.as_ref().into(), bytes, array, media_type })
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

/// Returns the size of an element in bytes, if the element type is known.
fn element_size(dtype: &str) -> Option<u64> {
    let size = match dtype.strip_prefix(['<', '>', '|'])? {
        "b1" | "i1" | "u1" => 1,
        "i2" | "u2" | "f2" => 2,
        "i4" | "u4" | "f4" => 4,
        "i8" | "u8" | "f8" | "c8" => 8,
        "f16" | "c16" => 16,
        "c32" => 32,
        _ => return None,
    };
    Some(size)
}

fn check_array(dtype: &str, shape: &[u64], length: usize) -> Result<(), InvalidBuffer> {
    let size = element_size(dtype).ok_or_else(|| InvalidBuffer::UnknownType(dtype.into()))?;
    if shape.len() > MAX_DIMENSIONS {
        return Err(InvalidBuffer::TooManyDimensions(shape.len()));
    }
    // An array with a dimension of length 0 is empty, however large the product of the others is.
    let elements =
        if shape.contains(&0) { Some(0) } else { shape.iter().try_fold(1, |all, one| u64::checked_mul(all, *one)) };
    match elements.and_then(|elements| elements.checked_mul(size)) {
        Some(bytes) if bytes == length as u64 => Ok(()),
        _ => Err(InvalidBuffer::WrongLength { dtype: dtype.into(), shape: shape.into(), length }),
    }
}

fn check_media_type(name: &str) -> Result<(), InvalidBuffer> {
    let is_valid = !name.is_empty() && name.len() <= 255 && name.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if is_valid { Ok(()) } else { Err(InvalidBuffer::MediaType) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn arrays_have_the_length_of_their_shape() {
        assert!(Buffer::array(vec![0; 24], "<f4", [2, 3]).is_ok());
        assert!(Buffer::array(vec![0; 4], "<f4", []).is_ok(), "a scalar");
        for (kind, sizes) in
            [("b", &[1][..]), ("i", &[1, 2, 4, 8]), ("u", &[1, 2, 4, 8]), ("f", &[2, 4, 8, 16]), ("c", &[8, 16, 32])]
        {
            for size in sizes {
                assert!(Buffer::array(vec![0; 2 * size], &format!("<{kind}{size}"), [2]).is_ok(), "{kind}{size}");
            }
        }
        assert!(Buffer::array(vec![], "<f8", [u64::MAX, 0, u64::MAX]).is_ok());
        for (dtype, shape) in [("<f4", vec![2]), ("<f4", vec![u64::MAX, u64::MAX]), ("<f4", vec![1; 65])] {
            assert!(Buffer::array(vec![0; 24], dtype, shape).is_err(), "{dtype}");
        }
        for dtype in ["f4", "<f", "<x4", "<f+4", "<f04", "<f123", "", "<O8", "<f4\u{e4}", "<f3", "|b2", "<u16", "<c4"] {
            let unknown = InvalidBuffer::UnknownType(dtype.into());
            assert_eq!(Buffer::array(vec![0; 4], dtype, [1]), Err(unknown));
        }
    }

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
            for buffer in found.buffers.iter().filter(|buffer| !buffer.bytes.is_empty()) {
                prop_assert_eq!((buffer.bytes.as_ptr() as usize - base + start) % ALIGNMENT, 0);
            }
            prop_assert_eq!((found, value), (buffers, json));
        }
    }
}
