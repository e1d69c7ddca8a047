//! Finds evidence that a killed worker ran out of memory: the kernel's counter for the host's cgroup, and the worker's peak
//! compared with the limit. Reads small files when a worker starts and when it was killed, on the crate's own threads.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

/// A cgroup v1 limit from here on means no limit: the kernel writes the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 62;
/// A peak of at least this percentage of the limit is evidence.
const NEAR_LIMIT_PERCENT: u64 = 90;

/// What is known about the memory of a worker that has ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExitMemory {
    /// The peak of the resident memory in bytes, shared pages included, or that of a child it waited for if that was higher.
    /// `None` if the peak never exceeded that of the host at the fork, because the system cannot distinguish the two.
    pub peak_memory: Option<u64>,
    /// Why a `SIGKILL` that this crate did not send was probably caused by a lack of memory.
    pub out_of_memory: Option<OutOfMemory>,
}

/// Evidence that a process was killed for a lack of memory. It makes the cause likely, not certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OutOfMemory {
    /// The kernel has counted more kills in the host's cgroup than other deaths explain.
    KernelCounter {
        /// The count when the worker started, or the count that other deaths since then explain.
        from: u64,
        /// The count after the worker died.
        to: u64,
    },
    /// The worker used nearly all the memory that its cgroup allows.
    NearLimit {
        /// The peak of the worker, in bytes.
        peak: u64,
        /// The limit of the cgroup, or of one above it, in bytes.
        limit: u64,
    },
}

impl fmt::Display for OutOfMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: u64| bytes >> 20;
        match *self {
            Self::KernelCounter { from, to } => write!(f, "the cgroup's oom_kill count rose from {from} to {to}"),
            Self::NearLimit { peak, limit } => {
                write!(f, "peak memory was {} MiB, the cgroup's limit is {} MiB", mib(peak), mib(limit))
            }
        }
    }
}

/// The host's memory cgroup and its counter just before a worker was started. The worker inherits the cgroup.
#[derive(Debug, Default)]
pub(crate) struct CgroupBaseline {
    cgroup: Option<Cgroup>,
    kills: Option<u64>,
}

/// The kills by the kernel that deaths already explain: one kill is evidence for one death.
#[derive(Debug, Default)]
pub(crate) struct OomAccounting(Option<(PathBuf, u64)>);

/// The directory of a memory cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Cgroup {
    version: Version,
    /// The mount point of the hierarchy.
    mount: PathBuf,
    folder: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl CgroupBaseline {
    /// Reads the cgroup and its counter. Without cgroups there is never evidence.
    pub(crate) fn read() -> Self {
        let text = |path| fs::read_to_string(path).unwrap_or_default();
        Self::of(cgroup(&text("/proc/self/cgroup"), &text("/proc/self/mountinfo")))
    }

    fn of(cgroup: Option<Cgroup>) -> Self {
        let kills = cgroup.as_ref().and_then(Cgroup::kills);
        Self { cgroup, kills }
    }
}

impl OomAccounting {
    /// Looks for evidence that a worker, which this crate did not kill, was killed for a lack of memory.
    pub(crate) fn evidence(&mut self, before: &CgroupBaseline, peak: Option<u64>) -> Option<OutOfMemory> {
        let cgroup = before.cgroup.as_ref()?;
        self.count(cgroup, before.kills).or_else(|| {
            let (peak, limit) = (peak?, cgroup.limit()?);
            (peak >= limit / 100 * NEAR_LIMIT_PERCENT).then_some(OutOfMemory::NearLimit { peak, limit })
        })
    }

    fn count(&mut self, cgroup: &Cgroup, before: Option<u64>) -> Option<OutOfMemory> {
        let oom_accounting = self.0.take().filter(|(folder, _)| *folder == cgroup.folder).map_or(0, |(_, kills)| kills);
        let (from, to) = (before?.max(oom_accounting), cgroup.kills()?);
        let is_more = to > from;
        self.0 = Some((cgroup.folder.clone(), from + u64::from(is_more)));
        is_more.then_some(OutOfMemory::KernelCounter { from, to })
    }
}

