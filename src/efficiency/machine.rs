//! The processor statistics of the system: cores, the CPU time of processes, and the load of other processes. Reads
//! `/proc`; returns nothing on systems without it.

use herder_efficiency::concurrency::{CpuTime, LOADED};
use serde::Serialize;
use std::{fs, num::NonZero, process, thread, time::Duration};

/// The share of the cores' time from which steal counts. Efficiency falls by about the same share: for calls of 5 ms,
/// on one to eight workers of two cores, it fell by 0.04 at a steal of 0.04, by 0.1 at 0.12, and by 0.38 at 0.34.
const STEAL: f64 = 0.03;

/// The machine during a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// The number of cores that this process may use. The process's CPU affinity and the quota of its cgroup are
    /// included.
    pub cores: f64,
    /// The number of cores that other processes kept busy, without this process and the pool's workers. `None` if the
    /// system does not report it.
    pub other_load: Option<f64>,
    /// The share of time, from 0 to 1, during which a core was needed but the host of this virtual machine used it for
    /// something else ("steal"). It is included in `other_load`. `None` if the system does not report it.
    pub steal: Option<f64>,
}

impl Machine {
    /// Returns whether the timings are unreliable: other processes kept more than a share of [`LOADED`] of the cores
    /// busy, or there was [steal](Self::has_steal).
    pub fn is_loaded(&self) -> bool {
        self.other_load.is_some_and(|other_load| other_load > LOADED * self.cores) || self.has_steal()
    }

    /// Returns whether the host of this virtual machine took its cores for more than 3 % of the time.
    ///
    /// Steal has a lower limit than other load. Other processes leave the time that they do not use to the pool, while
    /// a stolen core is missing exactly when it is needed, even on an idle machine.
    pub fn has_steal(&self) -> bool {
        self.steal.is_some_and(|steal| steal > STEAL)
    }
}

/// Returns the number of cores that this process may use; 1 if it is unknown.
pub(super) fn cores() -> f64 {
    thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}

/// Returns the CPU time of all threads of a process. `None` if the process no longer exists, or the system does not
/// report it.
pub(super) fn cpu_time(pid: u32) -> Option<CpuTime> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let counted = tasks.filter_map(|task| schedstat(&fs::read_to_string(task.path().join("schedstat")).ok()?));
    counted.reduce(|sum, task| CpuTime { used: sum.used + task.used, waited: sum.waited + task.waited })
}

/// Returns the CPU time of this process.
pub(super) fn own() -> Option<CpuTime> {
    cpu_time(process::id())
}

/// Parses the nanoseconds on a processor and in its run queue.
fn schedstat(text: &str) -> Option<CpuTime> {
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse().ok().map(Duration::from_nanos));
    Some(CpuTime { used: fields.next()??, waited: fields.next()?? })
}

/// The CPU time of the whole machine since its start, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CpuTicks {
    /// Includes `steal`: a core had something to do at that time.
    busy: u64,
    steal: u64,
    all: u64,
    cores: u64,
}

impl CpuTicks {
    pub(super) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// Parses `cpu user nice system idle iowait irq softirq steal ...`, followed by a line for each core.
    fn parse(text: &str) -> Option<Self> {
        const IDLE: [usize; 2] = [3, 4];
        const STOLEN: usize = 7;
        let numbers: Vec<u64> = text
            .lines()
            .next()?
            .strip_prefix("cpu ")?
            .split_ascii_whitespace()
            .map_while(|n| n.parse().ok())
            .take(8)
            .collect();
        let (all, idle) =
            (numbers.iter().sum::<u64>(), IDLE.iter().filter_map(|&column| numbers.get(column)).sum::<u64>());
        let is_core =
            |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let cores = text.lines().filter(is_core).count().max(NonZero::<usize>::MIN.get()) as u64;
        Some(Self { busy: all - idle, steal: numbers.get(STOLEN).copied().unwrap_or(0), all, cores })
    }

