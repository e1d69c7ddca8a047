//! The slabs of one worker: memory that both share, for large buffers (R43). Decides which buffers go there, and holds the slabs.
//! What is not possible with slabs is done with frames.

use bytes::Bytes;
use herder_core::Timestamp;
use herder_process::{ArgumentSlab, ResultMemory, ResultSlab, SlabError, SlabSocket};
use herder_wire::{Buffer, CallBuffers, SharedMemory, SlabIds};
use std::{
    collections::BTreeMap,
    io,
    num::NonZeroU64,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Buffers of at least this many bytes go to a slab. Smaller ones pass through the socket by one read.
const THRESHOLD: usize = 64 * 1024;
/// The bytes of a buffer begin at a multiple of this number: no two share a cache line.
const LINE: usize = 64;
/// The size of the smallest slab.
const MIN_SIZE: usize = 1 << 20;
/// The maximum number of slabs of a worker.
const MAX_SLABS: usize = 64;
/// The maximum number of slabs for results of a worker that it has not used yet: each has an open descriptor.
const MAX_UNOPENED: usize = 4;
/// The time after which an unused slab is dropped.
const UNUSED_LIMIT: Duration = Duration::from_secs(30);
/// The time after which an unused slab is dropped to make room. Without it, calls of two sizes that do not fit together would make
/// a new slab each.
const IDLE: Duration = Duration::from_secs(1);
/// The time for which no slab is made after one could not be: the system may refuse it only after it has allocated memory for
/// milliseconds, which each call would wait for.
const RETRY: Duration = Duration::from_secs(10);

/// The number of bytes that all slabs of a pool may have together. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct SlabBudget(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: u64,
    used: AtomicU64,
}

/// A part of the budget. It is released when the memory is.
#[derive(Debug)]
struct Reservation {
    budget: SlabBudget,
    bytes: u64,
}

impl SlabBudget {
    pub(crate) fn new(limit: u64) -> Self {
        Self(Arc::new(Budget { limit, used: AtomicU64::new(0) }))
    }

    /// Returns the bytes of the slabs, and their limit.
    pub(crate) fn usage(&self) -> (u64, u64) {
        (self.0.used.load(Ordering::Relaxed), self.0.limit)
    }

    fn reserve(&self, bytes: u64) -> Option<Reservation> {
        // Replies are dropped on any thread, but only numbers are shared: no order with other memory is needed.
        let add = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.0.limit);
        self.0.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).ok()?;
        Some(Reservation { budget: self.clone(), bytes })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// How a worker has violated the rules of slabs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SlabFault {
    #[error("named slab {0}, which it does not have for this purpose")]
    Unknown(u64),
    #[error("named slab {0}, which belongs to the host until it is freed")]
    InUse(u64),
    #[error("named {length} bytes from byte {offset} of slab {slab}, which has {size}")]
    Range { slab: u64, offset: u64, length: usize, size: usize },
    #[error("sent a result of {length} bytes with its slab; `max_frame` is {max_frame}")]
    TooLarge { length: usize, max_frame: u32 },
    #[error("freed slab {0}, which it was not using")]
    NotInUse(u64),
    #[error("dropped slab {0}, although the host has not asked for it")]
    NotDropped(u64),
    #[error("sent a result in slab {slab}: {source}")]
    Unreadable { slab: u64, source: SlabError },
}

/// The slabs of a worker.
#[derive(Debug)]
pub(crate) struct Slabs {
    socket: SlabSocket,
    budget: SlabBudget,
    last_id: u64,
    /// The slabs that the host writes.
    arguments: Table<ArgumentSlab>,
    /// The slabs that the worker writes.
    results: Table<Results>,
    /// The slabs whose results were read.
    returned: Arc<Returned>,
    /// Slabs that the worker must be told to use again.
    to_free: Vec<u64>,
    /// Slabs that the worker must be told to unmap.
    to_drop: Vec<u64>,
    /// When a slab could last not be made or sent.
    failed_at: Option<Timestamp>,
}

type Table<T> = BTreeMap<NonZeroU64, Slab<T>>;

