//! The limit on open descriptors (`RLIMIT_NOFILE`, `ulimit -n`), which is raised for a host on request and restored for its
//! workers. Holds the limit that the process had before.

use rustix::{
    io::Errno,
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use std::{io, sync::OnceLock};

/// The limit of the process before it was raised.
static BEFORE: OnceLock<Rlimit> = OnceLock::new();

/// Raises the soft limit on open descriptors (`ulimit -n`) of this process to its hard limit, and returns the new limit; `None`
/// means no limit.
/// Workers start with the previous limit, because a program that uses `select` breaks on descriptors above 1023.
///
/// Call it at the start of `main` in a program that hosts workers and serves many connections, as `herder serve` does. A
/// library must not change the limits of its application.
pub fn raise_descriptor_limit() -> Option<u64> {
    let before = getrlimit(Resource::Nofile);
    if before.current != before.maximum {
        let raised = Rlimit { current: before.maximum, maximum: before.maximum };
        // The previous limit is stored first: a worker that is started meanwhile must find it. The call is refused where the
        // hard limit is unlimited (macOS).
        let _ = BEFORE.set(before);
        let _ = setrlimit(Resource::Nofile, raised);
    }
    descriptor_limit()
}

/// Returns the soft limit on open descriptors of this process; `None` means no limit.
pub fn descriptor_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Whether an error means that this process or the system has no free descriptor.
pub fn is_out_of_descriptors(error: &io::Error) -> bool {
    Errno::from_io_error(error).is_some_and(|errno| [Errno::MFILE, Errno::NFILE].contains(&errno))
}

/// Returns the text of a system error. If no descriptor is free, the text names the limit and how to set it.
pub fn explain(error: &io::Error) -> String {
    match (Errno::from_io_error(error), descriptor_limit()) {
        (Some(Errno::MFILE), Some(limit)) => {
            format!(
                "this process has no file descriptors left; its limit is {limit} (`ulimit -n`): raise it, or use fewer"
            )
        }
        (Some(Errno::NFILE), _) => "the system has no file descriptors left (`sysctl fs.file-max`)".into(),
        _ => error.to_string(),
    }
}

/// Restores the host's previous limit for a worker, before exec. Async-signal-safe.
pub(crate) fn give_back() {
    if let Some(before) = BEFORE.get() {
        // Cannot fail: lowering a soft limit is always allowed.
        let _ = setrlimit(Resource::Nofile, *before);
    }
}
