//! The limit on the bytes of bodies that a server holds at once: request bodies from their arrival until their call is
//! settled, and large responses until their connection has taken them. Holds two counters, which change only by atomic
//! operations.

use bytes::Bytes;
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};
use tokio::sync::Notify;

/// The largest size of a small body. Small bodies may use all space that large ones do not use, and always a reserved
/// share. Results up to this size are not counted.
pub(crate) const SMALL: usize = 64 * 1024;
/// The default limit. If twice the largest `max_frame` is more, that is the default: the arguments and the result of
/// one call always fit together.
const DEFAULT: usize = 256 * 1024 * 1024;
/// The fraction of the limit that is reserved for small bodies (a sixteenth), so that large bodies cannot block them.
const SHARE_OF_SMALL: usize = 16;

/// The limit and the bytes in use. All threads that serve the same pools share it.
#[derive(Debug)]
pub(crate) struct Buffers {
    limit: usize,
    /// The part of the limit that bodies may use which are not small.
    for_large: usize,
    /// The bytes in use by bodies that are not small, and by results. Exceeds `for_large` by one result at most.
    large: AtomicUsize,
    small: AtomicUsize,
    /// Notified when large bodies or results were freed.
    freed: Notify,
}

/// The error for a body without space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full {
    pub(crate) needed: usize,
    pub(crate) used: usize,
    pub(crate) limit: usize,
}

impl Buffers {
    /// Creates the default limit for pools with this largest `max_frame`.
    pub(crate) fn new(largest_frame: usize) -> Arc<Self> {
        Self::with_limit(DEFAULT.max(largest_frame.saturating_mul(2)), largest_frame)
    }

    /// Creates a limit. The share of small bodies is reduced if a body of `largest_frame` bytes would not fit
    /// otherwise.
    pub(crate) fn with_limit(limit: usize, largest_frame: usize) -> Arc<Self> {
        let for_large = (limit - limit / SHARE_OF_SMALL).max(limit.min(largest_frame));
        Arc::new(Self {
            limit,
            for_large,
            large: AtomicUsize::new(0),
            small: AtomicUsize::new(0),
            freed: Notify::new(),
        })
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Returns the length of the longest body that can ever fit.
    pub(crate) fn longest(&self) -> usize {
        self.for_large
    }

    /// Returns the bytes in use. They exceed the limit by the result of one call at most.
    pub(crate) fn used(&self) -> usize {
        self.large.load(Ordering::Relaxed) + self.small.load(Ordering::Relaxed)
    }

    /// Counts a result. The result is in memory already, so it is refused only if the share of large bodies was already
    /// used up: the memory in use exceeds the limit by one result at most.
    pub(crate) fn hold_result(self: &Arc<Self>, bytes: usize) -> Result<Room, Full> {
        self.add(Size::Large, bytes, |large| large < self.for_large)?;
        Ok(Room { buffers: self.clone(), size: Size::Large, bytes })
    }

    /// Counts a result as [`hold_result`](Self::hold_result) does, once there is room for it. Cancel safe.
    pub(crate) async fn wait_for_result(self: &Arc<Self>, bytes: usize) -> Room {
        loop {
            // Enabled before the attempt: room that is freed in between is noticed.
            let mut freed = pin!(self.freed.notified());
            freed.as_mut().enable();
            match self.hold_result(bytes) {
                Ok(room) => return room,
                Err(_) => freed.await,
            }
        }
    }

    /// Adds `more` to the bytes in use, if `fits` accepts the current number of the counter for this size.
    ///
    /// Relaxed ordering suffices: the counters protect no other memory.
    fn add(&self, size: Size, more: usize, fits: impl Fn(usize) -> bool) -> Result<(), Full> {
        // `fetch_update` checks and adds in one step. To add first and subtract if there is no space would be wrong: in
        // between, other threads would see too large a number and refuse bodies that fit. The two counters are separate
        // atomics, so if both change at the same moment the sum can exceed the limit by what was just added.
        let added = |used| fits(used).then(|| usize::saturating_add(used, more));
        match self.in_use(size).fetch_update(Ordering::Relaxed, Ordering::Relaxed, added) {
            Ok(_) => Ok(()),
            Err(_) => Err(Full { needed: more, used: self.used(), limit: self.limit }),
        }
    }

    fn free(&self, size: Size, bytes: usize) {
        self.in_use(size).fetch_sub(bytes, Ordering::Relaxed);
        if size == Size::Large {
            self.freed.notify_waiters();
        }
    }

    fn in_use(&self, size: Size) -> &AtomicUsize {
        match size {
            Size::Small => &self.small,
            Size::Large => &self.large,
        }
    }
}

/// The share of the limit that a body uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Small,
    Large,
}