#[derive(Debug)]
struct Slab<T> {
    memory: T,
    size: usize,
    state: SlabState,
    used_at: Timestamp,
    /// `None` for results that were opened: the memory holds it, which a reply can keep longer.
    reservation: Option<Reservation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlabState {
    /// Its writer may write to it.
    Free,
    /// It contains the buffers of a frame, for its reader.
    InUse,
    /// The worker was asked to unmap it and has not answered yet.
    Dropped,
}

/// The memory of a slab that the worker writes.
#[derive(Debug)]
enum Results {
    /// The worker has not used it yet.
    Unopened(ResultSlab),
    Open(Arc<OpenResults>),
    /// It could not be opened. The worker is being killed.
    Failed,
}

#[derive(Debug)]
struct OpenResults {
    memory: ResultMemory,
    _reservation: Option<Reservation>,
}

/// The numbers of slabs whose results were read, from any thread.
#[derive(Debug, Default)]
struct Returned(Mutex<Vec<NonZeroU64>>);

/// The buffers of one result in a slab. The slab is returned when it is dropped.
#[derive(Debug)]
struct Lease {
    results: Arc<OpenResults>,
    slab: NonZeroU64,
    returned: Arc<Returned>,
}

impl SharedMemory for Lease {
    fn copy_to(&self, offset: u64, target: &mut [u8]) {
        self.results.memory.copy_to(offset, target);
    }

    fn to_bytes(&self, offset: u64, length: usize) -> Bytes {
        self.results.memory.to_vec(offset, length).unwrap_or_default().into()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.returned.0.lock().unwrap_or_else(PoisonError::into_inner).push(self.slab);
    }
}

/// Returns the number of bytes that the large buffers among these, which are not in a slab, need in one.
pub(crate) fn needed(buffers: &[Buffer]) -> usize {
    buffers.iter().filter(|buffer| is_large(buffer)).map(|buffer| buffer.length().next_multiple_of(LINE)).sum()
}

fn is_large(buffer: &Buffer) -> bool {
    buffer.length() >= THRESHOLD && buffer.place().is_none()
}

impl Slabs {
    pub(crate) fn new(socket: SlabSocket, budget: SlabBudget) -> Self {
        Self {
            socket,
            budget,
            last_id: 0,
            arguments: Table::new(),
            results: Table::new(),
            returned: Arc::default(),
            to_free: Vec::new(),
            to_drop: Vec::new(),
            failed_at: None,
        }
    }

    /// Copies the large buffers of a call to a slab. Returns its number, and the buffers as the frame has them. `None`: there are
    /// none, or there is no room, and all of them go into the frame.
    pub(crate) fn write(&mut self, now: Timestamp, buffers: &CallBuffers) -> Option<(NonZeroU64, CallBuffers)> {
        let need = Some(needed(&buffers.buffers)).filter(|need| *need > 0)?;
        let id = smallest_free(&self.arguments, need).or_else(|| self.add_arguments(now, need))?;
        let slab = self.arguments.get_mut(&id)?;
        (slab.state, slab.used_at) = (SlabState::InUse, now);
        let mut position = 0;
        let mut place = |buffer: &Buffer| {
            let offset = position;
            if !is_large(buffer) || !slab.memory.write(offset, buffer.bytes()) {
                return buffer.clone();
            }
            position += buffer.length().next_multiple_of(LINE);
            buffer.placed(id, offset as u64)
        };
        let buffers = CallBuffers { take: buffers.take, buffers: buffers.buffers.iter().map(&mut place).collect() };
        Some((id, buffers))
    }

    /// Frees a slab whose frame was not written.
    pub(crate) fn take_back(&mut self, id: NonZeroU64) {
        if let Some(slab) = self.arguments.get_mut(&id) {
            slab.state = SlabState::Free;
        }
    }