impl Cgroup {
    /// Returns how many of its processes the kernel has killed for a lack of memory, at any level of limits.
    fn kills(&self) -> Option<u64> {
        let file = match self.version {
            Version::One => "memory.oom_control",
            Version::Two => "memory.events",
        };
        kills(&fs::read_to_string(self.folder.join(file)).ok()?)
    }

    /// Returns the lowest limit of the cgroup and those above it, in bytes.
    fn limit(&self) -> Option<u64> {
        let file = match self.version {
            Version::One => "memory.limit_in_bytes",
            Version::Two => "memory.max",
        };
        let read = |folder: &Path| -> io::Result<String> { fs::read_to_string(folder.join(file)) };
        let folders = self.folder.ancestors().take_while(|folder| folder.starts_with(&self.mount));
        folders.filter_map(|folder| limit(&read(folder).ok()?)).min()
    }
}

/// Parses the `oom_kill` of `memory.events` (v2) or `memory.oom_control` (v1, since Linux 4.13).
fn kills(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Parses a limit in bytes; `None` for no limit.
fn limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < NO_LIMIT)
}

/// Returns the memory cgroup of a process from its `/proc/PID/cgroup` and `/proc/PID/mountinfo`: in the v1 hierarchy if memory
/// has one, otherwise in v2.
fn cgroup(cgroups: &str, mounts: &str) -> Option<Cgroup> {
    let path_of = |controller: &str| {
        cgroups.lines().find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers.split(',').any(|each| each == controller).then_some(path)
        })
    };
    let one = || place(Version::One, path_of("memory")?, mounts);
    let two = || place(Version::Two, path_of("")?, mounts);
    one().or_else(two)
}

fn place(version: Version, path: &str, mounts: &str) -> Option<Cgroup> {
    let (root, mount) = mounts.lines().find_map(|line| mounted(version, line))?;
    // In a container the mount may start at the container's own cgroup, or at a place that the path does not contain. The mount
    // itself is used then.
    let inside = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
    let plain = inside.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    let folder = if plain { Path::new(mount).join(inside).components().collect() } else { mount.into() };
    Some(Cgroup { version, mount: mount.into(), folder })
}

