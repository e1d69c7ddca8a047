//! Writes what is in an outbox: all that is there in one vectored write, whenever something was put there.

use crate::shared_state::{Link, Outbox, SharedState};
use herder_core::WorkerRef;
use std::{io, io::IoSlice};
use tokio::{net::UnixStream, sync::Notify};

/// More slices than this go out in the next write.
const SLICES: usize = 64;

/// Writes until the peer closes; then waits for ever: the reader and the exit tell what happened.
pub(super) async fn run(
    shared_state: &SharedState,
    worker: WorkerRef,
    stream: &UnixStream,
    wake: &Notify,
    outbox: impl Fn(&mut Link) -> &mut Outbox,
) {
    let mut writing = Outbox::default();
    loop {
        if let Some(link) = shared_state.borrow_mut().link(worker) {
            outbox(link).move_into(&mut writing);
        }
        if writing.is_empty() {
            wake.notified().await;
            continue;
        }
        if write_some(stream, &mut writing).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

async fn write_some(stream: &UnixStream, writing: &mut Outbox) -> io::Result<()> {
    loop {
        let mut room = [IoSlice::new(&[]); SLICES];
        let filled = writing.slices(&mut room);
        match stream.try_write_vectored(&room[..filled]) {
            Ok(written) => {
                writing.advance(written);
                return Ok(());
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => stream.writable().await?,
            Err(error) => return Err(error),
        }
    }
}
