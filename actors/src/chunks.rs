//! The chunks of one stream on their way from the pool's thread to the consumer, and the end of the stream behind them. The
//! window of the stream bounds them: the worker sends more only when some were taken. No side ever waits for the other here.

use crate::{Error, Reply, Result};
use bytes::Bytes;
use herder_wire::Buffer;
use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

/// What each chunk counts in the window beyond its length, in bytes.
const OVERHEAD: u64 = 16;

/// An item of a stream.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) json: Bytes,
    /// The buffers, and the length of the frame's body, if this is not that of the JSON.
    buffers: Option<Box<(Vec<Buffer>, u32)>>,
}

impl Item {
    /// `length`: of the body of the frame.
    pub(crate) fn new(json: Bytes, buffers: Vec<Buffer>, length: u32) -> Self {
        let has_more = !buffers.is_empty() || json.len() != length as usize;
        Self { json, buffers: has_more.then(|| Box::new((buffers, length))) }
    }

    /// Returns a result as the only item of a stream.
    pub(crate) fn of_reply(reply: &Reply) -> Self {
        let length = reply.buffers().iter().map(Buffer::length).fold(reply.json().len(), usize::saturating_add);
        Self::new(reply.json().clone(), reply.buffers().to_vec(), u32::try_from(length).unwrap_or(u32::MAX))
    }

    /// Returns the buffers of the item.
    pub(crate) fn into_buffers(self) -> Vec<Buffer> {
        self.buffers.map_or_else(Vec::new, |buffers| buffers.0)
    }

    /// Returns what the item counts in the window of its stream.
    pub(crate) fn cost(&self) -> u64 {
        self.buffers.as_ref().map_or(self.json.len() as u64, |buffers| u64::from(buffers.1)) + OVERHEAD
    }
}

