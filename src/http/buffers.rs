//! The limit on the bytes of bodies that a server holds at once: of requests from their arrival until their call is settled, of
//! large responses until they are handed to their connection. Holds two numbers, changed by atomic operations alone.

use super::refusal::Refusal;
use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The largest size of a small body. Small bodies may use what large ones leave, and always a share of their own. A result up to this size is not counted.
pub(super) const SMALL: usize = 64 * 1024;
/// The default limit, unless twice the largest `max_frame` is more: the arguments and the result of one call always fit together.
const DEFAULT: usize = 256 * 1024 * 1024;
/// The limit divided by this is reserved for small bodies, so that large bodies do not keep them out.
const SHARE_OF_SMALL: usize = 16;

/// The limit, and how much of it is in use. Shared by all threads that serve the same pools.
#[derive(Debug)]
pub(crate) struct Buffers {
    limit: usize,
    /// The part of the limit that bodies may use which are not small.
    for_large: usize,
    /// In use by bodies that are not small, and by results. More than `for_large` by one result at most.
    large: AtomicUsize,
    small: AtomicUsize,
}

/// A body has no room now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full {
    pub(super) needed: usize,
    pub(super) used: usize,
    pub(super) limit: usize,
}

impl Full {
    /// Returns the refusal. `may_have_run` is true if there was no room for a result.
    pub(super) fn refusal(self, may_have_run: bool) -> Refusal {
        let Self { needed, used, limit } = self;
        Refusal::BuffersFull { needed, used, limit, may_have_run }
    }
}

impl Buffers {
    /// With the default limit for pools of which this is the largest `max_frame`.
    pub(crate) fn new(largest_frame: usize) -> Arc<Self> {
        Self::with_limit(DEFAULT.max(largest_frame.saturating_mul(2)), largest_frame)
    }

    /// With this limit. The share of small bodies never makes it too small for a body of `largest_frame` bytes.
    pub(super) fn with_limit(limit: usize, largest_frame: usize) -> Arc<Self> {
        let for_large = (limit - limit / SHARE_OF_SMALL).max(limit.min(largest_frame));
        Arc::new(Self { limit, for_large, large: AtomicUsize::new(0), small: AtomicUsize::new(0) })
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The length of the longest body that can ever have room.
    pub(super) fn longest(&self) -> usize {
        self.for_large
    }

    /// Returns how many bytes are in use. This exceeds the limit by the result of one call at most.
    pub(super) fn used(&self) -> usize {
        self.large.load(Ordering::Relaxed) + self.small.load(Ordering::Relaxed)
    }

    /// Counts a result, which is in memory already. There is no room for the result only if the share of large bodies was used up before: so
    /// the memory in use exceeds the limit by one result at most.
    pub(super) fn hold_result(self: &Arc<Self>, bytes: usize) -> Result<Room, Full> {
        self.add(Size::Large, bytes, |large| large < self.for_large)?;
        Ok(Room { buffers: self.clone(), size: Size::Large, bytes })
    }

    /// Adds to what is in use, if `fits` says so of what bodies of this size use now.
    ///
    /// The order of the operations does not matter: nothing else is read by them. Not an addition that is taken back where there is no room:
    /// between the two, others would be refused for nothing. Where both numbers change at the same moment, the sum may exceed the limit by
    /// what was just added.
    fn add(&self, size: Size, more: usize, fits: impl Fn(usize) -> bool) -> Result<(), Full> {
        let added = |used| fits(used).then(|| usize::saturating_add(used, more));
        match self.in_use(size).fetch_update(Ordering::Relaxed, Ordering::Relaxed, added) {
            Ok(_) => Ok(()),
            Err(_) => Err(Full { needed: more, used: self.used(), limit: self.limit }),
        }
    }

    fn free(&self, size: Size, bytes: usize) {
        self.in_use(size).fetch_sub(bytes, Ordering::Relaxed);
    }

    fn in_use(&self, size: Size) -> &AtomicUsize {
        match size {
            Size::Small => &self.small,
            Size::Large => &self.large,
        }
    }
}

/// Which share of the limit a body uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Small,
    Large,
}

/// A part of the limit, in use until it is dropped.
#[derive(Debug)]
pub(super) struct Room {
    buffers: Arc<Buffers>,
    size: Size,
    bytes: usize,
}