    /// Finds the buffers of a result that are in a slab. `length` is that of the frame.
    pub(crate) fn find(
        &mut self,
        now: Timestamp,
        buffers: &mut [Buffer],
        length: usize,
        max_frame: u32,
    ) -> Result<(), SlabFault> {
        let places = buffers.iter().filter_map(Buffer::place);
        let length = places.map(|place| place.length).fold(length, usize::saturating_add);
        let Some(id) = buffers.iter().find_map(|buffer| Some(buffer.place()?.slab)) else { return Ok(()) };
        if length > max_frame as usize {
            return Err(SlabFault::TooLarge { length, max_frame });
        }
        self.take_returned();
        let slab = self.results.get_mut(&id).ok_or(SlabFault::Unknown(id.get()))?;
        if slab.state == SlabState::InUse {
            return Err(SlabFault::InUse(id.get()));
        }
        let results = slab.open().map_err(|source| SlabFault::Unreadable { slab: id.get(), source })?;
        for place in buffers.iter().filter_map(Buffer::place) {
            if !results.memory.contains(place.offset, place.length) {
                let (slab, offset, length, size) = (id.get(), place.offset, place.length, slab.size);
                return Err(SlabFault::Range { slab, offset, length, size });
            }
        }
        // A slab that the worker was asked to unmap stays dropped: its answer comes after this result.
        if slab.state == SlabState::Free {
            slab.state = SlabState::InUse;
        }
        slab.used_at = now;
        self.to_free.retain(|freed| *freed != id.get());
        let lease = Arc::new(Lease { results, slab: id, returned: self.returned.clone() });
        buffers.iter_mut().for_each(|buffer| buffer.find_in(lease.clone()));
        Ok(())
    }

    /// Sends the worker another slab for results, after one with large buffers in its frame, which need these bytes. Does nothing
    /// if the worker has a free one that is large enough.
    pub(crate) fn grant(&mut self, now: Timestamp, need: usize) {
        self.take_returned();
        let unopened = self.results.values().filter(|slab| matches!(slab.memory, Results::Unopened(_))).count();
        if need == 0 || smallest_free(&self.results, need).is_some() || unopened >= MAX_UNOPENED {
            return;
        }
        let Some((id, size, reservation)) = self.reserve(now, need) else { return };
        let made = ResultSlab::create(size);
        let made = made.and_then(|memory| self.socket.send(id.get(), memory.file()).map(|()| memory));
        if let Some(memory) = self.unless_failed(now, made) {
            self.results.insert(id, Slab::new(Results::Unopened(memory), size, now, reservation));
        }
    }

    /// Handles the end of the use of slabs for arguments.
    pub(crate) fn on_free(&mut self, now: Timestamp, SlabIds(ids): &SlabIds) -> Result<(), SlabFault> {
        for id in ids {
            let slab = NonZeroU64::new(*id).and_then(|id| self.arguments.get_mut(&id));
            let slab = slab.filter(|slab| slab.state == SlabState::InUse).ok_or(SlabFault::NotInUse(*id))?;
            (slab.state, slab.used_at) = (SlabState::Free, now);
        }
        Ok(())
    }

    /// Handles the worker's answer that it has unmapped slabs.
    pub(crate) fn on_drop(&mut self, SlabIds(ids): &SlabIds) -> Result<(), SlabFault> {
        for id in ids {
            let id = NonZeroU64::new(*id).ok_or(SlabFault::NotDropped(*id))?;
            if !remove_dropped(&mut self.arguments, id) && !remove_dropped(&mut self.results, id) {
                return Err(SlabFault::NotDropped(id.get()));
            }
        }
        Ok(())
    }

    /// Drops the slabs that were not used for [`UNUSED_LIMIT`]. Returns whether there were any.
    pub(crate) fn drop_unused(&mut self, now: Timestamp) -> bool {
        self.take_returned();
        self.drop_free(now, UNUSED_LIMIT);
        !self.to_drop.is_empty()
    }

    /// Takes what must be sent to the worker before its next call: the slabs that it may use again, and those that it must unmap.
    pub(crate) fn messages(&mut self) -> [Option<SlabIds>; 2] {
        self.take_returned();
        let take = |ids: &mut Vec<u64>| Some(SlabIds(std::mem::take(ids))).filter(|ids| !ids.0.is_empty());
        [take(&mut self.to_free), take(&mut self.to_drop)]
    }