/// A reserved part of the limit. Dropping it frees the part.
#[derive(Debug)]
pub(crate) struct Room {
    buffers: Arc<Buffers>,
    size: Size,
    bytes: usize,
}

impl Room {
    /// Creates a reservation of zero bytes, for a body that has not arrived yet.
    pub(crate) fn none(buffers: &Arc<Buffers>) -> Self {
        Self { buffers: buffers.clone(), size: Size::Small, bytes: 0 }
    }

    /// Extends the reservation to `total` bytes. Does nothing if it is already as large.
    pub(crate) fn grow_to(&mut self, total: usize) -> Result<(), Full> {
        match total.checked_sub(self.bytes) {
            None | Some(0) => Ok(()),
            Some(more) if total <= SMALL => self.grow_small(more),
            Some(_) => self.grow_large(total),
        }
    }

    /// Extends a small reservation. Large bodies and results count with at most `for_large`. Otherwise results that
    /// clients do not read, and that exceed `for_large`, would take the reserved share of small bodies.
    fn grow_small(&mut self, more: usize) -> Result<(), Full> {
        let buffers = &self.buffers;
        let large = buffers.large.load(Ordering::Relaxed).min(buffers.for_large);
        let fits = |small: usize| small.checked_add(more).is_some_and(|sum| sum <= buffers.limit - large);
        buffers.add(self.size, more, fits)?;
        self.bytes += more;
        Ok(())
    }

    /// Moves the reservation to the share of large bodies, with the new size.
    fn grow_large(&mut self, total: usize) -> Result<(), Full> {
        let buffers = &self.buffers;
        let (own_large, own_small) = match self.size {
            Size::Large => (self.bytes, 0),
            Size::Small => (0, self.bytes),
        };
        let small = buffers.small.load(Ordering::Relaxed).saturating_sub(own_small);
        let (more, ceiling) = (total - own_large, buffers.for_large.min(buffers.limit.saturating_sub(small)));
        buffers.add(Size::Large, more, |large| large.checked_add(more).is_some_and(|sum| sum <= ceiling))?;
        // The small bytes are freed only after the large ones were added. In between the body is counted twice, and
        // another body may be refused; the other order could admit more than the limit.
        buffers.free(Size::Small, own_small);
        (self.size, self.bytes) = (Size::Large, total);
        Ok(())
    }

    /// Converts the body to `Bytes` that keep the reservation until their last clone is dropped, wherever that is: in a
    /// pool's queue, in the outgoing buffer of a worker, or in a response. Bytes that were reserved but did not arrive
    /// are freed now.
    pub(crate) fn hold(mut self, body: Vec<u8>) -> Bytes {
        let surplus = self.bytes.saturating_sub(body.len());
        self.bytes -= surplus;
        self.buffers.free(self.size, surplus);
        Bytes::from_owner(Held { body, _room: self })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.buffers.free(self.size, self.bytes);
    }
}

struct Held {
    body: Vec<u8>,
    _room: Room,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.body
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use proptest::prelude::*;

    const MIB: usize = 1024 * 1024;

    fn room(buffers: &Arc<Buffers>, total: usize) -> Result<Room, Full> {
        let mut room = Room::none(buffers);
        room.grow_to(total).map(|()| room)
    }

    /// R68: large bodies leave a sixteenth of the limit to small ones, unless a body of the largest frame would not fit
    /// then.
    #[test]
    fn r68_large_bodies_leave_room_for_small_ones() {
        let buffers = Buffers::with_limit(16 * MIB, MIB);
        let large = room(&buffers, 15 * MIB).unwrap();
        assert_eq!(room(&buffers, SMALL + 1).unwrap_err().used, 15 * MIB);
        let small: Vec<_> = (0..16).map(|_| room(&buffers, SMALL).unwrap()).collect();
        assert!(room(&buffers, 1).is_err());
        drop((large, small));
        assert_eq!(buffers.used(), 0);
        let tight = Buffers::with_limit(MIB, MIB);
        assert!(room(&tight, MIB).is_ok());
        assert_eq!(Buffers::with_limit(1000, MIB).longest(), 1000);
    }

    /// R68: the result that reaches the limit is accepted; the next one is refused.
    #[test]
    fn r68_results_exceed_the_limit_by_one_at_most() {
        let buffers = Buffers::with_limit(MIB, MIB);
        let first = buffers.hold_result(MIB - 1).unwrap();
        let second = buffers.hold_result(MIB).unwrap();
        assert_eq!(buffers.used(), 2 * MIB - 1);
        assert!(buffers.hold_result(1).is_err() && room(&buffers, 1).is_err());
        drop((first, second));
        assert_eq!(buffers.used(), 0);
    }

