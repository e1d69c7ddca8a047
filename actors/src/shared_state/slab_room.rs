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
