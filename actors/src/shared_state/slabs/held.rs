//! Memory of slabs that the host holds. To release a large one takes long, and is left to a thread of its own.

use super::budget::Reservation;
use std::thread;
use tokio::runtime::Handle;

/// Up to so many bytes are released where they are dropped: this takes less time than starting a thread.
const SHORT_RELEASE: u64 = 1 << 20;
const STACK_SIZE: usize = 64 * 1024;

/// Memory of a slab, with its part of the budget, which is released after the memory.
///
/// The system frees the pages of a slab when its last mapping or file is closed: about 30 ms for 64 MiB. So more than [`SHORT_RELEASE`] is
/// released on a thread of its own where a runtime may wait for it, and not on one for blocking work of the runtime: all of these may be
/// taken for long, and the budget with them. Elsewhere, or if the system refuses the thread, it is released at once.
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

    #[cfg(feature = "fault-injection")]
    pub(super) fn reservation(&self) -> Option<&Reservation> {
        self.0.as_ref().map(|(_, reservation)| reservation)
    }

    pub(super) fn into_parts(mut self) -> Option<(T, Reservation)> {
        self.0.take()
    }
}

impl<T: Send + 'static> Drop for Held<T> {
    fn drop(&mut self) {
        let Some(parts) = self.0.take() else { return };
        if parts.1.bytes() > SHORT_RELEASE && !thread::panicking() && Handle::try_current().is_ok() {
            // A thread that cannot be started drops what it was to drop.
            let _ =
                thread::Builder::new().name("herder-release".into()).stack_size(STACK_SIZE).spawn(move || drop(parts));
        }
    }
}