    /// R68: large results that no client reads leave small bodies their share, however far the last result exceeds the
    /// limit.
    #[test]
    fn r68_results_leave_room_for_small_bodies() {
        let buffers = Buffers::with_limit(16 * MIB, MIB);
        let unread = [buffers.hold_result(14 * MIB).unwrap(), buffers.hold_result(14 * MIB).unwrap()];
        assert!(buffers.hold_result(1).is_err() && room(&buffers, SMALL + 1).is_err());
        let small: Vec<_> = (0..16).map(|_| room(&buffers, SMALL).unwrap()).collect();
        assert!(room(&buffers, 1).is_err());
        drop((unread, small));
        assert_eq!(buffers.used(), 0);
    }

    /// R68: a body that arrives in chunks and turns out to be large is counted once, in the share of large bodies.
    #[test]
    fn r68_a_body_that_grows_changes_its_share() {
        let buffers = Buffers::with_limit(16 * MIB, MIB);
        let mut grown = room(&buffers, SMALL).unwrap();
        grown.grow_to(15 * MIB).unwrap();
        assert_eq!(buffers.used(), 15 * MIB);
        assert!(grown.grow_to(15 * MIB + 1).is_err());
        assert_eq!((room(&buffers, MIB / 16).map(|room| room.size), buffers.used()), (Ok(Size::Small), 15 * MIB));
        drop(grown);
        assert_eq!(buffers.used(), 0);
    }

    /// R68: bytes are in use until their last clone is dropped.
    #[test]
    fn r68_bytes_are_in_use_until_the_last_clone_is_gone() {
        let buffers = Buffers::with_limit(MIB, MIB);
        let body = room(&buffers, MIB).unwrap().hold(vec![b'x'; 1000]);
        assert_eq!(buffers.used(), 1000, "bytes that were announced but did not arrive are free");
        let part = body.slice(3..);
        drop(body);
        assert_eq!(buffers.used(), 1000);
        drop(part);
        assert_eq!(buffers.used(), 0);
    }

    /// R68: bytes that a handler holds are freed when it panics.
    #[test]
    fn r68_a_panic_leaves_nothing_in_use() {
        let buffers = Buffers::with_limit(MIB, MIB);
        let (held, used) = (room(&buffers, 1000).unwrap(), buffers.clone());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _body = held.hold(vec![b'x'; 1000]);
            assert_eq!(used.used(), 0, "on purpose");
        }));
        assert!(panicked.is_err());
        assert_eq!(buffers.used(), 0);
    }

    /// R42: an item of a stream waits for room, and gets it when another result is freed.
    #[tokio::test]
    async fn r42_a_result_can_wait_for_room() {
        let buffers = Buffers::with_limit(MIB, MIB);
        let mut held = [buffers.hold_result(MIB).unwrap()].into_iter();
        let mut waiting = Box::pin(buffers.wait_for_result(1000));
        assert!(waiting.as_mut().now_or_never().is_none());
        drop(held.next());
        assert_eq!(waiting.await.bytes, 1000);
        assert_eq!(buffers.used(), 0);
    }

    proptest! {
        /// R68: after any sequence of operations, the bytes in use are the sum of the reservations; at the end they are
        /// zero.
        #[test]
        fn r68_the_use_is_the_sum_of_what_is_held(steps in prop::collection::vec((0..4_u8, 0..3 * MIB, 0..8_usize), 1..200)) {
            let buffers = Buffers::with_limit(4 * MIB, MIB);
            let (mut rooms, mut bodies): (Vec<Room>, Vec<Bytes>) = (Vec::new(), Vec::new());
            for (step, bytes, index) in steps {
                match step {
                    0 => rooms.extend(room(&buffers, bytes)),
                    1 => rooms.extend(buffers.hold_result(bytes)),
                    2 if index < rooms.len() => bodies.push(rooms.swap_remove(index).hold(vec![0; bytes.min(100)])),
                    3 if index < bodies.len() => drop(bodies.swap_remove(index)),
                    _ => _ = rooms.last_mut().map(|room| room.grow_to(bytes)),
                }
                let held: usize = rooms.iter().map(|room| room.bytes).sum();
                prop_assert!(buffers.used() >= held && buffers.used() < 4 * MIB + 3 * MIB);
            }
            drop(rooms);
            drop(bodies);
            prop_assert_eq!(buffers.used(), 0);
        }
    }
}
