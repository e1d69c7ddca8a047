//! Kernel settings, system calls, PID 1, shared memory, folders and clocks.

use super::super::{
    check::Check,
    facts::machine::{Init, Machine},
};
use crate::units::bytes;

/// A clock that was changed by more is a finding, in milliseconds.
const CLOCK_JUMP_MS: i64 = 500;
/// One or two zombies can be processes that PID 1 is about to reap.
const FEW_ZOMBIES: usize = 2;

pub(super) fn overcommit(machine: &Machine) -> Option<Check> {
    const NAME: &str = "overcommit";
    Some(match machine.overcommit? {
        2 => Check::warning(
            NAME,
            "vm.overcommit_memory is 2",
            "a fork and a large mapping can fail although memory is free: workers then do not start, or raise MemoryError",
            "set it to 0 (`sysctl vm.overcommit_memory=0`), or raise `vm.overcommit_ratio`",
        ),
        mode => Check::ok(NAME, format!("vm.overcommit_memory is {mode}")),
    })
}

/// The system calls that a filter (seccomp) may refuse.
pub(super) fn system_calls(machine: &Machine) -> Vec<Check> {
    const NAME: &str = "system calls";
    let Some(pidfd) = &machine.pidfd else { return Vec::new() };
    let mut checks = Vec::new();
    if let Err(reason) = pidfd {
        checks.push(Check::error(
            NAME,
            format!("pidfd_open is refused: {reason}"),
            "workers are identified and reaped by it; they cannot be started",
            "allow it in the seccomp profile of the container, or use Linux 5.3 or later",
        ));
    }
    if let Some(Err(reason)) = &machine.memfd {
        checks.push(Check::warning(
            NAME,
            format!("memfd_create is refused: {reason}"),
            "large buffers are then copied through sockets instead of shared memory",
            "allow it in the seccomp profile of the container",
        ));
    }
    if checks.is_empty() {
        let filter = if machine.seccomp == Some(2) { "a seccomp filter is active" } else { "no seccomp filter" };
        let privileges = if machine.no_new_privs { ", no_new_privs is set" } else { "" };
        checks.push(Check::ok(NAME, format!("{filter}{privileges}; pidfd_open and memfd_create work")));
    }
    checks
}

pub(super) fn init(init: &Init) -> Option<Check> {
    const NAME: &str = "init";
    let name = init.name.as_ref()?;
    Some(if init.is_this_process {
        Check::ok(NAME, "this program is PID 1; `herder serve` reaps orphans")
    } else if init.zombies > FEW_ZOMBIES {
        Check::warning(
            NAME,
            format!("PID 1 is `{name}`, which has not reaped {} zombies", init.zombies),
            "processes that a worker leaves behind stay zombies, and can use up the process ids of the container",
            "start the container with an init (`docker run --init`), or `herder serve` as PID 1",
        )
    } else {
        Check::ok(NAME, format!("PID 1 is `{name}`, without zombies"))
    })
}

pub(super) fn shared_memory(machine: &Machine) -> Option<Check> {
    const NAME: &str = "/dev/shm";
    Some(match machine.shm.as_ref()? {
        Ok(size) => Check::ok(NAME, format!("{}, writable", bytes(*size))),
        Err(reason) => Check::warning(
            NAME,
            format!("no file can be written there: {reason}"),
            "Python's `multiprocessing` and libraries such as PyTorch need it; Herder itself does not",
            "mount a tmpfs there (`docker run --shm-size 256m`), unless no handler uses them",
        ),
    })
}

pub(super) fn folders(machine: &Machine) -> Vec<Check> {
    machine
        .folders
        .iter()
        .map(|(variable, folder, error)| folder_check(variable, folder.as_deref(), error.as_deref()))
        .collect()
}

fn folder_check(variable: &str, folder: Option<&std::path::Path>, error: Option<&str>) -> Check {
    const NAME: &str = "folders";
    const WHY: &str = "the Python package is written there, and libraries keep their caches and models there";
    let Some(folder) = folder else {
        let action = format!("set {variable} to a folder of this user");
        return Check::warning(NAME, format!("{variable} is not set"), WHY, action);
    };
    let folder = folder.display();
    match error {
        None => Check::ok(NAME, format!("{variable} {folder} is writable")),
        Some(error) => Check::warning(
            NAME,
            format!("no file can be written to {variable} {folder}: {error}"),
            WHY,
            format!("set {variable} to a folder that this user can write"),
        ),
    }
}