/// Creates the two ends of a stream with this window, in bytes.
pub(crate) fn chunks(window: u32) -> (ChunkSender, ChunkReceiver) {
    let shared = Arc::new(Shared::default());
    let receiver =
        ChunkReceiver { shared: shared.clone(), taken: VecDeque::new(), uncredited: 0, batch: u64::from(window) / 2 };
    (ChunkSender(shared), receiver)
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Rises with what the consumer takes, and while it is busy with that.
    consumed: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Item>,
    end: Option<Box<Result<Reply>>>,
    /// Whether the stream has ended or its consumer is gone. Chunks that arrive later are dropped.
    is_closed: bool,
    /// The consumer, if it waits.
    waker: Option<Waker>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics while the state is locked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end at which the stream's call is answered. Dropping it without an answer ends the stream with `PoolClosed`.
#[derive(Debug)]
pub(crate) struct ChunkSender(Arc<Shared>);

impl ChunkSender {
    /// Returns a handle with which a worker's chunks are passed on.
    pub(crate) fn input(&self) -> ChunkInput {
        ChunkInput(self.0.clone())
    }

    /// Ends the stream, behind the chunks that have arrived. Only the first end counts.
    pub(crate) fn end(&self, end: Result<Reply>) {
        let mut state = self.0.state();
        if std::mem::replace(&mut state.is_closed, true) {
            return;
        }
        state.end = Some(Box::new(end));
        let waker = state.waker.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
    }
}

#[cfg(all(test, feature = "testing"))]
impl ChunkSender {
    /// Runs `body` while the lock of the stream is held.
    pub(crate) fn while_locked<T>(&self, body: impl FnOnce() -> T) -> T {
        let _state = self.0.state();
        body()
    }
}

impl Drop for ChunkSender {
    fn drop(&mut self) {
        self.end(Err(Error::closed(true)));
    }
}

/// A handle with which chunks are passed on.
#[derive(Debug)]
pub(crate) struct ChunkInput(Arc<Shared>);

impl ChunkInput {
    /// Passes a chunk on, unless the stream has ended. Returns the consumer if it waits: the caller must wake it, once for all
    /// chunks that it passes on together.
    #[must_use = "a consumer that is not woken waits for ever"]
    pub(crate) fn push(&self, chunk: Item) -> Option<Waker> {
        let mut state = self.0.state();
        if state.is_closed {
            return None;
        }
        state.chunks.push_back(chunk);
        state.waker.take()
    }

    /// Returns a number that has changed if the consumer has taken something since the last look, or was busy with that.
    pub(crate) fn consumed(&self) -> u64 {
        self.0.consumed.load(Ordering::Relaxed)
    }
}

/// The consumer's end. Dropping it makes the pool drop what arrives later.
#[derive(Debug)]
pub(crate) struct ChunkReceiver {
    shared: Arc<Shared>,
    /// Chunks that were moved here together. They count as taken one by one.
    taken: VecDeque<Item>,
    /// What was taken since the last credit.
    uncredited: u64,
    /// The least credit that is worth a message.
    batch: u64,
}

/// What a consumer finds next.
#[derive(Debug)]
pub(crate) enum Next {
    Chunk(Item),
    End(Box<Result<Reply>>),
}

impl ChunkReceiver {
    /// Returns the next chunk, or the end, which comes once.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Next> {
        if let Some(chunk) = self.take() {
            return Poll::Ready(Next::Chunk(chunk));
        }
        let mut state = self.shared.state();
        std::mem::swap(&mut state.chunks, &mut self.taken);
        if self.taken.is_empty() {
            return match state.end.take() {
                Some(end) => Poll::Ready(Next::End(end)),
                None => {
                    state.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            };
        }
        drop(state);
        self.take().map_or(Poll::Pending, |chunk| Poll::Ready(Next::Chunk(chunk)))
    }

    fn take(&mut self) -> Option<Item> {
        let chunk = self.taken.pop_front()?;
        let cost = chunk.cost();
        self.uncredited += cost;
        self.shared.consumed.fetch_add(cost, Ordering::Relaxed);
        Some(chunk)
    }

    /// Records that the consumer is still busy with a chunk that it has taken.
    pub(crate) fn keep_busy(&self) {
        self.shared.consumed.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns how much the worker may send in addition, once at least half of the window was taken.
    pub(crate) fn credit(&mut self) -> Option<u32> {
        if self.uncredited < self.batch {
            return None;
        }
        // A frame has less than 1 GiB, and a window less than that.
        let credit = u32::try_from(self.uncredited).unwrap_or(u32::MAX);
        self.uncredited -= u64::from(credit);
        Some(credit)
    }
}

impl Drop for ChunkReceiver {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.is_closed = true;
        // Dropped without the lock, for which the pool's thread may wait. The call may run on for some time: it must not keep
        // the consumer's task.
        let unread = (std::mem::take(&mut state.chunks), state.waker.take());
        drop(state);
        drop(unread);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    fn chunk(byte: u8) -> Item {
        Item::new(Bytes::from(vec![byte; 84]), Vec::new(), 84)
    }

    /// Returns the first byte of the next chunk, 0 at the end; `None` if neither is there.
    fn next(receiver: &mut ChunkReceiver) -> Option<u8> {
        match receiver.poll_next(&mut context()) {
            Poll::Ready(Next::Chunk(chunk)) => Some(chunk.json[0]),
            Poll::Ready(Next::End(_)) => Some(0),
            Poll::Pending => None,
        }
    }

    /// R42: the end comes after all chunks, once; what comes later is dropped.
    #[test]
    fn r42_chunks_arrive_in_order_before_the_end() {
        let (sender, mut receiver) = chunks(1000);
        let input = sender.input();
        assert!(input.push(chunk(1)).is_none() && input.push(chunk(2)).is_none());
        assert_eq!(next(&mut receiver), Some(1));
        assert!(input.push(chunk(3)).is_none());
        sender.end(Err(Error::QueueFull { limit: 1 }));
        assert!(input.push(chunk(4)).is_none());
        drop(sender);
        assert_eq!([(); 4].map(|()| next(&mut receiver)), [Some(2), Some(3), Some(0), None]);
    }

    /// R42: chunks count as taken one by one, and a credit is due after half of the window.
    #[test]
    fn r42_credit_is_for_what_was_taken() {
        let (sender, mut receiver) = chunks(600);
        let input = sender.input();
        (1..=5).for_each(|byte| _ = input.push(chunk(byte)));
        let credits: Vec<_> = (1..=5).map(|byte| (next(&mut receiver) == Some(byte), receiver.credit())).collect();
        assert_eq!(credits, [(true, None), (true, None), (true, Some(300)), (true, None), (true, None)]);
        assert_eq!(input.consumed(), 500);
    }

    #[test]
    fn waiting_consumer_is_returned_once() {
        let (sender, mut receiver) = chunks(600);
        let input = sender.input();
        assert_eq!(next(&mut receiver), None);
        assert!(input.push(chunk(1)).is_some() && input.push(chunk(2)).is_none());
    }

    #[test]
    fn stream_without_an_answer_ends_with_an_error() {
        let (sender, mut receiver) = chunks(600);
        drop(sender);
        let Poll::Ready(Next::End(end)) = receiver.poll_next(&mut context()) else { panic!("no end") };
        assert!(matches!(*end, Err(Error::PoolClosed { may_have_run: true, .. })), "{end:?}");
    }
}
