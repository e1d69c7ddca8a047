//! The slabs of one worker: memory that both share, for large buffers (R43). Decides which buffers go there, and holds the slabs.
//! What is not possible with slabs is done with frames. What takes long is left to a thread of the worker's writer ([`SlabWork`]).

mod budget;
mod held;
mod work;

pub(crate) use budget::SlabBudget;
pub(crate) use work::{Made, SlabWork};

use bytes::Bytes;
use held::Held;
use herder_core::Timestamp;
use herder_process::{ResultMemory, ResultSlab, SlabError, SlabSocket};
use herder_wire::{Buffer, CallBuffers, SharedMemory, SlabIds};
use std::{
    collections::BTreeMap,
    io,
    num::NonZeroU64,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use work::{ArgumentMemory, New, Source, Task};

/// Buffers of at least this many bytes go to a slab. Smaller ones pass through the socket by one read.
const THRESHOLD: usize = 64 * 1024;
/// Up to so many bytes are copied to slabs of one worker by the steps that send calls, before its writer writes them: this takes less
/// time than waking another thread.
pub(super) const SHORT_COPY: usize = 1 << 20;
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
    #[error("dropped slab {0}, although the host has not asked for it and no call has its arguments there")]
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
    arguments: Table<Option<ArgumentMemory>>,
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
    /// The size of a slab for which the budget had no room, until the pool has asked other workers for it.
    missing: Option<usize>,
}

/// The buffers of a call, of which the large ones are in a slab.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) slab: NonZeroU64,
    /// The buffers as the frame has them.
    pub(crate) buffers: CallBuffers,
    /// What must be done before the frame is written.
    pub(crate) work: Option<SlabWork>,
    /// How many bytes were copied already.
    pub(crate) copied: usize,
}

type Table<T> = BTreeMap<NonZeroU64, Slab<T>>;

#[derive(Debug)]
struct Slab<T> {
    /// For arguments, `None` while it is being made or filled: the memory is with the [`SlabWork`].
    memory: T,
    size: usize,
    state: SlabState,
    used_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlabState {
    /// Its writer may write to it.
    Free,
    /// It is being made, or filled with arguments. Its reader does not know of it yet.
    Pending,
    /// It contains the buffers of a frame, for its reader.
    InUse,
    /// The worker was asked to unmap it and has not answered yet.
    Dropped,
}

/// The memory of a slab that the worker writes.
#[derive(Debug)]
enum Results {
    /// It is being made.
    Pending,
    /// The worker has not used it yet.
    Unopened(Held<ResultSlab>),
    /// A reply can keep it longer than the worker lives.
    Open(Arc<Held<ResultMemory>>),
    /// It could not be opened. The worker is being killed.
    Failed,
}

/// The numbers of slabs whose results were read, from any thread.
#[derive(Debug, Default)]
struct Returned(Mutex<Vec<NonZeroU64>>);

/// The buffers of one result in a slab. The slab is returned when it is dropped.
#[derive(Debug)]
struct Lease {
    results: Arc<Held<ResultMemory>>,
    slab: NonZeroU64,
    returned: Arc<Returned>,
}

impl SharedMemory for Lease {
    fn copy_to(&self, offset: u64, target: &mut [u8]) {
        self.results.get().map(|memory| memory.copy_to(offset, target));
    }

    fn to_bytes(&self, offset: u64, length: usize) -> Bytes {
        self.results.get().and_then(|memory| memory.to_vec(offset, length)).unwrap_or_default().into()
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

/// Returns the buffers with the large ones in this slab, and what must be copied there.
fn placed(slab: NonZeroU64, CallBuffers { take, buffers }: &CallBuffers) -> (CallBuffers, Vec<Source>) {
    let (mut position, mut sources) = (0, Vec::new());
    let buffers = buffers.iter().map(|buffer| {
        if !is_large(buffer) {
            return buffer.clone();
        }
        let offset = position;
        position += buffer.length().next_multiple_of(LINE);
        sources.push(Source { offset, bytes: buffer.bytes().clone() });
        buffer.placed(slab, offset as u64)
    });
    let buffers = CallBuffers { take: *take, buffers: buffers.collect() };
    (buffers, sources)
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
            missing: None,
        }
    }

    /// Finds a slab for the large buffers of a call. `None`: there are none, or there is no room, and all of them go into the frame.
    ///
    /// Copies buffers of up to `may_copy` bytes at once, if the worker has a slab for them.
    pub(crate) fn place(&mut self, now: Timestamp, buffers: &CallBuffers, may_copy: usize) -> Option<Placed> {
        let need = Some(needed(&buffers.buffers)).filter(|need| *need > 0)?;
        let Some(id) = smallest_free(&self.arguments, need) else { return self.place_in_new(now, need, buffers) };
        let slab = self.arguments.get_mut(&id)?;
        let mut memory = slab.memory.take()?;
        let (buffers, sources) = placed(id, buffers);
        slab.used_at = now;
        if need <= may_copy {
            memory.fill(&sources);
            (slab.state, slab.memory) = (SlabState::InUse, Some(memory));
            return Some(Placed { slab: id, buffers, work: None, copied: need });
        }
        slab.state = SlabState::Pending;
        Some(Placed { slab: id, buffers, work: Some(SlabWork::new(id, Task::Fill(memory, sources))), copied: 0 })
    }

