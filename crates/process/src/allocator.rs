//! Settings of the C library's allocator for this process. Holds no state.

#![expect(unsafe_code, reason = "`mallopt` has no safe interface")]

/// Returns the memory of large buffers to the system as soon as they are freed: with glibc, each buffer of 1 MiB or more gets a mapping of its own,
/// for as long as the process lives. With other C libraries this function does nothing.
///
/// glibc uses such mappings from 128 KiB on, but raises this threshold to the size of each larger buffer that is freed, up to 32 MiB. Later
/// buffers are allocated in the heap, and the process keeps their memory: after 20 bodies of 10 MiB over HTTP it kept 170 MiB.
///
/// Call it at the start of `main`. The command `herder` calls it. It changes the whole process, so a library must leave the decision to its application.
pub fn return_large_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` takes two numbers and the allocator's own lock. A number that it does not take changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1024 * 1024);
    }
}