    /// Takes the slabs whose results were read.
    fn take_returned(&mut self) {
        let returned = std::mem::take(&mut *self.returned.0.lock().unwrap_or_else(PoisonError::into_inner));
        for id in returned {
            if let Some(slab) = self.results.get_mut(&id).filter(|slab| slab.state == SlabState::InUse) {
                slab.state = SlabState::Free;
                self.to_free.push(id.get());
            }
        }
    }

    fn add_arguments(&mut self, now: Timestamp, need: usize) -> Option<NonZeroU64> {
        let (id, size, reservation) = self.reserve(now, need)?;
        let made = ArgumentSlab::create(size);
        let made = made.and_then(|(memory, file)| self.socket.send(id.get(), &file).map(|()| memory));
        let memory = self.unless_failed(now, made)?;
        self.arguments.insert(id, Slab::new(memory, size, now, reservation));
        Some(id)
    }

    /// Returns a slab that was made and sent. If it could not be, notes the time.
    fn unless_failed<T>(&mut self, now: Timestamp, made: io::Result<T>) -> Option<T> {
        if made.is_err() {
            self.failed_at = Some(now);
        }
        made.ok()
    }

    /// Returns the number and the size of a new slab for this number of bytes, within the limits. If they do not suffice, drops
    /// slabs that are not in use, which makes room for a later call.
    fn reserve(&mut self, now: Timestamp, need: usize) -> Option<(NonZeroU64, usize, Reservation)> {
        if self.failed_at.is_some_and(|at| now.since(at) < RETRY) {
            return None;
        }
        let size = size_for(need).filter(|size| *size as u64 <= self.budget.0.limit)?;
        let has_place = self.arguments.len() + self.results.len() < MAX_SLABS;
        let reservation = self.budget.reserve(size as u64).filter(|_| has_place);
        let Some(reservation) = reservation else {
            self.drop_free(now, IDLE);
            return None;
        };
        self.last_id += 1;
        Some((NonZeroU64::new(self.last_id)?, size, reservation))
    }

