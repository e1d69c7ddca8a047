//! Writes the frames of an outbox: everything that is queued, with one vectored write. Has the work done that must come first.

use super::{slab_thread::SlabThread, socket::WorkerSocket};
use crate::shared_state::{Link, Outbox, SharedState, SlabWork};
use herder_core::WorkerRef;
use std::{io, io::IoSlice};
use tokio::sync::Notify;

/// The maximum number of slices per write; further slices follow in the next write.
const MAX_SLICES: usize = 64;

/// Writes until the peer closes, then waits for ever: the reader or the exit reports what happened. `take` moves what is queued for the
/// descriptor to `writing`, which keeps what is not written yet. It is called again when everything was written.
pub(super) async fn run(
    shared_state: &SharedState,
    worker: WorkerRef,
    stream: &WorkerSocket,
    wake: &Notify,
    writing: &mut Outbox,
    take: impl Fn(&mut Link, &mut Outbox),
) {
    let mut slab_thread = SlabThread::default();
    loop {
        // The bytes are moved out of the link, since the borrow of the state must not be held across the write, and steps add
        // frames meanwhile. A frame that was written in part stays at the front of `writing`.
        if let Some(link) = shared_state.borrow_mut().link(worker) {
            take(link, writing);
        }
        if let Some(work) = writing.take_work() {
            // The frame stays in `writing` meanwhile: it is not lost with this future if the process exits.
            let has_slab = finish(shared_state, worker, &mut slab_thread, work).await;
            writing.finish_work(has_slab);
            continue;
        }
        if writing.is_empty() {
            // No wake-up is lost between the check and the wait: `notify_one` stores a permit if nothing waits.
            wake.notified().await;
            continue;
        }
        if write_some(stream, writing).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Has the work on a slab done on another thread, and returns whether the worker has the slab then. Other frames wait behind it, so that
/// a worker has one piece of such work at a time.
async fn finish(shared_state: &SharedState, worker: WorkerRef, slab_thread: &mut SlabThread, work: SlabWork) -> bool {
    let slab = work.slab();
    let made = slab_thread.run(work).await;
    let mut state = shared_state.borrow_mut();
    let now = state.clock().now();
    let link = state.link(worker); // `None`: the state was rebuilt, and the process is being killed
    link.is_some_and(|link| link.finish_work(now, slab, made))
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