/// Returns which part of a hierarchy a line of mountinfo mounts and where, if the hierarchy controls memory.
fn mounted(version: Version, line: &str) -> Option<(&str, &str)> {
    let (own, file_system) = line.split_once(" - ")?;
    let mut file_system = file_system.split(' ');
    let (kind, options) = (file_system.next()?, file_system.nth(1)?);
    let fits = match version {
        Version::One => kind == "cgroup" && options.split(',').any(|option| option == "memory"),
        Version::Two => kind == "cgroup2",
    };
    let mut own = own.split(' ').skip(3);
    fits.then_some((own.next()?, own.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = "low 0\nhigh 0\nmax 1203\noom 4\noom_kill 3\noom_group_kill 0\n";
    const CONTROL: &str = "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n";
    const SYSTEMD: &str = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/run-u12.service\n";
    const SYSTEMD_MOUNT: &str = "24 30 0:22 / /proc rw,nosuid - proc proc rw\n\
        34 25 0:30 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:9 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot\n";
    const HYBRID: &str = "5:pids:/system.slice\n4:memory:/jobs/one\n1:name=systemd:/\n0::/\n";
    const HYBRID_MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:16 - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    fn folder(cgroups: &str, mounts: &str) -> Option<(Version, String)> {
        cgroup(cgroups, mounts).map(|found| (found.version, found.folder.display().to_string()))
    }

    #[test]
    fn counts_and_limits_are_read_as_kernels_write_them() {
        assert_eq!((kills(EVENTS), kills(CONTROL)), (Some(3), Some(7)));
        assert_eq!(kills("oom_kill_disable 0\nunder_oom 0\n"), None, "a kernel before 4.13");
        assert_eq!(kills(""), None);
        assert_eq!((limit("max\n"), limit("536870912\n")), (None, Some(512 << 20)));
        assert_eq!(limit("9223372036854771712\n"), None, "no limit in v1");
    }

    #[test]
    fn the_memory_cgroup_is_found() {
        let two = |path: &str| Some((Version::Two, path.to_owned()));
        let user = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/run-u12.service";
        assert_eq!(folder(SYSTEMD, SYSTEMD_MOUNT), two(user));
        assert_eq!(folder("0::/\n", SYSTEMD_MOUNT), two("/sys/fs/cgroup"), "a container with a namespace");
        assert_eq!(folder("0::/../other\n", SYSTEMD_MOUNT), two("/sys/fs/cgroup"), "moved out of its namespace");
        assert_eq!(folder(HYBRID, HYBRID_MOUNTS), Some((Version::One, "/sys/fs/cgroup/memory/jobs/one".into())));
        let docker = "12:cpu,cpuacct:/docker/ab\n8:memory:/docker/ab\n";
        let bound = "910 900 0:32 /docker/ab /sys/fs/cgroup/memory ro master:16 - cgroup cgroup rw,memory\n";
        assert_eq!(folder(docker, bound), Some((Version::One, "/sys/fs/cgroup/memory".into())));
        assert_eq!(folder("", ""), None);
        assert_eq!(folder(SYSTEMD, ""), None);
    }

    /// A directory for one test, removed at its end.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("herder-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Creates a cgroup of plain files.
    fn faked(root: &Path, kills: u64, limit: &str) -> Cgroup {
        let cgroup = Cgroup { version: Version::Two, mount: root.into(), folder: root.join("a/b") };
        fs::create_dir_all(&cgroup.folder).unwrap();
        fs::write(cgroup.folder.join("memory.events"), EVENTS.replace("oom_kill 3", &format!("oom_kill {kills}")))
            .unwrap();
        fs::write(cgroup.folder.join("memory.max"), "max\n").unwrap();
        fs::write(root.join("a/memory.max"), limit).unwrap();
        cgroup
    }

    /// One kill is evidence for one death, whichever death is examined first. A kill from before the start is evidence for
    /// none.
    #[test]
    fn a_kill_accounts_for_one_death() {
        let root = Folder::new("kills");
        let before = CgroupBaseline::of(Some(faked(root.path(), 3, "max\n")));
        let mut oom_accounting = OomAccounting::default();
        assert_eq!(oom_accounting.evidence(&before, Some(1 << 40)), None, "nothing rose, and nothing limits");
        faked(root.path(), 5, "max\n");
        assert_eq!(oom_accounting.evidence(&before, None), Some(OutOfMemory::KernelCounter { from: 3, to: 5 }));
        assert_eq!(oom_accounting.evidence(&before, None), Some(OutOfMemory::KernelCounter { from: 4, to: 5 }));
        assert_eq!(oom_accounting.evidence(&before, None), None, "both are accounted for");
        let later = CgroupBaseline::of(Some(faked(root.path(), 5, "max\n")));
        assert_eq!(OomAccounting::default().evidence(&later, None), None, "it started after both");
    }

    #[test]
    fn a_peak_near_the_limit_of_a_cgroup_above_is_evidence() {
        let root = Folder::new("peak");
        let before = CgroupBaseline::of(Some(faked(root.path(), 3, "1000000\n")));
        let evidence = |peak| OomAccounting::default().evidence(&before, peak);
        assert_eq!(evidence(Some(900_000)), Some(OutOfMemory::NearLimit { peak: 900_000, limit: 1_000_000 }));
        assert_eq!((evidence(Some(899_999)), evidence(None)), (None, None));
        assert_eq!(
            OomAccounting::default().evidence(&CgroupBaseline::default(), Some(900_000)),
            None,
            "no cgroup, no evidence"
        );
    }

    #[test]
    fn out_of_memory_evidence_is_rendered() {
        let counted = OutOfMemory::KernelCounter { from: 3, to: 4 };
        assert_eq!(counted.to_string(), "the cgroup's oom_kill count rose from 3 to 4");
        let near = OutOfMemory::NearLimit { peak: 500 << 20, limit: 512 << 20 };
        assert_eq!(near.to_string(), "peak memory was 500 MiB, the cgroup's limit is 512 MiB");
    }
}