    /// Returns the share of time that was stolen since `before`. `None` if too little time has passed.
    pub(super) fn stolen_since(self, before: Self) -> Option<f64> {
        let (steal, all) = (self.steal.saturating_sub(before.steal), self.all.saturating_sub(before.all));
        (all > 0).then(|| steal as f64 / all as f64)
    }

    /// Returns the number of cores, of `cores`, that other processes kept busy since `before`. `lasted` is the time
    /// since then, and `ours` the CPU time of this process and the workers. `None` if too little time has passed.
    pub(super) fn others_since(self, before: Self, lasted: Duration, ours: Duration, cores: f64) -> Option<f64> {
        let (busy, all) = (self.busy.saturating_sub(before.busy), self.all.saturating_sub(before.all));
        if all == 0 || lasted.is_zero() {
            return None;
        }
        let busy_cores = busy as f64 / all as f64 * self.cores as f64;
        let of_others = (busy_cores - ours.as_secs_f64() / lasted.as_secs_f64()).max(0.0);
        // If this process may use only a part of the machine, assume that other processes load that part like the
        // whole.
        Some(of_others * (cores / self.cores as f64).min(1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r47_proc_counters_are_parsed() {
        let seconds = Duration::from_secs;
        assert_eq!(
            schedstat("5 7 3\n"),
            Some(CpuTime { used: Duration::from_nanos(5), waited: Duration::from_nanos(7) })
        );
        assert_eq!(schedstat("5"), None);
        let ticks = |busy, idle| {
            CpuTicks::parse(&format!("cpu  {busy} 0 0 {idle} 0 0 0 0 9 9\ncpu0 1\ncpu1 1\nintr 5\n")).unwrap()
        };
        assert_eq!(ticks(30, 70), CpuTicks { busy: 30, steal: 0, all: 100, cores: 2 });
        // 1 s of two cores at 75 %: 1.5 cores are busy, half a core of which is ours.
        let other_load = ticks(180, 120).others_since(ticks(30, 70), seconds(1), seconds(1) / 2, 2.0);
        assert_eq!(other_load, Some(1.0));
        // If other processes use half of a machine, they use half of the quarter that this process may use.
        let wide = CpuTicks { busy: 80, steal: 0, all: 160, cores: 8 };
        let none = CpuTicks { busy: 0, steal: 0, all: 0, cores: 8 };
        assert_eq!(wide.others_since(none, seconds(1), seconds(0), 2.0), Some(1.0));
        assert_eq!(wide.others_since(wide, seconds(1), seconds(0), 2.0), None);
    }

    #[test]
    fn r47_steal_is_a_share_of_the_time() {
        let ticks = |text: &str| CpuTicks::parse(text).unwrap();
        let before = ticks("cpu 100 0 0 1000 0 0 0 7\ncpu0\ncpu1\n");
        let after = ticks("cpu 130 0 5 1150 0 2 3 17\ncpu0\ncpu1\n");
        assert_eq!((after.stolen_since(before), before.stolen_since(before)), (Some(0.05), None));
        let old = ticks("cpu 130 0 5 1150\ncpu0\n").stolen_since(ticks("cpu 100 0 0 1000\ncpu0\n"));
        assert_eq!(old, Some(0.0), "a kernel that does not report steal");
        let machine = |other_load, steal| Machine { cores: 2.0, other_load: Some(other_load), steal: Some(steal) };
        assert!(machine(0.1, 0.05).has_steal() && machine(0.1, 0.05).is_loaded() && !machine(0.1, 0.02).is_loaded());
        assert!(machine(1.1, 0.02).is_loaded() && !machine(1.1, 0.02).has_steal());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn r47_this_process_used_some_processor() {
        assert!(own().is_some_and(|own| !own.used.is_zero()) && CpuTicks::now().is_some() && cores() >= 1.0);
        assert_eq!(cpu_time(u32::MAX), None);
    }
}
