//! Wakes the warden out of its poll. Holds one end of a socket pair; carries no data.

use std::{io, io::Read, io::Write, os::fd::AsFd, os::fd::BorrowedFd, os::unix::net::UnixStream, sync::Arc};

/// Wakes the warden; cheap to clone, callable from any thread, never blocks.
#[derive(Clone, Debug)]
pub(crate) struct Waker(Arc<UnixStream>);

/// The warden's end.
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
        // A full socket means a wake-up is on its way already.
        let _ = (&*self.0).write(&[1]);
    }
}

impl Wakeups {
    /// Takes all wake-ups that came. False when every waker is gone: nobody can start or stop anything any more.
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
