//! Memory of slabs that the host holds. To release a large one takes long, and is left to a thread for blocking work.

use super::budget::Reservation;
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    thread,
};
use tokio::runtime::Handle;

/// Up to so many bytes are released where they are dropped: this takes less time than waking another thread.
const SHORT_RELEASE: u64 = 1 << 20;

/// Memory of a slab, with its part of the budget, which is released after the memory.
///
/// The system frees the pages of a slab when its last mapping or file is closed: about 30 ms for 64 MiB. So more than [`SHORT_RELEASE`] is
/// released on a thread for blocking work of the current runtime. Without a runtime, or without a thread, it is released at once.
#[derive(Debug)]
pub(crate) struct Held<T: Send + 'static>(Option<(T, Reservation)>);

impl<T: Send + 'static> Held<T> {
    pub(super) fn new(memory: T, reservation: Reservation) -> Self {
        Self(Some((memory, reservation)))
    }

    /// Returns the memory. `None` cannot be seen: only [`into_parts`](Self::into_parts) and the drop take it.
    pub(super) fn get(&self) -> Option<&T> {
        self.0.as_ref().map(|(memory, _)| memory)
    }

    pub(super) fn get_mut(&mut self) -> Option<&mut T> {
        self.0.as_mut().map(|(memory, _)| memory)
    }

    pub(super) fn into_parts(mut self) -> Option<(T, Reservation)> {
        self.0.take()
    }
}

impl<T: Send + 'static> Drop for Held<T> {
    fn drop(&mut self) {
        let Some(parts) = self.0.take() else { return };
        if parts.1.bytes() > SHORT_RELEASE && !thread::panicking() {
            drop_on_another_thread(parts);
        }
    }
}

fn drop_on_another_thread(parts: impl Send + 'static) {
    let Ok(runtime) = Handle::try_current() else { return };
    let parts = Arc::new(Mutex::new(Some(parts)));
    let release = |parts: &Mutex<Option<_>>| drop(parts.lock().unwrap_or_else(PoisonError::into_inner).take());
    let theirs = parts.clone();
    // Tokio panics if the system refuses the first thread. It keeps the task then.
    if catch_unwind(AssertUnwindSafe(|| runtime.spawn_blocking(move || release(&theirs)))).is_err() {
        release(&parts);
    }
}
