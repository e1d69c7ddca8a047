//! Room for the slabs of one worker among those of the others.

use super::State;
use herder_core::WorkerRef;

impl State {
    /// Begins a slab for the results of a worker, which need this many bytes.
    pub(crate) fn grant_slab(&mut self, worker: WorkerRef, need: usize) {
        let now = self.clock.now();
        if let Some(link) = self.link(worker) {
            link.grant_slab(now, need);
        }
        self.make_room(worker);
    }

    /// Lets other workers drop slabs that are not in use, if a slab of this one had no room. It is made for a later call.
    pub(super) fn make_room(&mut self, worker: WorkerRef) {
        let slabs = self.link(worker).and_then(|link| link.slabs.as_mut());
        let Some(mut missing) = slabs.and_then(|slabs| slabs.take_missing()) else { return };
        let now = self.clock.now();
        for link in self.links.iter_mut().flatten().filter(|link| link.worker != worker) {
            missing = missing.saturating_sub(link.drop_idle_slabs(now, missing));
            if missing == 0 {
                break;
            }
        }
    }
}
