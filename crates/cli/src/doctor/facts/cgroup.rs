//! The limits of the control groups of this process, version 1 or 2: of its own group and of those above.

use std::{
    fs,
    path::{Path, PathBuf},
};

const MOUNT: &str = "/sys/fs/cgroup";
/// A version 1 limit from here on means no limit: the kernel writes the largest number of whole pages.
const NO_LIMIT: u64 = 1 << 62;

/// The smallest limits; `None` for no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cgroup {
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// Cores.
    pub(crate) cpu: Option<f64>,
    /// The number of processes and threads.
    pub(crate) pids: Option<u64>,
    /// The number of those that exist now.
    pub(crate) pids_now: Option<u64>,
}

impl Cgroup {
    pub(super) fn read() -> Self {
        Self::of(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default(), |path| fs::read_to_string(path).ok())
    }

    /// Returns the limits of these groups (`/proc/self/cgroup`), from files that `read` reads.
    fn of(groups: &str, read: impl Fn(&Path) -> Option<String>) -> Self {
        let all = |controller: &str, file: &str| -> Vec<String> {
            folders(groups, controller).iter().filter_map(|folder| read(&folder.join(file))).collect()
        };
        let least = |controller, two, one| {
            let texts = [all("", two), all(controller, one)].concat();
            texts.iter().filter_map(|text| text.trim().parse().ok()).filter(|limit| *limit < NO_LIMIT).min()
        };
        let quotas = all("", "cpu.max").into_iter().chain(
            all("cpu", "cpu.cfs_quota_us")
                .into_iter()
                .zip(all("cpu", "cpu.cfs_period_us"))
                .map(|(quota, period)| format!("{} {period}", quota.trim())),
        );
        let used = [all("", "pids.current"), all("pids", "pids.current")].concat();
        Self {
            memory: least("memory", "memory.max", "memory.limit_in_bytes"),
            cpu: quotas.filter_map(|text| cores(&text)).min_by(f64::total_cmp),
            pids: least("pids", "pids.max", "pids.max"),
            pids_now: used.first().and_then(|text| text.trim().parse().ok()),
        }
    }
}

/// Returns the folders of the group of a controller (empty for version 2) and of those above it. In a container, the path may
/// be one of the host; only the mount itself exists then.
fn folders(groups: &str, controller: &str) -> Vec<PathBuf> {
    let path = groups.lines().find_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        controllers.split(',').any(|each| each == controller).then_some(path)
    });
    let Some(path) = path.filter(|path| !path.contains("..")) else { return Vec::new() };
    let mount = Path::new(MOUNT).join(controller);
    let own = mount.join(path.trim_start_matches('/'));
    own.ancestors().take_while(|folder| folder.starts_with(&mount)).map(Path::to_path_buf).collect()
}

/// Parses a quota and its period, such as `150000 100000`. A quota of `max` or -1 is no limit.
fn cores(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (f64, f64) = (quota.parse().ok()?, period.trim().parse().ok()?);
    (quota > 0.0 && period > 0.0).then(|| quota / period)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(groups: &str, files: &[(&str, &str)]) -> Cgroup {
        Cgroup::of(groups, |path| {
            let name = path.to_str()?.strip_prefix("/sys/fs/cgroup/")?;
            files.iter().find(|(file, _)| *file == name).map(|(_, text)| format!("{text}\n"))
        })
    }

    #[test]
    fn the_smallest_limit_of_all_levels_counts() {
        let files = [
            ("a/b/memory.max", "max"),
            ("a/memory.max", "1000"),
            ("memory.max", "2000"),
            ("a/b/cpu.max", "150000 100000"),
            ("a/cpu.max", "max 100000"),
            ("a/b/pids.max", "64"),
            ("a/b/pids.current", "7"),
        ];
        let expected = Cgroup { memory: Some(1000), cpu: Some(1.5), pids: Some(64), pids_now: Some(7) };
        assert_eq!(limits("0::/a/b\n", &files), expected);
        assert_eq!(limits("0::/\n", &files).memory, Some(2000), "in a container");
        assert_eq!(limits("", &files), Cgroup::default());
    }

    #[test]
    fn limits_of_version_1_are_read() {
        let files = [
            ("memory/docker/x/memory.limit_in_bytes", "9223372036854771712"),
            ("memory/memory.limit_in_bytes", "4096"),
            ("cpu/cpu.cfs_quota_us", "50000"),
            ("cpu/cpu.cfs_period_us", "100000"),
            ("pids/pids.max", "max"),
        ];
        let expected = Cgroup { memory: Some(4096), cpu: Some(0.5), pids: None, pids_now: None };
        assert_eq!(limits("3:pids:/\n2:cpu,cpuacct:/\n1:memory:/docker/x\n", &files), expected);
    }
}
