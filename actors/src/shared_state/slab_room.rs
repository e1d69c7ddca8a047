//! Room for the slab of a worker among those of all workers.

use super::State;
use herder_core::{Timestamp, WorkerRef};

impl State {
    /// Begins a slab for the results of a worker, which need this many bytes.
    pub(crate) fn grant_slab(&mut self, worker: WorkerRef, need: usize) {
        let now = self.clock.now();
        if let Some(link) = self.link(worker) {
            link.grant_slab(now, need);
        }
        self.make_room(worker);
    }

    /// Lets workers drop slabs that are not in use, if a slab of this one had no room and they suffice: first those of this worker, then
    /// those of the others. It is made for a later call.
    pub(super) fn make_room(&mut self, worker: WorkerRef) {
        let slabs = self.link(worker).and_then(|link| link.slabs.as_mut());
        let Some(size) = slabs.and_then(|slabs| slabs.take_missing()) else { return };
        let now = self.clock.now();
        let mut missing = self.missing_room(now, size);
        // From this worker on, so that not always the first ones lose theirs. The slabs of a stopping worker are released soon.
        let own = (worker.id.0 as usize).saturating_sub(1).min(self.links.len());
        let (before, from_own) = self.links.split_at_mut(own);
        let links = from_own.iter_mut().chain(before).flatten();
        let mut links: Vec<_> = links.filter(|link| !link.is_stopping()).collect();
        let idle: usize = links.iter_mut().filter_map(|link| link.slabs.as_mut()).map(|slabs| slabs.idle(now)).sum();
        // Slabs that do not suffice stay: calls that fit into them use them.
        if idle < missing {
            return;
        }
        for link in links {
            if missing == 0 {
                break;
            }
            missing = missing.saturating_sub(link.drop_idle_slabs(now, missing));
        }
    }

    /// Returns how many bytes workers must release for a slab of this size, beside those that they were asked for.
    fn missing_room(&self, now: Timestamp, size: usize) -> usize {
        let (used, limit) = self.slab_budget.usage();
        let free = usize::try_from(limit.saturating_sub(used)).unwrap_or(usize::MAX);
        let slabs = self.links().filter_map(|link| link.slabs.as_ref());
        let being_dropped: usize = slabs.map(|slabs| slabs.being_dropped(now)).sum();
        size.saturating_sub(free).saturating_sub(being_dropped)
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use crate::{
        Buffers, PoolConfig,
        clock::Clock,
        shared_state::{Link, Slabs},
        testing::ScriptedChild,
    };
    use herder_core::{Generation, KillReason, WorkerId};
    use herder_process::SlabSocket;
    use herder_wire::{Buffer, CallBuffers, SlabIds};
    use std::{os::fd::OwnedFd, rc::Rc, time::Duration};

    const MIB: usize = 1 << 20;

    /// A pool with a budget of 8 MiB, whose workers have so many slabs of 1 MiB that were not used for long.
    struct Pool {
        state: State,
        _sockets: Vec<OwnedFd>,
    }

    impl Pool {
        fn new(idle: &[usize]) -> Self {
            let config = PoolConfig::basic("room").command(["scripted"]).pool_size(idle.len());
            let config = config.buffers(Buffers::new().max_bytes(8 * MIB)).build().unwrap();
            let mut state = State::new(config, 1, Clock::default());
            let sockets = (1..).zip(idle).map(|(number, idle)| connect(&mut state, worker(number), *idle)).collect();
            Self { state, _sockets: sockets }
        }

        fn stop(&mut self, number: u32) {
            let link = self.state.link(worker(number)).unwrap();
            link.stop(KillReason::Stopped, Duration::ZERO, Duration::ZERO);
        }

        /// Lets a worker need a slab of this size. Returns how much each worker is asked to drop then, in all.
        fn wants(&mut self, number: u32, mib: usize) -> Vec<usize> {
            self.state.grant_slab(worker(number), mib * MIB);
            let now = self.state.clock.now();
            self.state.links().map(|link| link.slabs.as_ref().unwrap().being_dropped(now) / MIB).collect()
        }
    }

    fn worker(number: u32) -> WorkerRef {
        WorkerRef { id: WorkerId(number), generation: Generation(1) }
    }

    /// Returns the worker's end of its socket.
    fn connect(state: &mut State, worker: WorkerRef, idle: usize) -> OwnedFd {
        let mut link = Link::new(worker, Rc::new(ScriptedChild::new(1)), 1 << 20, 1 << 18, state.clock.clone());
        let (socket, end) = SlabSocket::pair().unwrap();
        let mut slabs = Slabs::new(socket, state.slab_budget.clone());
        let (long_ago, buffers) = (Timestamp(0), vec![Buffer::from(vec![0; MIB])]);
        let placed: Vec<_> = (0..idle)
            .map(|_| slabs.place(long_ago, &CallBuffers { take: false, buffers: buffers.clone() }, 0).unwrap())
            .collect();
        for slab in placed {
            assert!(slabs.finish(long_ago, slab.slab, slab.work.unwrap().run()));
            slabs.on_free(long_ago, &SlabIds(vec![slab.slab.get()])).unwrap();
        }
        link.slabs = Some(slabs);
        state.connect(link);
        end
    }

    /// R43: the worker itself and then the next ones are asked, each for no more than is missing, and nobody for what was asked for
    /// already.
    #[test]
    fn r43_workers_take_turns_to_make_room() {
        assert_eq!(Pool::new(&[0, 3, 3]).wants(1, 2), [0, 0, 0], "there is room");
        assert_eq!(Pool::new(&[0, 3, 3]).wants(1, 3), [0, 1, 0]);
        assert_eq!(Pool::new(&[2, 2, 2]).wants(2, 5), [0, 2, 1]);
        assert_eq!(Pool::new(&[3, 0, 3]).wants(2, 3), [0, 0, 1]);
        assert_eq!(Pool::new(&[3, 3, 0]).wants(3, 3), [1, 0, 0]);
        let mut pool = Pool::new(&[3, 0, 3]);
        assert_eq!(pool.wants(2, 6), [1, 0, 3]);
        assert_eq!(pool.wants(2, 6), [1, 0, 3], "it is on its way");
        assert_eq!(pool.wants(2, 7), [2, 0, 3]);
    }

    /// R43: no worker is asked if that cannot suffice. What a stopping one has is released soon, and is not asked for.
    #[test]
    fn r43_slabs_are_kept_that_cannot_make_enough_room() {
        assert_eq!(Pool::new(&[0, 3, 3]).wants(1, 8), [0, 3, 3]);
        let mut pool = Pool::new(&[0, 3, 3]);
        pool.stop(2);
        assert_eq!(pool.wants(1, 6), [0, 0, 0]);
        assert_eq!(pool.wants(1, 5), [0, 0, 3]);
    }
}
