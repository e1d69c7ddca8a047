//! The kernel's settings, the folders and the clocks of this machine.

use rustix::{
    fs::{MemfdFlags, memfd_create, statvfs},
    process::{PidfdFlags, getpid, pidfd_open},
    time::{ClockId, clock_gettime},
};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// A zombie that exists for longer is not reaped.
const REAPED_WITHIN: Duration = Duration::from_millis(500);

/// What is known about the machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct Machine {
    /// The cores that this process may use, with the quota of its control group.
    pub(crate) cores: Option<usize>,
    /// `MemAvailable`, in bytes.
    pub(crate) available_memory: Option<u64>,
    /// `vm.overcommit_memory`.
    pub(crate) overcommit: Option<u8>,
    /// The mode of seccomp (2: a filter), and whether `no_new_privs` is set.
    pub(crate) seccomp: Option<u8>,
    pub(crate) no_new_privs: bool,
    /// Whether these system calls work, or why not.
    pub(crate) pidfd: Option<Result<(), String>>,
    pub(crate) memfd: Option<Result<(), String>>,
    /// The bytes of `/dev/shm`, or why it cannot be used.
    pub(crate) shm: Option<Result<u64, String>>,
    pub(crate) init: Init,
    /// The variable, its folder, and why no file can be written there.
    pub(crate) folders: Vec<(&'static str, Option<PathBuf>, Option<String>)>,
    pub(crate) clocks: Option<ClockFacts>,
}

/// The process with the id 1 in this container or on this machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Init {
    pub(crate) name: Option<String>,
    pub(crate) is_this_process: bool,
    /// The zombies that it has not reaped.
    pub(crate) zombies: usize,
}

/// What the clocks did while the facts were read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClockFacts {
    /// The time that the machine was suspended since it was started.
    pub(crate) suspended: Duration,
    /// How much the time of day was changed meanwhile, in milliseconds.
    pub(crate) jump_ms: i64,
}

impl Machine {
    /// Reads everything. `began` is a reading of the clocks before.
    pub(super) fn read(began: Clocks) -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let field = |name: &str| -> Option<u8> {
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
        };
        let linux = cfg!(target_os = "linux");
        Self {
            cores: thread::available_parallelism().ok().map(usize::from),
            available_memory: available_memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
            overcommit: fs::read_to_string("/proc/sys/vm/overcommit_memory")
                .ok()
                .and_then(|text| text.trim().parse().ok()),
            seccomp: field("Seccomp"),
            no_new_privs: field("NoNewPrivs") == Some(1),
            pidfd: linux
                .then(|| pidfd_open(getpid(), PidfdFlags::empty()).map(drop).map_err(|error| error.to_string())),
            memfd: linux.then(|| {
                let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
                memfd_create("herder-doctor", flags).map(drop).map_err(|error| error.to_string())
            }),
            shm: linux.then(shared_memory),
            init: Init::read(),
            folders: folders(),
            clocks: Some(Clocks::read().since(began)),
        }
    }
}

fn available_memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

fn shared_memory() -> Result<u64, String> {
    let folder = Path::new("/dev/shm");
    write_into(folder).map_err(|error| error.to_string())?;
    statvfs(folder).map(|about| about.f_blocks * about.f_frsize).map_err(|error| error.to_string())
}

fn write_into(folder: &Path) -> io::Result<()> {
    tempfile::tempfile_in(folder).map(drop)
}

fn folders() -> Vec<(&'static str, Option<PathBuf>, Option<String>)> {
    let home = env::var_os("HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    [("HOME", home), ("TMPDIR", Some(env::temp_dir()))]
        .map(|(variable, folder)| {
            let error = folder.as_deref().and_then(|folder| write_into(folder).err());
            (variable, folder, error.map(|error| error.to_string()))
        })
        .into()
}

impl Init {
    #[expect(clippy::disallowed_methods, reason = "only time shows that PID 1 does not reap")]
    fn read() -> Self {
        let name = fs::read_to_string("/proc/1/comm").ok().map(|text| text.trim().to_owned());
        let mut zombies = zombies_of_init();
        if !zombies.is_empty() {
            // Those that are still there later are not about to be reaped.
            thread::sleep(REAPED_WITHIN);
            let later = zombies_of_init();
            zombies.retain(|zombie| later.contains(zombie));
        }
        Self { name, is_this_process: std::process::id() == 1, zombies: zombies.len() }
    }
}

/// Returns the zombies that PID 1 should reap, as their folders in `/proc`.
fn zombies_of_init() -> Vec<PathBuf> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten().map(|entry| entry.path());
    let is_zombie =
        |folder: &PathBuf| fs::read_to_string(folder.join("stat")).is_ok_and(|stat| is_zombie_of_init(&stat));
    processes.filter(is_zombie).collect()
}

/// Reads the state and the parent in `/proc/PID/stat`. The name before them may contain any character.
fn is_zombie_of_init(stat: &str) -> bool {
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with("Z 1 "))
}

/// A reading of three clocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    day: Duration,
    monotonic: Duration,
    boot: Duration,
}

impl Clocks {
    #[expect(clippy::disallowed_methods, reason = "the clocks are what is examined")]
    pub(super) fn read() -> Self {
        let since_start = |clock| {
            let time = clock_gettime(clock);
            Duration::new(time.tv_sec.try_into().unwrap_or(0), time.tv_nsec.try_into().unwrap_or(0))
        };
        #[cfg(target_os = "linux")]
        let boot = since_start(ClockId::Boottime);
        #[cfg(not(target_os = "linux"))]
        let boot = since_start(ClockId::Monotonic);
        let day = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { day, monotonic: since_start(ClockId::Monotonic), boot }
    }

    fn since(self, before: Self) -> ClockFacts {
        let millis = |later: Duration, earlier: Duration| later.as_millis() as i64 - earlier.as_millis() as i64;
        ClockFacts {
            suspended: self.boot.saturating_sub(self.monotonic),
            // The clock that counts suspended time, as the time of day does.
            jump_ms: millis(self.day, before.day) - millis(self.boot, before.boot),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared() {
        let seconds = Duration::from_secs;
        let before = Clocks { day: seconds(1000), monotonic: seconds(50), boot: seconds(60) };
        let after = Clocks { day: seconds(999), monotonic: seconds(52), boot: seconds(62) };
        assert_eq!(after.since(before), ClockFacts { suspended: seconds(10), jump_ms: -3000 });
    }

    #[test]
    fn files_of_proc_are_parsed() {
        assert!(is_zombie_of_init("77 (a) Z 2 (b) Z 1 77 0") && !is_zombie_of_init("77 (a) Z 1 b) S 1 77 0"));
        assert_eq!(available_memory("MemTotal: 9 kB\nMemAvailable:    2 kB\n"), Some(2048));
    }
}
