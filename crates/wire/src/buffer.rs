//! One buffer: binary data of a call or of a result. Its bytes are in a frame, or in memory that host and worker share.

use bytes::Bytes;
use std::{
    fmt,
    num::NonZeroU64,
    sync::{Arc, OnceLock},
};

/// The maximum number of buffers of one value.
pub const MAX_BUFFERS: usize = 1024;
/// The maximum number of dimensions of an array, that of numpy.
pub(crate) const MAX_DIMENSIONS: usize = 64;

/// Binary data of a call or of a result: bytes, with an optional media type, or an array with its element type and shape.
///
/// ```
/// # use herder_wire::Buffer;
/// let image = Buffer::from(vec![0x89, b'P', b'N', b'G']).with_media_type("image/png")?;
/// let array = Buffer::array(vec![0_u8; 24], "<f4", [2, 3])?;
/// assert_eq!((image.bytes().len(), array.shape()), (4, Some(&[2, 3][..])));
/// # Ok::<(), herder_wire::InvalidBuffer>(())
/// ```
#[derive(Clone, Debug)]
pub struct Buffer {
    pointer: Box<str>,
    content: Content,
    array: Option<Box<Array>>,
    media_type: Option<Box<str>>,
}

/// Where the bytes of a buffer are.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Bytes(Bytes),
    /// In a slab of which only the place is known.
    Placed(Place),
    /// In a slab that this process can read.
    Shared(Arc<Shared>),
}

/// Bytes that another process may still change. Clones share the copy, so that all readers see the same bytes.
#[derive(Debug)]
pub(crate) struct Shared {
    memory: Arc<dyn SharedMemory>,
    place: Place,
    copy: OnceLock<Bytes>,
}

#[doc(hidden)] // between this crate and the host
/// Memory that another process can write. Its bytes can only be copied.
pub trait SharedMemory: fmt::Debug + Send + Sync {
    /// Copies the bytes from `offset` on to `target`. A range that does not exist is not copied.
    fn copy_to(&self, offset: u64, target: &mut [u8]);
    /// Returns a copy of `length` bytes from `offset` on; empty if the range does not exist.
    fn to_bytes(&self, offset: u64, length: usize) -> Bytes;
}

#[doc(hidden)] // between this crate and the host
/// The place of the bytes of a buffer in a slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The number of the slab.
    pub slab: NonZeroU64,
    /// Where the bytes begin, a multiple of [`ALIGNMENT`](crate::ALIGNMENT).
    pub offset: u64,
    /// The number of bytes.
    pub length: usize,
}

impl PartialEq for Buffer {
    fn eq(&self, other: &Self) -> bool {
        let is_same = self.place() == other.place() && self.bytes() == other.bytes();
        is_same && (&self.pointer, &self.array, &self.media_type) == (&other.pointer, &other.array, &other.media_type)
    }
}

impl Eq for Buffer {}

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
        length: u64,
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
        Self { pointer: "".into(), content: Content::Bytes(bytes.into()), array: None, media_type: None }
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
        check_array(dtype, &shape, bytes.len() as u64)?;
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
    ///
    /// The bytes of a buffer that a worker sent in shared memory are copied at the first call, on the caller's thread.
    pub fn bytes(&self) -> &Bytes {
        static NONE: Bytes = Bytes::new();
        match &self.content {
            Content::Bytes(bytes) => bytes,
            Content::Placed(_) => &NONE,
            Content::Shared(shared) => shared.bytes(),
        }
    }

    /// Returns the number of bytes, without copying any.
    pub fn length(&self) -> usize {
        match &self.content {
            Content::Bytes(bytes) => bytes.len(),
            Content::Placed(place) => place.length,
            Content::Shared(shared) => shared.place.length,
        }
    }

    /// Creates a buffer that was received. Returns what is wrong with it.
    pub(crate) fn received(
        pointer: &str,
        content: Content,
        array: Option<(&str, &[u64])>,
        media_type: Option<&str>,
    ) -> Result<Self, InvalidBuffer> {
        let mut buffer = Self { pointer: pointer.into(), content, array: None, media_type: None };
        if let Some((dtype, shape)) = array {
            check_array(dtype, shape, buffer.length() as u64)?;
            buffer.array = Some(Box::new(Array { dtype: dtype.into(), shape: shape.into() }));
        }
        match media_type {
            Some(name) => buffer.with_media_type(name),
            None => Ok(buffer),
        }
    }

    #[doc(hidden)] // between this crate and the host
    /// Returns a buffer whose bytes the frame does not contain: they are in a slab.
    #[must_use]
    pub fn placed(&self, slab: NonZeroU64, offset: u64) -> Self {
        let content = Content::Placed(Place { slab, offset, length: self.length() });
        let Self { pointer, array, media_type, .. } = self;
        Self { pointer: pointer.clone(), content, array: array.clone(), media_type: media_type.clone() }
    }

    #[doc(hidden)] // between this crate and the host
    /// Returns the place of the bytes, if they are in a slab that was not found yet.
    pub fn place(&self) -> Option<Place> {
        match &self.content {
            Content::Placed(place) => Some(*place),
            Content::Bytes(_) | Content::Shared(_) => None,
        }
    }

    #[doc(hidden)] // between this crate and the host
    /// Sets the memory of the slab in which the bytes are. The caller has checked that it contains the place.
    pub fn find_in(&mut self, memory: Arc<dyn SharedMemory>) {
        if let Content::Placed(place) = self.content {
            self.content = Content::Shared(Arc::new(Shared { memory, place, copy: OnceLock::new() }));
        }
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
        if self.length() <= limit {
            self.content = Content::Bytes(Bytes::copy_from_slice(self.bytes()));
        }
    }

    /// Copies the bytes to the front of `target`, and returns their number; `None` if `target` is too short.
    ///
    /// Bytes in shared memory are copied directly to `target`, unless [`bytes`](Self::bytes) has copied them before.
    pub fn copy_to(&self, target: &mut [u8]) -> Option<usize> {
        let length = self.length();
        let target = target.get_mut(..length)?;
        match &self.content {
            Content::Shared(shared) => shared.copy_to(target),
            Content::Bytes(_) | Content::Placed(_) => {
                target.get_mut(..self.bytes().len())?.copy_from_slice(self.bytes());
            }
        }
        Some(length)
    }
}

impl Shared {
    fn bytes(&self) -> &Bytes {
        self.copy.get_or_init(|| self.memory.to_bytes(self.place.offset, self.place.length))
    }

    fn copy_to(&self, target: &mut [u8]) {
        match self.copy.get() {
            Some(copy) if copy.len() == target.len() => target.copy_from_slice(copy),
            _ => self.memory.copy_to(self.place.offset, target),
        }
    }
}

/// Returns the JSON Pointer of a key of the outermost object.
pub fn pointer_of(key: &str) -> Box<str> {
    format!("/{}", key.replace('~', "~0").replace('/', "~1")).into()
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

fn check_array(dtype: &str, shape: &[u64], length: u64) -> Result<(), InvalidBuffer> {
    let size = element_size(dtype).ok_or_else(|| InvalidBuffer::UnknownType(dtype.into()))?;
    if shape.len() > MAX_DIMENSIONS {
        return Err(InvalidBuffer::TooManyDimensions(shape.len()));
    }
    // An array with a dimension of length 0 is empty, however large the product of the others is.
    let elements =
        if shape.contains(&0) { Some(0) } else { shape.iter().try_fold(1, |all, one| u64::checked_mul(all, *one)) };
    match elements.and_then(|elements| elements.checked_mul(size)) {
        Some(bytes) if bytes == length => Ok(()),
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
}
