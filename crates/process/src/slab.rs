//! Slabs: memory that the host shares with one worker, for buffers that are too large for the socket. Holds mappings.
//!
//! The host makes each slab, allocates all its pages and seals its size, so that no access can fail later: neither a worker that
//! truncates the file nor a system without memory can end the host by SIGBUS. One side writes a slab. The other one has a
//! mapping to read, and the seals allow no further mapping to write.
//!
//! A worker may write to a slab at any time, also while the host reads it. So the host has no reference to such memory: it copies
//! the bytes out, and uses the copy (R77).

#![expect(unsafe_code, reason = "maps memory that another process uses, and copies from and to it")]

use rustix::{
    mm::{MapFlags, ProtFlags, mmap, munmap},
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
};
use std::{
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    ptr::{self, NonNull},
};

/// The host's end of the socket on which a worker gets its slabs.
#[derive(Debug)]
pub struct SlabSocket(OwnedFd);

/// What a slab is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum SlabPurpose {
    /// The host writes and the worker reads.
    Arguments = 0,
    /// The worker writes and the host reads.
    Results = 1,
}

impl SlabSocket {
    /// Returns the host's end and the worker's end. Both are non-blocking.
    ///
    /// # Errors
    /// Those of the system. Only Linux has slabs.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = system::socket_pair()?;
        Ok((Self(ours), theirs))
    }

    /// Sends the descriptor of a slab with its number. Never blocks.
    ///
    /// # Errors
    /// `WouldBlock` if the worker has not read earlier messages, and other errors of the system.
    pub fn send(&self, id: u64, slab: &SlabFile) -> io::Result<()> {
        let message = [id, slab.size as u64, slab.purpose as u64].map(u64::to_le_bytes).concat();
        let fds = [slab.file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        control.push(SendAncillaryMessage::ScmRights(&fds));
        let iov = [io::IoSlice::new(&message)];
        sendmsg(&self.0, &iov, &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

/// The file of a slab. Mappings do not need it: it is closed when the worker has it and the host has mapped it.
#[derive(Debug)]
pub struct SlabFile {
    file: OwnedFd,
    size: usize,
    purpose: SlabPurpose,
}

impl SlabFile {
    /// Creates a file of `size` bytes whose pages are all allocated and whose size is sealed.
    fn new(size: usize, purpose: SlabPurpose) -> io::Result<Self> {
        let file = system::create_file(size)?;
        Ok(Self { file, size, purpose })
    }
}

/// A slab that the host writes.
#[derive(Debug)]
pub struct ArgumentSlab(Mapping);

impl ArgumentSlab {
    /// Creates a slab of `size` bytes, a multiple of the page size, and returns the file that the worker must be sent.
    ///
    /// Allocates all pages, which takes a few milliseconds for 64 MiB.
    ///
    /// # Errors
    /// The system has no memory or no descriptor for it, or cannot seal memory.
    pub fn create(size: usize) -> io::Result<(Self, SlabFile)> {
        let file = SlabFile::new(size, SlabPurpose::Arguments)?;
        let mapping = Mapping::new(&file.file, size, ProtFlags::READ | ProtFlags::WRITE)?;
        // Only now: with these seals, no mapping can be made that writes. The one above stays.
        system::seal_against_writing(&file.file)?;
        Ok((Self(mapping), file))
    }

    /// Copies the bytes to `offset`. Returns whether the slab contains this range.
    pub fn write(&mut self, offset: usize, bytes: &[u8]) -> bool {
        let Some(target) = self.0.range(offset as u64, bytes.len()) else { return false };
        // SAFETY: `range` has checked that the mapping contains the range, and it stays mapped while `self` exists. It was mapped
        // to write. `bytes` is not in it, since no reference to the mapping exists. No other thread accesses it meanwhile, since
        // `self` is borrowed mutably. The worker may only read.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), target.as_ptr(), bytes.len()) };
        true
    }
}

/// A slab that a worker may write, before its first use.
#[derive(Debug)]
pub struct ResultSlab(SlabFile);

/// Why the host does not read a slab.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlabError {
    /// The worker has not added the seals against writing, so that it could free pages.
    #[error("the worker has not sealed it")]
    Unsealed,
    /// The worker has freed pages before it added the seals.
    #[error("the worker has freed pages of it")]
    Incomplete,
    /// The system refused.
    #[error(transparent)]
    System(#[from] io::Error),
}

impl ResultSlab {
    /// Creates a slab of `size` bytes, a multiple of the page size. Allocates all pages.
    ///
    /// # Errors
    /// The system has no memory or no descriptor for it, or cannot seal memory.
    pub fn create(size: usize) -> io::Result<Self> {
        SlabFile::new(size, SlabPurpose::Results).map(Self)
    }

    /// Returns the file that the worker must be sent.
    pub fn file(&self) -> &SlabFile {
        &self.0
    }

    /// Maps the slab after the worker has written to it for the first time.
    ///
    /// # Errors
    /// [`SlabError`]: an access to the mapping could fail, or the system refused it.
    pub fn open(self) -> Result<ResultMemory, SlabError> {
        let Self(SlabFile { file, size, .. }) = self;
        // The size was sealed before the worker got the file. With the other seals, no pages can be freed any more. They must be
        // checked first: a page that is freed between the two checks would not be seen.
        if !system::is_sealed_against_writing(&file)? {
            return Err(SlabError::Unsealed);
        }
        if system::allocated(&file)? < size as u64 {
            return Err(SlabError::Incomplete);
        }
        Ok(ResultMemory(Mapping::new(&file, size, ProtFlags::READ)?))
    }
}

/// The memory of a slab that a worker writes. Its bytes can only be copied.
#[derive(Debug)]
pub struct ResultMemory(Mapping);

impl ResultMemory {
    /// Returns whether the slab contains this range.
    pub fn contains(&self, offset: u64, length: usize) -> bool {
        self.0.range(offset, length).is_some()
    }

    /// Copies the bytes from `offset` on to `target`. Returns whether the slab contains this range.
    pub fn copy_to(&self, offset: u64, target: &mut [u8]) -> bool {
        let Some(source) = self.0.range(offset, target.len()) else { return false };
        // SAFETY: `range` has checked that the mapping contains the range, and it stays mapped while `self` exists. `target` is
        // not in it, since no reference to the mapping exists.
        unsafe { copy_out(source, target.as_mut_ptr(), target.len()) };
        true
    }

    /// Returns a copy of the bytes from `offset` on, if the slab contains this range.
    pub fn to_vec(&self, offset: u64, length: usize) -> Option<Vec<u8>> {
        let source = self.0.range(offset, length)?;
        let mut copy = Vec::with_capacity(length);
        // SAFETY: `range` has checked that the mapping contains the range, and it stays mapped while `self` exists. The vector
        // has the capacity, in memory of its own, and the copy initializes all `length` bytes.
        unsafe {
            copy_out(source, copy.as_mut_ptr(), length);
            copy.set_len(length);
        }
        Some(copy)
    }
}

/// Copies out of memory that another process may write at the same time: the copy may then have bytes from before and after.
///
/// The writer is not a part of this program, so that the compiler sees a plain read of memory of which it knows nothing. It must
/// not read the source again where the copy is used, since two reads may differ. Therefore this function is not inlined: its
/// callers know nothing of the source.
///
/// # Safety
/// `from` must be mapped for `length` bytes, `to` must be valid for writes of them, and the two must not overlap.
#[inline(never)]
unsafe fn copy_out(from: NonNull<u8>, to: *mut u8, length: usize) {
    // SAFETY: as stated for this function; bytes have no alignment and no invalid values.
    unsafe { ptr::copy_nonoverlapping(from.as_ptr(), to, length) }
}

/// A mapping of a whole slab. No reference to its memory is ever made.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    size: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread. It can be read and unmapped from each. What writes to it needs
// `&mut` (`ArgumentSlab::write`).
unsafe impl Send for Mapping {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(file: &OwnedFd, size: usize, protection: ProtFlags) -> io::Result<Self> {
        // SAFETY: without a wanted address the system chooses one at which nothing is mapped, so no memory of this program changes.
        let start = unsafe { mmap(ptr::null_mut(), size, protection, MapFlags::SHARED | system::POPULATE, file, 0) }?;
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { start, size })
    }

    /// Returns the start of a range, if the mapping contains it.
    fn range(&self, offset: u64, length: usize) -> Option<NonNull<u8>> {
        let offset = usize::try_from(offset).ok()?;
        if offset.checked_add(length)? > self.size {
            return None;
        }
        // SAFETY: `offset` is at most the size of the mapping, which is one allocation.
        Some(unsafe { self.start.add(offset) })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the range is exactly the mapping of `new`, and nothing refers to it: no method returns a pointer that is used
        // after the borrow of `self`. An error leaves it mapped.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.size) };
    }
}

/// What only Linux has.
#[cfg(target_os = "linux")]
mod system {
    use rustix::{
        fs::{FallocateFlags, MemfdFlags, SealFlags, fallocate, fcntl_add_seals, fcntl_get_seals, fstat, memfd_create},
        io::Errno,
        mm::MapFlags,
        net::{AddressFamily, SocketFlags, SocketType, socketpair},
        process::{Resource, getrlimit},
    };
    use std::{io, os::fd::OwnedFd};

    /// Maps all pages at once: otherwise the first access to each would enter the kernel.
    pub(super) const POPULATE: MapFlags = MapFlags::POPULATE;
    /// The size of the units in which the system counts the pages of a file.
    const BLOCK: u64 = 512;

    pub(super) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?)
    }

    pub(super) fn create_file(size: usize) -> io::Result<OwnedFd> {
        // The limit on the size of files (`ulimit -f`) applies to memory files too. Beyond it, the system sends SIGXFSZ, which
        // ends the process.
        if getrlimit(Resource::Fsize).current.is_some_and(|limit| size as u64 > limit) {
            return Err(Errno::FBIG.into());
        }
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let create = |flags| memfd_create(c"herder-slab", flags);
        let file = match create(flags | MemfdFlags::NOEXEC_SEAL) {
            Err(Errno::INVAL) => create(flags)?, // before Linux 6.3
            created => created?,
        };
        // Pages that do not exist yet would be allocated by the first access, which ends the process if there is no memory.
        fallocate(&file, FallocateFlags::empty(), 0, size as u64)?;
        fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)?;
        Ok(file)
    }

    pub(super) fn seal_against_writing(file: &OwnedFd) -> io::Result<()> {
        Ok(fcntl_add_seals(file, SealFlags::FUTURE_WRITE | SealFlags::SEAL)?)
    }

    pub(super) fn is_sealed_against_writing(file: &OwnedFd) -> io::Result<bool> {
        Ok(fcntl_get_seals(file)?.contains(SealFlags::FUTURE_WRITE))
    }

    /// Returns the number of bytes of the file's pages.
    pub(super) fn allocated(file: &OwnedFd) -> io::Result<u64> {
        Ok(u64::try_from(fstat(file)?.st_blocks).unwrap_or_default().saturating_mul(BLOCK))
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use rustix::mm::MapFlags;
    use std::{io, os::fd::OwnedFd};

    pub(super) const POPULATE: MapFlags = MapFlags::empty();

    pub(super) fn socket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn create_file(_: usize) -> io::Result<OwnedFd> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn seal_against_writing(_: &OwnedFd) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub(super) fn is_sealed_against_writing(_: &OwnedFd) -> io::Result<bool> {
        Ok(false)
    }

    pub(super) fn allocated(_: &OwnedFd) -> io::Result<u64> {
        Ok(0)
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use super::*;
    use rustix::{
        fs::{FallocateFlags, fallocate, ftruncate},
        io::Errno,
        mm::mmap_anonymous,
        net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
    };
    use std::thread;

    const SIZE: usize = 1 << 16;

    /// Returns memory that is not shared, for the tests of copying.
    fn private(size: usize) -> Mapping {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: as for `Mapping::new`.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), size, protection, MapFlags::PRIVATE) }.unwrap();
        Mapping { start: NonNull::new(start.cast()).unwrap(), size }
    }

    /// Maps a slab as a worker does to write to it.
    fn of_worker(slab: &ResultSlab) -> ArgumentSlab {
        ArgumentSlab(Mapping::new(&slab.0.file, SIZE, ProtFlags::READ | ProtFlags::WRITE).unwrap())
    }

    /// R77: only ranges within the slab are copied, to and from every offset.
    #[test]
    fn r77_copies_stay_within_the_slab() {
        let mut slab = ArgumentSlab(private(64));
        assert!(slab.write(0, &[1; 64]) && slab.write(61, b"abc") && slab.write(64, b""));
        for (offset, length) in [(62, 3), (65, 0), (usize::MAX, 2)] {
            assert!(!slab.write(offset, &vec![9; length]), "{offset} {length}");
        }
        let memory = ResultMemory(slab.0);
        assert_eq!(memory.to_vec(60, 4).as_deref(), Some(&b"\x01abc"[..]));
        let mut target = [0; 3];
        assert!(memory.copy_to(61, &mut target) && target == *b"abc");
        for (offset, length) in [(62, 3), (65, 0), (u64::MAX, 1), (u64::MAX - 1, 4), (0, 65)] {
            assert_eq!(memory.to_vec(offset, length), None);
            assert!(!memory.copy_to(offset, &mut vec![0; length]) && !memory.contains(offset, length));
        }
    }

    /// A mapping may be read and dropped on any thread.
    #[test]
    fn memory_can_be_read_on_other_threads() {
        let mut slab = ArgumentSlab(private(4096));
        assert!(slab.write(0, &[7; 4096]));
        let memory = ResultMemory(slab.0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| assert_eq!(memory.to_vec(0, 4096), Some(vec![7; 4096])));
            }
        });
        thread::spawn(move || drop(memory)).join().unwrap();
    }

    /// R43: a worker that gets the file of a slab for arguments reads what the host writes, and cannot write, resize or free.
    #[test]
    fn r43_arguments_are_read_only_for_the_worker() {
        let (mut slab, file) = ArgumentSlab::create(SIZE).unwrap();
        let (socket, worker_end) = SlabSocket::pair().unwrap();
        socket.send(7, &file).unwrap();
        drop(file);
        let (mut bytes, mut space) = ([0; 64], [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))]);
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut iov = [io::IoSliceMut::new(&mut bytes)];
        let count = recvmsg(&worker_end, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC).unwrap().bytes;
        assert_eq!(&bytes[..count], [7, SIZE as u64, 0].map(u64::to_le_bytes).concat());
        let Some(RecvAncillaryMessage::ScmRights(mut fds)) = control.drain().next() else { panic!("no descriptor") };
        let file = fds.next().unwrap();
        let memory = ResultMemory(Mapping::new(&file, SIZE, ProtFlags::READ).unwrap());
        assert!(slab.write(SIZE - 5, b"hello"));
        assert_eq!(memory.to_vec(SIZE as u64 - 5, 5).as_deref(), Some(&b"hello"[..]));
        let writable = Mapping::new(&file, SIZE, ProtFlags::READ | ProtFlags::WRITE);
        assert_eq!(writable.unwrap_err().raw_os_error(), Some(Errno::PERM.raw_os_error()));
        assert_eq!(ftruncate(&file, 0), Err(Errno::PERM));
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        assert_eq!(fallocate(&file, punch, 0, 4096), Err(Errno::PERM));
        assert_eq!(rustix::io::write(&file, b"x"), Err(Errno::PERM));
    }

    /// R43: the host reads a slab for results only if no access to it can fail: a worker cannot resize it, and can free no page
    /// after the check.
    #[test]
    fn r43_results_are_read_only_after_the_worker_has_sealed_them() {
        let unsealed = ResultSlab::create(SIZE).unwrap();
        for size in [0, 2 * SIZE as u64] {
            assert_eq!(ftruncate(&unsealed.0.file, size), Err(Errno::PERM));
        }
        assert!(matches!(unsealed.open(), Err(SlabError::Unsealed)));

        let punched = ResultSlab::create(SIZE).unwrap();
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        fallocate(&punched.0.file, punch, 4096, 4096).unwrap();
        system::seal_against_writing(&punched.0.file).unwrap();
        assert!(matches!(punched.open(), Err(SlabError::Incomplete)));

        let slab = ResultSlab::create(SIZE).unwrap();
        let mut worker = of_worker(&slab);
        let copy = slab.0.file.try_clone().unwrap();
        system::seal_against_writing(&copy).unwrap();
        assert!(worker.write(8, b"result"));
        let memory = slab.open().unwrap();
        assert_eq!(memory.to_vec(8, 6).as_deref(), Some(&b"result"[..]));
        assert!(worker.write(8, b"RESULT"), "the mapping of the worker stays");
        assert_eq!(memory.to_vec(8, 6).as_deref(), Some(&b"RESULT"[..]));
        assert_eq!(fallocate(&copy, punch, 0, 4096), Err(Errno::PERM));
    }

    /// A worker that does not read its socket does not block the host.
    #[test]
    fn sending_never_blocks() {
        let (socket, _worker_end) = SlabSocket::pair().unwrap();
        let slab = ResultSlab::create(4096).unwrap();
        let refused = (0..100_000).find_map(|id| socket.send(id, slab.file()).err()).unwrap();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
    }
}