impl Room {
    /// For a body of which nothing is there yet.
    pub(super) fn none(buffers: &Arc<Buffers>) -> Self {
        Self { buffers: buffers.clone(), size: Size::Small, bytes: 0 }
    }

    /// Makes room for a body of `total` bytes, if it has less.
    pub(super) fn grow_to(&mut self, total: usize) -> Result<(), Full> {
        match total.checked_sub(self.bytes) {
            None | Some(0) => Ok(()),
            Some(more) if total <= SMALL => self.grow_small(more),
            Some(_) => self.grow_large(total),
        }
    }

    /// Small bodies may use what large bodies leave, and always their own share. So results that clients do not read, and that exceed the share of
    /// large bodies, do not keep small bodies out.
    fn grow_small(&mut self, more: usize) -> Result<(), Full> {
        let buffers = &self.buffers;
        let large = buffers.large.load(Ordering::Relaxed).min(buffers.for_large);
        let fits = |small: usize| small.checked_add(more).is_some_and(|sum| sum <= buffers.limit - large);
        buffers.add(self.size, more, fits)?;
        self.bytes += more;
        Ok(())
    }

    /// A body that was small until now uses the share of large ones from here on.
    fn grow_large(&mut self, total: usize) -> Result<(), Full> {
        let buffers = &self.buffers;
        let (own_large, own_small) = match self.size {
            Size::Large => (self.bytes, 0),
            Size::Small => (0, self.bytes),
        };
        let small = buffers.small.load(Ordering::Relaxed).saturating_sub(own_small);
        let (more, ceiling) = (total - own_large, buffers.for_large.min(buffers.limit.saturating_sub(small)));
        buffers.add(Size::Large, more, |large| large.checked_add(more).is_some_and(|sum| sum <= ceiling))?;
        buffers.free(Size::Small, own_small);
        (self.size, self.bytes) = (Size::Large, total);
        Ok(())
    }

    /// The bytes, which keep this room in use until the last clone of them is dropped, whoever has it: a pool's queue, a worker's outbox, a
    /// response.
    pub(super) fn hold(mut self, body: Vec<u8>) -> Bytes {
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
    use proptest::prelude::*;

    const MIB: usize = 1024 * 1024;

    fn room(buffers: &Arc<Buffers>, total: usize) -> Result<Room, Full> {
        let mut room = Room::none(buffers);
        room.grow_to(total).map(|()| room)
    }

    /// R68: large bodies leave a sixteenth of the limit to small ones, but never less than one body of the largest frame fits.
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

    /// R68: the result that reaches the limit is held, the next one is not.
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

    /// R68: large results that nobody reads leave small bodies their share, however far the last one exceeds the limit.
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

    /// R68: a body that arrives in chunks and turns out to be large uses the share of large ones, once.
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

    /// R68: bytes are in use until the last clone of them is gone, and no longer.
    #[test]
    fn r68_bytes_are_in_use_until_the_last_clone_is_gone() {
        let buffers = Buffers::with_limit(MIB, MIB);
        let body = room(&buffers, MIB).unwrap().hold(vec![b'x'; 1000]);
        assert_eq!(buffers.used(), 1000, "what was announced and did not come is free");
        let part = body.slice(3..);
        drop(body);
        assert_eq!(buffers.used(), 1000);
        drop(part);
        assert_eq!(buffers.used(), 0);
    }

    /// R68: what a handler held when it panicked is free.
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

    proptest! {
        /// R68: whatever is asked for, granted, grown and dropped, the use is the sum of what is held, and nothing at the end.
        #[test]
        fn r68_the_use_is_the_sum_of_what_is_held(steps in prop::collection::vec((0..4_u8, 0..3 * MIB, 0..8_usize), 1..200)) {
            let buffers = Buffers::with_limit(4 * MIB, MIB);
            let (mut rooms, mut bodies): (Vec<Room>, Vec<Bytes>) = (Vec::new(), Vec::new());
            for (step, bytes, which) in steps {
                match step {
                    0 => rooms.extend(room(&buffers, bytes)),
                    1 => rooms.extend(buffers.hold_result(bytes)),
                    2 if which < rooms.len() => bodies.push(rooms.swap_remove(which).hold(vec![0; bytes.min(100)])),
                    3 if which < bodies.len() => drop(bodies.swap_remove(which)),
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
