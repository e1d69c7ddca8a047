//! Wakes the monitor from its poll. Holds one end of a socket pair; carries no data.

use std::{io, io::Read, io::Write, os::fd::AsFd, os::fd::BorrowedFd, os::unix::net::UnixStream, sync::Arc};

/// Wakes the monitor. Cheap to clone, callable from any thread, never blocks.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<UnixStream>);

/// The monitor's end.
#[derive(Debug)]
pub(crate) struct Wakeups(UnixStream);

pub(crate) fn pair() -> io::Result<(Waker, Wakeups)> {
    let (waker, wakeups) = UnixStream::pair()?;
    waker.set_nonblocking(true)?;
    wakeups.set_nonblocking(true)?;
    Ok((Waker(Arc::new(waker)), Wakeups(wakeups)))
}

impl Waker {
    pub(crate) fn wake(&self) {
        // A full socket means that a wake-up is already pending.
        let _ = (&*self.0).write(&[1]);
    }
}

impl Wakeups {
    /// Takes all pending wake-ups. Returns false after every waker was dropped: nothing can be started or stopped any more.
    pub(crate) fn take(&self) -> bool {
        let mut bytes = [0; 256];
        loop {
            match (&self.0).read(&mut bytes) {
                Ok(0) => return false,
                Ok(_) => {}
                Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
            }
        }
    }
}

impl AsFd for Wakeups {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