    fn place_in_new(&mut self, now: Timestamp, need: usize, buffers: &CallBuffers) -> Option<Placed> {
        let (id, new) = self.reserve(now, need)?;
        self.arguments.insert(id, Slab { memory: None, size: new.size, state: SlabState::Pending, used_at: now });
        let (buffers, sources) = placed(id, buffers);
        Some(Placed { slab: id, buffers, work: Some(SlabWork::new(id, Task::MakeArguments(new, sources))), copied: 0 })
    }

    /// Frees a slab whose frame is not written.
    pub(crate) fn take_back(&mut self, Placed { slab: id, work, .. }: Placed) {
        let Some(slab) = self.arguments.get_mut(&id) else { return };
        match work.map(SlabWork::into_task) {
            None => slab.state = SlabState::Free,
            Some(Task::Fill(memory, _)) => (slab.state, slab.memory) = (SlabState::Free, Some(memory)),
            Some(Task::MakeArguments(..) | Task::MakeResults(_)) => drop(self.arguments.remove(&id)),
        }
    }

    /// Records the end of the work on a slab, and sends the slab to the worker if it is new. Returns whether the worker has it now.
    pub(crate) fn finish(&mut self, now: Timestamp, id: NonZeroU64, made: io::Result<Made>) -> bool {
        let sent = made.and_then(|made| match made.new_file() {
            Some(file) => self.socket.send(id.get(), file).map(|()| made),
            None => Ok(made),
        });
        match sent {
            Ok(Made::Arguments(memory, _)) => {
                if let Some(slab) = self.arguments.get_mut(&id) {
                    (slab.memory, slab.state, slab.used_at) = (Some(memory), SlabState::InUse, now);
                }
            }
            Ok(Made::Results(memory)) => {
                if let Some(slab) = self.results.get_mut(&id) {
                    slab.memory = Results::Unopened(memory);
                    (slab.state, slab.used_at) = (SlabState::Free, now);
                }
            }
            Err(_) => {
                self.failed_at = Some(now);
                self.arguments.remove(&id);
                self.results.remove(&id);
                return false;
            }
        }
        true
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
        let slab = self.results.get_mut(&id).filter(|slab| slab.state != SlabState::Pending);
        let slab = slab.ok_or(SlabFault::Unknown(id.get()))?;
        if slab.state == SlabState::InUse {
            return Err(SlabFault::InUse(id.get()));
        }
        let results = slab.open().map_err(|source| SlabFault::Unreadable { slab: id.get(), source })?;
        for place in buffers.iter().filter_map(Buffer::place) {
            if !results.get().is_some_and(|memory| memory.contains(place.offset, place.length)) {
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

    /// Begins another slab for results, after one with large buffers in its frame, which need these bytes. Does nothing if the worker
    /// has a free one that is large enough, or gets it.
    pub(crate) fn grant(&mut self, now: Timestamp, need: usize) -> Option<SlabWork> {
        self.take_returned();
        let is_unopened = |slab: &&Slab<Results>| matches!(slab.memory, Results::Pending | Results::Unopened(_));
        let is_pending = |slab: &Slab<Results>| slab.state == SlabState::Pending && slab.size >= need;
        let suffices = smallest_free(&self.results, need).is_some() || self.results.values().any(is_pending);
        if need == 0 || suffices || self.results.values().filter(is_unopened).count() >= MAX_UNOPENED {
            return None;
        }
        let (id, new) = self.reserve(now, need)?;
        let slab = Slab { memory: Results::Pending, size: new.size, state: SlabState::Pending, used_at: now };
        self.results.insert(id, slab);
        Some(SlabWork::new(id, Task::MakeResults(new)))
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

    /// Handles the worker's answer that it has unmapped slabs, or that it could not get one for the arguments of a call. It then gets
    /// no new ones for [`RETRY`].
    pub(crate) fn on_drop(&mut self, now: Timestamp, SlabIds(ids): &SlabIds) -> Result<(), SlabFault> {
        for id in ids {
            let id = NonZeroU64::new(*id).ok_or(SlabFault::NotDropped(*id))?;
            if self.arguments.get(&id).is_some_and(|slab| slab.state == SlabState::InUse) {
                self.arguments.remove(&id);
                self.failed_at = Some(now);
            } else if !remove_dropped(&mut self.arguments, id) && !remove_dropped(&mut self.results, id) {
                return Err(SlabFault::NotDropped(id.get()));
            }
        }
        Ok(())
    }

    /// Drops the slabs that were not used for [`UNUSED_LIMIT`]. Returns whether there were any.
    pub(crate) fn drop_unused(&mut self, now: Timestamp) -> bool {
        self.take_returned();
        self.drop_free(now, UNUSED_LIMIT, usize::MAX);
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

    /// Returns the number and the size of a new slab for this number of bytes, within the limits. Bytes that are missing are left to
    /// the pool, which knows whether the unused slabs of all workers suffice ([`take_missing`](Self::take_missing)).
    fn reserve(&mut self, now: Timestamp, need: usize) -> Option<(NonZeroU64, New)> {
        if self.failed_at.is_some_and(|at| now.since(at) < RETRY) {
            return None;
        }
        let size = size_for(need).filter(|size| *size as u64 <= self.budget.usage().1)?;
        let has_place = self.arguments.len() + self.results.len() < MAX_SLABS;
        let reservation = self.budget.reserve(size as u64);
        if !has_place {
            self.drop_free(now, IDLE, 1); // one, which is enough for a later call
        }
        self.missing = reservation.is_none().then_some(size);
        let reservation = reservation.filter(|_| has_place)?;
        self.last_id += 1;
        Some((NonZeroU64::new(self.last_id)?, New { size, reservation }))
    }

    /// Returns the size of a slab that had no room since the last call of this.
    pub(crate) fn take_missing(&mut self) -> Option<usize> {
        self.missing.take()
    }

    /// Returns how many bytes are about to be released: the worker was asked for them a moment ago.
    pub(crate) fn being_dropped(&self, now: Timestamp) -> usize {
        bytes_in(&self.arguments, SlabState::Dropped, |at| now.since(at) < IDLE)
            + bytes_in(&self.results, SlabState::Dropped, |at| now.since(at) < IDLE)
    }

    /// Returns how many bytes [`drop_idle`](Self::drop_idle) can drop.
    pub(crate) fn idle(&mut self, now: Timestamp) -> usize {
        self.take_returned();
        bytes_in(&self.arguments, SlabState::Free, |at| now.since(at) >= IDLE)
            + bytes_in(&self.results, SlabState::Free, |at| now.since(at) >= IDLE)
    }

    /// Drops slabs that are not in use until at least this many bytes are dropped, to make room for another slab, of this or another
    /// worker. Returns how many bytes these are.
    pub(crate) fn drop_idle(&mut self, now: Timestamp, wanted: usize) -> usize {
        self.take_returned();
        self.drop_free(now, IDLE, wanted)
    }

    /// Drops slabs that were not used for this time, until at least `wanted` bytes are dropped. Returns how many bytes these are.
    fn drop_free(&mut self, now: Timestamp, unused: Duration, wanted: usize) -> usize {
        let dropped = drop_free_of(&mut self.arguments, now, unused, wanted);
        let bytes: usize = dropped.iter().map(|(_, size)| size).sum();
        let dropped_results = drop_free_of(&mut self.results, now, unused, wanted.saturating_sub(bytes));
        self.to_free.retain(|id| dropped_results.iter().all(|(dropped, _)| dropped != id));
        self.to_drop.extend(dropped.iter().chain(&dropped_results).map(|(id, _)| *id));
        dropped_results.iter().fold(bytes, |sum, (_, size)| sum + size)
    }
}

/// Removes a slab that the worker has unmapped. Returns whether it was asked to.
fn remove_dropped<T>(table: &mut Table<T>, id: NonZeroU64) -> bool {
    let is_dropped = table.get(&id).is_some_and(|slab| slab.state == SlabState::Dropped);
    is_dropped && table.remove(&id).is_some()
}

/// Drops free slabs until at least `wanted` bytes are dropped. Returns their numbers and sizes.
fn drop_free_of<T>(table: &mut Table<T>, now: Timestamp, unused: Duration, wanted: usize) -> Vec<(u64, usize)> {
    let is_old = |slab: &Slab<T>| slab.state == SlabState::Free && now.since(slab.used_at) >= unused;
    let old = table.iter_mut().filter(|(_, slab)| is_old(slab));
    let mut bytes = 0;
    let needed = old.take_while(|(_, slab)| {
        let is_wanted = bytes < wanted;
        bytes += slab.size;
        is_wanted
    });
    needed
        .map(|(id, slab)| {
            (slab.state, slab.used_at) = (SlabState::Dropped, now);
            (id.get(), slab.size)
        })
        .collect()
}

/// Returns the bytes of the slabs in this state that were last used at such a time.
fn bytes_in<T>(table: &Table<T>, state: SlabState, is_then: impl Fn(Timestamp) -> bool) -> usize {
    table.values().filter(|slab| slab.state == state && is_then(slab.used_at)).map(|slab| slab.size).sum()
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

impl Slab<Results> {
    /// Returns the memory. The first time, checks that reading it cannot fail.
    fn open(&mut self) -> Result<Arc<Held<ResultMemory>>, SlabError> {
        if let Results::Unopened(_) = self.memory
            && let Results::Unopened(slab) = std::mem::replace(&mut self.memory, Results::Failed)
            && let Some((slab, reservation)) = slab.into_parts()
        {
            self.memory = Results::Open(Arc::new(Held::new(slab.open()?, reservation)));
        }
        match &self.memory {
            Results::Open(results) => Ok(results.clone()),
            Results::Pending | Results::Unopened(_) | Results::Failed => {
                Err(io::Error::other("it could not be mapped before").into())
            }
        }
    }
}

#[cfg(test)]
mod tests;
