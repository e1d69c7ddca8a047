//! Writes the frames of an outbox: everything that is queued, with one vectored write.

use super::socket::WorkerSocket;
use crate::shared_state::{Link, Outbox, SharedState};
use herder_core::WorkerRef;
use std::{io, io::IoSlice};
use tokio::sync::Notify;

/// The maximum number of slices per write; further slices follow in the next write.
const MAX_SLICES: usize = 64;

/// Writes until the peer closes, then waits for ever: the reader or the exit reports what happened. The caller must give
/// `outbox` the same descriptor's outbox as `wake` belongs to.
pub(super) async fn run(
    shared_state: &SharedState,
    worker: WorkerRef,
    stream: &WorkerSocket,
    wake: &Notify,
    outbox: impl Fn(&mut Link) -> &mut Outbox,
) {
    let mut writing = Outbox::default();
    loop {
        // The bytes are moved out of the link, since the borrow of the state must not be held across the write, and steps add
        // frames meanwhile. A frame that was written in part stays at the front of `writing`.
        if let Some(link) = shared_state.borrow_mut().link(worker) {
            outbox(link).move_into(&mut writing);
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
