//! Settings of the C library's allocator for this process. Holds no state.

#![expect(unsafe_code, reason = "`mallopt` has no safe interface")]

/// Lets memory of large buffers go back to the system as soon as they are freed: with glibc, buffers of 1 MiB and more get mappings of their own, for
/// as long as the process lives. Elsewhere it does nothing.
///
/// glibc begins with such mappings at 128 KiB, but raises that limit to the size of each larger buffer that is freed, up to 32 MiB. Later
/// buffers lie beside small ones, and their memory stays with the process: after 20 bodies of 10 MiB over HTTP, 170 MiB of it.
///
/// Call it at the start of `main`. `herder serve` calls this function. It changes the whole process: a library must leave that to its application.
pub fn return_large_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` takes two numbers and the allocator's own lock. A number that it does not take changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1024 * 1024);
    }
}
