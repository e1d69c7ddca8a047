//! What a worker executes: program, arguments and environment in the form of `exec`. Built before the fork, because nothing can
//! be allocated after it.

#![expect(unsafe_code, reason = "`execvp` and the environment that it searches have no safe interface")]

use crate::Command;
use rustix::io::Errno;
use std::{
    collections::BTreeMap,
    env,
    ffi::{CString, NulError, OsStr, OsString, c_char},
    io,
    os::unix::ffi::OsStrExt,
    ptr,
};

/// The variable with the most detailed level that the host's log shows. A pool may set it for its workers.
pub(crate) const LOG_LEVEL: &str = "HERDER_LOG_LEVEL";

/// The variable with the number of the socket for slabs, if there is one.
pub(crate) const SLAB_FD: &str = "HERDER_SLAB_FD";

/// A program with its arguments and its environment.
pub(crate) struct Image {
    program: CString,
    args: Strings,
    env: Strings,
}

/// Strings, and an array of pointers to them that ends with a null pointer.
struct Strings {
    pointers: Vec<*const c_char>,
    /// The strings that the pointers refer to. They do not move when this value moves.
    _owned: Vec<CString>,
}

impl Image {
    /// Builds the image of a command, with additional variables. `HERDER_LOG_LEVEL` keeps a value that the environment has.
    ///
    /// # Errors
    /// If a string contains a zero byte.
    pub(crate) fn new(command: &Command, more: &[(&str, String)]) -> Result<Self, NulError> {
        let program = CString::new(command.program.as_bytes())?;
        let args = [&command.program].into_iter().chain(&command.args).map(|arg| CString::new(arg.as_bytes()));
        let args = Strings::new(args.collect::<Result<_, _>>()?);
        let env = environment(command, more).into_iter().map(|(name, value)| variable(&name, &value));
        let env = Strings::new(env.collect::<Result<_, _>>()?);
        Ok(Self { program, args, env })
    }

    /// Executes the program, which is looked up in the `PATH` of the image. Returns only on failure. Async-signal-safe. For a
    /// forked child only: it replaces the environment of the process.
    pub(crate) fn exec(&self) -> Errno {
        // SAFETY: this process has one thread, so nothing else reads the environment. All pointers refer to strings that `self`
        // holds, both arrays end with a null pointer, and the call does not write to them.
        unsafe {
            set_environment(self.env.pointers.as_ptr());
            libc::execvp(self.program.as_ptr(), self.args.pointers.as_ptr());
        }
        Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::NOEXEC)
    }
}

impl Strings {
    fn new(owned: Vec<CString>) -> Self {
        let pointers = owned.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
        Self { pointers, _owned: owned }
    }
}

fn environment(command: &Command, more: &[(&str, String)]) -> BTreeMap<OsString, OsString> {
    let mut environment: BTreeMap<OsString, OsString> = BTreeMap::new();
    if !command.env_clear {
        environment.extend(env::vars_os());
    }
    command.env_remove.iter().for_each(|name| _ = environment.remove(name));
    environment.extend(command.env.iter().cloned());
    // A host that is a worker itself has one of its own.
    environment.remove(OsStr::new(SLAB_FD));
    for (name, value) in more {
        let is_chosen = *name == LOG_LEVEL && environment.contains_key(OsStr::new(name));
        if !is_chosen {
            environment.insert((*name).into(), value.into());
        }
    }
    environment
}

fn variable(name: &OsStr, value: &OsStr) -> Result<CString, NulError> {
    CString::new([name.as_bytes(), b"=", value.as_bytes()].concat())
}

/// # Safety
/// Nothing may read or change the environment during the call, and the array must outlive all readers.
#[cfg(not(target_vendor = "apple"))]
unsafe fn set_environment(environment: *const *const c_char) {
    unsafe extern "C" {
        static mut environ: *const *const c_char;
    }
    // SAFETY: POSIX defines this variable; the caller guarantees the rest.
    unsafe { environ = environment };
}

/// # Safety
/// Nothing may read or change the environment during the call, and the array must outlive all readers.
#[cfg(target_vendor = "apple")]
unsafe fn set_environment(environment: *const *const c_char) {
    // SAFETY: the call returns the address of the variable; the caller guarantees the rest.
    unsafe { *libc::_NSGetEnviron() = environment.cast_mut().cast() };
}
