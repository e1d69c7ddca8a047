//! Writes the frames of an outbox: everything that is queued, with one vectored write. Has the work done that must come first.

use super::socket::WorkerSocket;
use crate::shared_state::{Link, Made, Outbox, PendingFrame, SharedState, SlabWork};
use herder_core::WorkerRef;
use std::{
    io,
    io::IoSlice,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::{sync::Notify, task::spawn_blocking};

/// The maximum number of slices per write; further slices follow in the next write.
const MAX_SLICES: usize = 64;

/// Writes until the peer closes, then waits for ever: the reader or the exit reports what happened. The caller must give
/// `outbox` the same descriptor's outbox as `wake` belongs to. `on_written` is called when everything was written.
pub(super) async fn run(
    shared_state: &SharedState,
    worker: WorkerRef,
    stream: &WorkerSocket,
    wake: &Notify,
    outbox: impl Fn(&mut Link) -> &mut Outbox,
    on_written: impl Fn(&mut Link),
) {
    let mut writing = Outbox::default();
    loop {
        // The bytes are moved out of the link, since the borrow of the state must not be held across the write, and steps add
        // frames meanwhile. A frame that was written in part stays at the front of `writing`.
        if let Some(link) = shared_state.borrow_mut().link(worker) {
            outbox(link).move_into(&mut writing);
            if writing.is_empty() {
                on_written(link);
            }
        }
        if let Some(frame) = writing.take_pending() {
            writing.put_first(finish(shared_state, worker, *frame).await);
            continue;
        }
        if writing.is_empty() {
            // No wake-up is lost between the check and the wait: `notify_one` stores a permit if nothing waits.
            wake.notified().await;
            continue;
        }
        if write_some(stream, &mut writing).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Has the work on a slab done on another thread, and returns the frame that follows from its outcome. Others wait behind it, so that
/// a worker has one such thread at a time.
///
/// If this is dropped because the process has exited, work that has not begun never does. Other work goes on, and what it owns is
/// released at its end.
async fn finish(shared_state: &SharedState, worker: WorkerRef, frame: PendingFrame) -> Outbox {
    let PendingFrame { work, with_slab, without_slab } = frame;
    let slab = work.slab();
    let made = on_another_thread(work).await;
    let mut state = shared_state.borrow_mut();
    let now = state.clock().now();
    let link = state.link(worker); // `None`: the state was rebuilt, and the process is being killed
    let is_there = link.is_some_and(|link| link.finish_work(now, slab, made));
    if is_there { with_slab } else { without_slab }
}

async fn on_another_thread(work: SlabWork) -> io::Result<Made> {
    let take = |work: &Mutex<Option<SlabWork>>| work.lock().unwrap_or_else(PoisonError::into_inner).take();
    let work = Arc::new(Mutex::new(Some(work)));
    let theirs = Arc::downgrade(&work);
    let run = move || theirs.upgrade().and_then(|work| take(&work)).map(SlabWork::run);
    // Tokio panics if the system refuses the first thread. The work is then done here, and the pool waits.
    let begun = catch_unwind(AssertUnwindSafe(|| spawn_blocking(run)));
    let made = match begun {
        Ok(task) => task.await.ok().flatten(),
        Err(_) => None,
    };
    let again = || take(&work).map(SlabWork::run);
    made.or_else(again).unwrap_or_else(|| Err(io::Error::other("the work on a slab panicked")))
}

async fn write_some(stream: &WorkerSocket, writing: &mut Outbox) -> io::Result<()> {
    loop {
        let mut room = [IoSlice::new(&[]); MAX_SLICES];
        let filled = writing.slices(&mut room);
        match stream.try_write(&room[..filled]) {
            Ok(written) => {
                writing.advance(written);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
}
