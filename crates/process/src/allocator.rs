//! A setting of the C library's memory allocator for this process. Holds no state.

#![expect(unsafe_code, reason = "`mallopt` has no safe interface")]

/// Returns the memory of large buffers to the system as soon as they are freed.
///
/// With glibc, each buffer of 1 MiB or more gets a mapping of its own from now on. With other C libraries this function does
/// nothing.
///
/// Without it, glibc raises the threshold for such mappings to the size of each larger buffer that is freed, up to 32 MiB.
/// Later buffers are then allocated on the heap, and the process keeps their memory: after 20 HTTP bodies of 10 MiB it kept 170
/// MiB.
///
/// Call it at the start of `main`, as the command `herder` does. It changes the whole process, so a library must leave the
/// decision to its application.
pub fn return_large_buffers() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: `mallopt` takes two numbers and uses the allocator's own lock. A number that it does not accept changes nothing.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1024 * 1024);
    }
}