pub(super) fn clock(machine: &Machine) -> Option<Check> {
    const NAME: &str = "clock";
    let clocks = machine.clocks?;
    if clocks.jump_ms.abs() > CLOCK_JUMP_MS {
        return Some(Check::warning(
            NAME,
            format!("the time of day was changed by {} ms while this command ran", clocks.jump_ms),
            "times in the log and in `herder why` do not fit together; timeouts use another clock and are right",
            "let the time service slew the clock instead of stepping it; on a virtual machine, look at its clock source",
        ));
    }
    let minutes = clocks.suspended.as_secs() / 60;
    let suspended = if minutes == 0 {
        String::new()
    } else {
        format!("; the machine was suspended for {minutes} min, which timeouts do not count")
    };
    Some(Check::ok(NAME, format!("no jump while this command ran{suspended}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{check::Level, facts::machine::ClockFacts};
    use std::time::Duration;

    #[test]
    fn strict_overcommit_is_a_warning() {
        let level = |mode| overcommit(&Machine { overcommit: Some(mode), ..Machine::default() }).unwrap().level;
        assert_eq!([0, 1, 2].map(level), [Level::Ok, Level::Ok, Level::Warning]);
    }

    #[test]
    fn refused_system_calls_are_findings() {
        let refused = || Some(Err("Operation not permitted".to_owned()));
        let levels = |pidfd, memfd| {
            let checks = system_calls(&Machine { pidfd, memfd, ..Machine::default() });
            checks.iter().map(|check| check.level).collect::<Vec<_>>()
        };
        assert_eq!(levels(Some(Ok(())), Some(Ok(()))), [Level::Ok]);
        assert_eq!(levels(refused(), refused()), [Level::Error, Level::Warning]);
        assert!(levels(None, None).is_empty(), "not Linux");
        let filtered = Machine { pidfd: Some(Ok(())), seccomp: Some(2), no_new_privs: true, ..Machine::default() };
        assert!(system_calls(&filtered)[0].found.starts_with("a seccomp filter is active, no_new_privs is set"));
    }

    #[test]
    fn an_init_that_does_not_reap_is_a_warning() {
        let level = |zombies, is_this_process| {
            init(&Init { name: Some("sleep".into()), is_this_process, zombies }).unwrap().level
        };
        assert_eq!((level(2, false), level(3, false), level(3, true)), (Level::Ok, Level::Warning, Level::Ok));
    }

    #[test]
    fn folders_must_be_writable() {
        let refused = || Some("Permission denied".to_owned());
        let folders_of =
            vec![("HOME", None, None), ("HOME", Some("/h".into()), None), ("TMPDIR", Some("/t".into()), refused())];
        let checks =
            folders(&Machine { folders: folders_of, shm: Some(Err("No such file".into())), ..Machine::default() });
        assert_eq!([0, 1, 2].map(|at: usize| checks[at].level), [Level::Warning, Level::Ok, Level::Warning]);
        assert_eq!(checks[2].found, "no file can be written to TMPDIR /t: Permission denied");
        let shm = |shm| shared_memory(&Machine { shm: Some(shm), ..Machine::default() }).unwrap().level;
        assert_eq!((shm(Ok(1)), shm(Err("no".into()))), (Level::Ok, Level::Warning));
    }

    #[test]
    fn a_clock_that_jumps_is_a_warning() {
        let check = |jump_ms, suspended| {
            let clocks = Some(ClockFacts { suspended: Duration::from_secs(suspended), jump_ms });
            clock(&Machine { clocks, ..Machine::default() }).unwrap()
        };
        assert_eq!([-501, -500, 500].map(|jump| check(jump, 0).level), [Level::Warning, Level::Ok, Level::Ok]);
        assert!(check(0, 3600).found.contains("suspended for 60 min"));
    }
}
