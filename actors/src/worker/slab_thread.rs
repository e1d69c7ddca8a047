//! The thread that makes and fills the slabs of one worker.

use crate::shared_state::{Made, SlabWork};
use std::{io, sync::mpsc, thread};
use tokio::sync::oneshot;

/// Enough for system calls and a copy.
const STACK_SIZE: usize = 256 * 1024;

/// The thread that does the work on the slabs of one worker. It starts with the first piece of work and ends when this is dropped, or
/// after the work that it does then; what that has made is released on it.
///
/// Not one of the runtime's threads for blocking work: on the runtime of an application, all of these may wait for calls of the same
/// pool, which would wait for the copy. Not one thread for all workers: one that lasts would keep other workers waiting.
#[derive(Default)]
pub(super) struct SlabThread(Option<mpsc::Sender<Job>>);

/// A piece of work, and who waits for its end.
type Job = (SlabWork, oneshot::Sender<io::Result<Made>>);

impl SlabThread {
    /// Has the work done. If the system refuses the thread, does it here, and the pool waits.
    ///
    /// # Errors
    /// The slab cannot be made.
    pub(super) async fn run(&mut self, work: SlabWork) -> io::Result<Made> {
        let (done, made) = oneshot::channel();
        if let Err((work, _)) = self.send((work, done)) {
            return work.run();
        }
        made.await.unwrap_or_else(|_| Err(io::Error::other("the work on a slab panicked")))
    }

    /// Passes the work to the thread, which is started if there is none, or if its last work has panicked.
    fn send(&mut self, job: Job) -> Result<(), Job> {
        let job = match &self.0 {
            None => job,
            Some(jobs) => match jobs.send(job) {
                Ok(()) => return Ok(()),
                Err(mpsc::SendError(job)) => job,
            },
        };
        let (sender, jobs) = mpsc::channel();
        match thread::Builder::new().name("herder-slabs".into()).stack_size(STACK_SIZE).spawn(move || work_on(jobs)) {
            Ok(_) => self.0.insert(sender).send(job).map_err(|mpsc::SendError(job)| job),
            Err(_) => Err(job),
        }
    }
}

fn work_on(jobs: mpsc::Receiver<Job>) {
    for (work, done) in jobs {
        drop(done.send(work.run())); // nobody waits any more if the process has exited
    }
}
