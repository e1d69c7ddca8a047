//! The host's end of one of a worker's sockets. Holds the descriptor, which the runtime watches for input only.

use bytes::BytesMut;
use std::{
    cell::RefCell,
    fs::File,
    future::{Future, poll_fn},
    io,
    io::IoSlice,
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::{Receiver, Sender},
};

/// The pause before another attempt to wait for room if the host has no descriptor left for it.
const PAUSE: Duration = Duration::from_millis(1);

/// A socket that is read and written by one task.
///
/// A `tokio::net::UnixStream` is watched for room, too. Whenever its peer reads, the kernel then reports that there is room,
/// although nothing waits for it: each call would wake the pool's thread once more. `Receiver` is made for pipes, but works with
/// every descriptor that can be polled, and is watched for input only.
pub(super) struct WorkerSocket(RefCell<Receiver>);

impl WorkerSocket {
    pub(super) fn new(socket: UnixStream) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self(RefCell::new(Receiver::from_file_unchecked(File::from(OwnedFd::from(socket)))?)))
    }

    /// Reads once, and appends what was read to the buffer's free space.
    ///
    /// After a read that did not fill the free space, Tokio waits for the next event without another read that would find
    /// nothing. That saves a system call per answer. (`try_read_buf` would not.)
    pub(super) fn poll_read(&self, context: &mut Context<'_>, buffer: &mut BytesMut) -> Poll<io::Result<usize>> {
        let mut socket = self.0.borrow_mut();
        // The waker is stored with the descriptor, not in this future.
        pin!(socket.read_buf(buffer)).poll(context)
    }

    /// Reads once, when there is something to read. Cancel safe.
    pub(super) async fn read(&self, buffer: &mut BytesMut) -> io::Result<usize> {
        poll_fn(|context| self.poll_read(context, buffer)).await
    }

    /// Reads without the reactor into `chunk`. After the exit of the process this is the only way: the reactor's reads return
    /// `WouldBlock` until it has polled the socket again, even if the socket contains data.
    pub(super) fn read_now(&self, chunk: &mut [u8]) -> io::Result<usize> {
        let socket = self.0.borrow();
        Ok(rustix::io::retry_on_intr(|| rustix::io::read(socket.as_fd(), &mut *chunk))?)
    }

    /// Writes some bytes of the slices. Fails with `WouldBlock` if there is no room.
    pub(super) fn try_write(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let socket = self.0.borrow();
        Ok(rustix::io::retry_on_intr(|| rustix::io::writev(socket.as_fd(), slices))?)
    }

    /// Waits until there is room. Takes another descriptor meanwhile, since the runtime watches each for one purpose.
    #[expect(clippy::disallowed_methods, reason = "waits for a descriptor, which no event announces")]
    pub(super) async fn writable(&self) -> io::Result<()> {
        let copy = loop {
            match self.0.borrow().as_fd().try_clone_to_owned() {
                Ok(copy) => break copy,
                Err(error) if is_out_of_descriptors(&error) => {}
                Err(error) => return Err(error),
            }
            tokio::time::sleep(PAUSE).await;
        };
        // No event is lost: if there is room already, the registration reports it.
        Sender::from_file_unchecked(File::from(copy))?.writable().await
    }
}

fn is_out_of_descriptors(error: &io::Error) -> bool {
    let limits = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE];
    limits.iter().any(|limit| error.raw_os_error() == Some(limit.raw_os_error()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};

    fn pair() -> (WorkerSocket, UnixStream) {
        let (host, worker) = UnixStream::pair().unwrap();
        (WorkerSocket::new(host).unwrap(), worker)
    }

    /// Polls once.
    async fn is_pending<F: Future>(future: F) -> bool {
        let mut future = pin!(future);
        poll_fn(|context| Poll::Ready(future.as_mut().poll(context).is_pending())).await
    }

    #[actix_rt::test]
    async fn reads_append_to_the_buffer() {
        let (host, mut worker) = pair();
        let mut buffer = BytesMut::with_capacity(64);
        for text in [b"ab", b"cd"] {
            worker.write_all(text).unwrap();
            assert_eq!(host.read(&mut buffer).await.unwrap(), 2);
        }
        assert_eq!(&buffer[..], b"abcd");
        drop(worker);
        assert_eq!(host.read(&mut buffer).await.unwrap(), 0);
    }

    /// A full socket is waited for, and reading goes on meanwhile.
    #[actix_rt::test]
    async fn full_socket_has_room_again_when_its_peer_reads() {
        let (host, mut worker) = pair();
        let chunk = [7; 4096];
        let mut written = 0;
        let full = loop {
            match host.try_write(&[IoSlice::new(&chunk)]) {
                Ok(count) => written += count,
                Err(error) => break error,
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        assert!(is_pending(host.writable()).await);
        worker.write_all(b"x").unwrap();
        assert_eq!(host.read(&mut BytesMut::with_capacity(8)).await.unwrap(), 1);
        let mut writable = pin!(host.writable());
        assert!(is_pending(writable.as_mut()).await);
        worker.read_exact(&mut vec![0; written]).unwrap();
        writable.await.unwrap();
        assert_eq!(host.try_write(&[IoSlice::new(b"y")]).unwrap(), 1);
    }

    /// The runtime is not told of the room that a read of the worker makes.
    #[cfg(target_os = "linux")]
    #[actix_rt::test]
    async fn room_is_not_watched() {
        let (host, _worker) = pair();
        let events = watched_events(&host);
        assert!(!events.is_empty() && events.iter().all(|events| events & 0x4 == 0), "EPOLLOUT is in {events:x?}");
    }

    /// Returns the events for which the runtime of this thread watches the socket.
    #[cfg(target_os = "linux")]
    fn watched_events(socket: &WorkerSocket) -> Vec<u32> {
        use std::os::fd::AsRawFd;
        let target = format!("tfd: {:8} ", socket.0.borrow().as_raw_fd());
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc/self/fdinfo").unwrap() {
            // Other tests open and close descriptors meanwhile.
            let Ok(text) = std::fs::read_to_string(entry.unwrap().path()) else { continue };
            for line in text.lines().filter(|line| line.starts_with(&target)) {
                let events = line.split_whitespace().skip_while(|word| *word != "events:").nth(1).unwrap();
                found.push(u32::from_str_radix(events, 16).unwrap());
            }
        }
        found
    }
}