    fn drop_free(&mut self, now: Timestamp, unused: Duration) {
        let is_old = |used_at| now.since(used_at) >= unused;
        let mut dropped = drop_free_of(&mut self.arguments, is_old);
        dropped.extend(drop_free_of(&mut self.results, is_old));
        self.to_free.retain(|id| !dropped.contains(id));
        self.to_drop.extend(dropped);
    }
}

/// Removes a slab that the worker has unmapped. Returns whether it was asked to.
fn remove_dropped<T>(table: &mut Table<T>, id: NonZeroU64) -> bool {
    let is_dropped = table.get(&id).is_some_and(|slab| slab.state == SlabState::Dropped);
    is_dropped && table.remove(&id).is_some()
}

fn drop_free_of<T>(table: &mut Table<T>, is_old: impl Fn(Timestamp) -> bool) -> Vec<u64> {
    let old = table.iter_mut().filter(|(_, slab)| slab.state == SlabState::Free && is_old(slab.used_at));
    old.map(|(id, slab)| {
        slab.state = SlabState::Dropped;
        id.get()
    })
    .collect()
}

fn smallest_free<T>(table: &Table<T>, need: usize) -> Option<NonZeroU64> {
    let fitting = table.iter().filter(|(_, slab)| slab.state == SlabState::Free && slab.size >= need);
    fitting.min_by_key(|(_, slab)| slab.size).map(|(id, _)| *id)
}

/// Returns the size of a new slab for this number of bytes: at most an eighth more, or 1 MiB.
fn size_for(need: usize) -> Option<usize> {
    let granule = (need.checked_next_power_of_two()? / 8).max(MIN_SIZE);
    need.checked_next_multiple_of(granule)
}

impl<T> Slab<T> {
    fn new(memory: T, size: usize, now: Timestamp, reservation: Reservation) -> Self {
        Self { memory, size, state: SlabState::Free, used_at: now, reservation: Some(reservation) }
    }
}

impl Slab<Results> {
    /// Returns the memory. The first time, checks that reading it cannot fail.
    fn open(&mut self) -> Result<Arc<OpenResults>, SlabError> {
        if let Results::Unopened(_) = self.memory
            && let Results::Unopened(slab) = std::mem::replace(&mut self.memory, Results::Failed)
        {
            let open = OpenResults { memory: slab.open()?, _reservation: self.reservation.take() };
            self.memory = Results::Open(Arc::new(open));
        }
        match &self.memory {
            Results::Open(results) => Ok(results.clone()),
            Results::Unopened(_) | Results::Failed => Err(io::Error::other("it could not be mapped before").into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_exceed_the_need_by_an_eighth_or_one_mebibyte() {
        const MIB: usize = 1 << 20;
        for (need, size) in [(1, 1), (MIB, 1), (MIB + 1, 2), (9 * MIB, 10), (64 * MIB, 64), (65 * MIB, 80)] {
            assert_eq!(size_for(need), Some(size * MIB), "{need}");
        }
        assert_eq!(size_for(usize::MAX), None);
    }

    /// R43: the budget of a pool is never exceeded, and is whole again when all its parts are released.
    #[test]
    fn r43_a_budget_is_never_exceeded() {
        let budget = SlabBudget::new(10);
        let parts = [budget.reserve(6), budget.reserve(4)];
        assert!(parts.iter().all(Option::is_some) && budget.reserve(1).is_none() && budget.reserve(u64::MAX).is_none());
        drop(parts);
        assert!(budget.reserve(10).is_some());
    }

    #[cfg(target_os = "linux")]
    mod on_linux {
        use super::super::*;
        use std::os::fd::OwnedFd;

        const MIB: u64 = 1 << 20;

        /// Returns slabs with a budget of 3 MiB, and the worker's end of the socket, which must stay open.
        fn slabs() -> (Slabs, SlabBudget, OwnedFd) {
            let (socket, worker) = SlabSocket::pair().unwrap();
            let budget = SlabBudget::new(3 * MIB);
            (Slabs::new(socket, budget.clone()), budget, worker)
        }

        fn at(millis: u64) -> Timestamp {
            Timestamp(millis * 1_000_000)
        }

        fn buffers(sizes: &[usize]) -> CallBuffers {
            let buffers = sizes
                .iter()
                .enumerate()
                .map(|(number, size)| Buffer::from(vec![number as u8; *size]).named(&number.to_string()));
            CallBuffers { take: true, buffers: buffers.collect() }
        }

        fn ids(message: Option<SlabIds>) -> Vec<u64> {
            message.map_or(Vec::new(), |SlabIds(ids)| ids)
        }

        /// R43: only large buffers go to a slab, each at a place of its own. It is used again after it was freed, and not before.
        #[test]
        fn r43_a_slab_is_used_by_one_call_at_a_time() {
            let (mut slabs, _, _worker) = slabs();
            assert!(slabs.write(at(0), &buffers(&[10, THRESHOLD - 1])).is_none());
            let write = |slabs: &mut Slabs| {
                let (id, written) = slabs.write(at(0), &buffers(&[THRESHOLD + 1, 10, THRESHOLD]))?;
                let places =
                    written.buffers.iter().map(|buffer| buffer.place().map(|place| (place.slab, place.offset)));
                assert!(written.take && written.buffers[1].bytes().len() == 10);
                assert_eq!(places.collect::<Vec<_>>(), [Some((id, 0)), None, Some((id, (THRESHOLD + LINE) as u64))]);
                Some(id.get())
            };
            assert_eq!([write(&mut slabs), write(&mut slabs)], [Some(1), Some(2)]);
            assert!(matches!(slabs.on_free(at(0), &SlabIds(vec![3])), Err(SlabFault::NotInUse(3))));
            slabs.on_free(at(0), &SlabIds(vec![1])).unwrap();
            assert!(matches!(slabs.on_free(at(0), &SlabIds(vec![1])), Err(SlabFault::NotInUse(1))));
            assert_eq!(write(&mut slabs), Some(1));
            slabs.take_back(NonZeroU64::MIN);
            assert_eq!(
                [write(&mut slabs), write(&mut slabs), write(&mut slabs)],
                [Some(1), Some(3), None],
                "the budget"
            );
        }

        /// R43: unused slabs are dropped, and count until the worker has unmapped them.
        #[test]
        fn r43_unused_slabs_are_dropped() {
            let (mut slabs, budget, _worker) = slabs();
            let (used, _) = slabs.write(at(0), &buffers(&[THRESHOLD])).unwrap();
            let (unused, _) = slabs.write(at(0), &buffers(&[THRESHOLD])).unwrap();
            slabs.on_free(at(1000), &SlabIds(vec![unused.get()])).unwrap();
            assert!(!slabs.drop_unused(at(30_999)) && slabs.drop_unused(at(31_000)) && slabs.drop_unused(at(31_000)));
            let [freed, dropped] = slabs.messages();
            assert_eq!((ids(freed), ids(dropped)), (vec![], vec![unused.get()]));
            assert!(!slabs.drop_unused(at(90_000)), "the other one is in use");
            assert!(budget.reserve(2 * MIB).is_none());
            assert!(matches!(slabs.on_drop(&SlabIds(vec![used.get()])), Err(SlabFault::NotDropped(_))));
            slabs.on_drop(&SlabIds(vec![unused.get()])).unwrap();
            assert!(matches!(slabs.on_drop(&SlabIds(vec![unused.get()])), Err(SlabFault::NotDropped(_))));
            assert!(budget.reserve(2 * MIB).is_some());
        }

        /// R43: a larger buffer gets the room of slabs that are not in use, after the worker has unmapped them. One that can never
        /// fit takes none away.
        #[test]
        fn r43_slabs_make_room_for_others() {
            let (mut slabs, budget, _worker) = slabs();
            let (small, _) = slabs.write(at(0), &buffers(&[THRESHOLD])).unwrap();
            slabs.on_free(at(0), &SlabIds(vec![small.get()])).unwrap();
            assert!(
                slabs.write(at(2000), &buffers(&[4 << 20])).is_none() && ids(slabs.messages()[1].take()).is_empty()
            );
            assert!(slabs.write(at(999), &buffers(&[3 << 20])).is_none() && ids(slabs.messages()[1].take()).is_empty());
            assert!(slabs.write(at(1000), &buffers(&[3 << 20])).is_none(), "the worker has not answered yet");
            assert_eq!(ids(slabs.messages()[1].take()), [small.get()]);
            slabs.on_drop(&SlabIds(vec![small.get()])).unwrap();
            assert!(slabs.write(at(1000), &buffers(&[3 << 20])).is_some());
            drop(slabs);
            assert!(budget.reserve(3 * MIB).is_some(), "the end of the worker releases all");
        }

        /// R43: after an attempt that failed, the next ones come only later. Until then, nothing is allocated.
        #[test]
        fn r43_slabs_that_cannot_be_made_are_not_tried_for_each_call() {
            let (mut slabs, budget, worker) = slabs();
            drop(worker);
            for (millis, attempts) in [(0, 1), (9_999, 1), (10_000, 2), (19_999, 2)] {
                assert!(slabs.write(at(millis), &buffers(&[THRESHOLD])).is_none());
                slabs.grant(at(millis), THRESHOLD);
                assert_eq!(slabs.last_id, attempts, "{millis}");
            }
            assert!(slabs.results.is_empty() && budget.reserve(3 * MIB).is_some());
        }

        /// R43: a worker gets one slab for results, and another one only if that one is in use or too small; and never many that
        /// it does not use, since each has a descriptor.
        #[test]
        fn r43_slabs_for_results_are_granted_one_after_another() {
            let (mut slabs, _, _worker) = slabs();
            slabs.budget = SlabBudget::new(1000 * MIB);
            (0..3).for_each(|_| slabs.grant(at(0), THRESHOLD));
            assert_eq!(slabs.results.len(), 1);
            (1..20).for_each(|size| slabs.grant(at(0), size << 20));
            assert_eq!(slabs.results.values().map(|slab| slab.size >> 20).collect::<Vec<_>>(), [1, 2, 3, 4]);
        }
    }
}
