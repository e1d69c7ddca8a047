//! [`CallStream`]: the items of a call's result, decoded. Holds the items that have arrived as JSON text.

use futures_core::Stream;
use herder_actors::{Buffer, ErrorId, PendingStream, ReplyMetadata, Result};
use serde::de::DeserializeOwned;
use std::{
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};

/// The items of a call's result ([`Call::stream`](crate::Call::stream)), in order, each decoded as a `T`.
///
/// An error follows the items that have arrived, and ends the stream. An item that is not a `T` is
/// [`Error::Decode`](crate::Error::Decode), after which the stream continues. Dropping the stream before its end cancels the call.
/// `next()` is cancel safe: no item is lost if its future is dropped.
///
/// The first item shows whether the call was refused: an error is then the only item.
#[derive(Debug)]
#[must_use = "a stream that is dropped cancels its call"]
pub struct CallStream<T> {
    items: PendingStream,
    value: PhantomData<fn() -> T>,
}

impl<T> CallStream<T> {
    pub(super) fn new(items: PendingStream) -> Self {
        Self { items, value: PhantomData }
    }

    /// Returns the id under which the log has this call if it fails.
    pub fn error_id(&self) -> ErrorId {
        self.items.error_id()
    }

    /// Returns the buffers of the item that was returned last, if the call was made to
    /// [`take_buffers`](crate::Call::take_buffers). The JSON of the item has `null` in their places.
    ///
    /// ```
    /// # use futures_util::StreamExt;
    /// # use serde_json::{Value, json};
    /// # async fn example(pool: herder::Pool) -> herder::Result<()> {
    /// let mut frames = pool.call::<Value>("video", &json!({})).take_buffers().stream();
    /// while let Some(frame) = frames.next().await.transpose()? {
    ///     println!("{frame} {:?}", frames.buffer("image").map(|image| image.bytes().len()));
    /// }
    /// # Ok(()) }
    /// ```
    pub fn buffers(&self) -> &[Buffer] {
        self.items.buffers()
    }

    /// Returns the buffer that is the value of this key of the item that was returned last; with an empty key the buffer that is
    /// the item itself.
    pub fn buffer(&self, key: &str) -> Option<&Buffer> {
        self.items.buffer(key)
    }

    /// Returns where and how the call ran, once the stream has ended without an error.
    pub fn metadata(&self) -> Option<ReplyMetadata> {
        self.items.metadata()
    }
}

impl<T: DeserializeOwned> Stream for CallStream<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let decode = |item: Result<bytes::Bytes>| serde_json::from_slice(&item?).map_err(herder_actors::Error::decode);
        Pin::new(&mut self.items).poll_next(context).map(|item| item.map(decode))
    }
}
