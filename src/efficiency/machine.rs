//! What the system counts of processors: cores, the time of processes, and what others did. Reads `/proc`; sees nothing where there is
//! none.

use crate::concurrency::{CpuTime, LOADED};
use serde::Serialize;
use std::{fs, num::NonZero, process, thread, time::Duration};

/// The host may take this share of the cores' time. Efficiency falls by about as much: calls of 5 ms, on one to eight workers of two cores, lost
/// 0.04 more where it took 0.04, 0.1 where it took 0.12, and 0.38 where it took 0.34.
const STEAL: f64 = 0.03;

/// The machine during a measurement.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Machine {
    /// The cores this process may use: its affinity and its cgroup's quota are reckoned with.
    pub cores: f64,
    /// How many of them others kept busy: neither this process nor the pool's. `None` where the system does not tell.
    pub other_load: Option<f64>,
    /// For which share of the time, from 0 to 1, a core had something to do and the host of this virtual machine had given it away
    /// ("steal"). It is in `other_load`, too. `None` where the system does not tell.
    pub steal: Option<f64>,
}

impl Machine {
    /// Whether timings tell more about others than about the pool: they kept more than a share of [`LOADED`] of the cores busy, or there
    /// was [steal](Self::has_steal).
    pub fn is_loaded(&self) -> bool {
        self.other_load.is_some_and(|other_load| other_load > LOADED * self.cores) || self.has_steal()
    }

    /// Whether the host of this virtual machine gave its cores away for more than 3 % of the time.
    ///
    /// Others beside the pool give way to it, and leave it what they don't use. A core that was given away does not come when it is called:
    /// that delays whoever waits for it, however idle the machine is otherwise.
    pub fn has_steal(&self) -> bool {
        self.steal.is_some_and(|steal| steal > STEAL)
    }
}

/// The cores this process may use; 1 if nobody can tell.
pub(super) fn cores() -> f64 {
    thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64)
}

/// What all threads of a process did so far. `None` of a process that is gone, or where the system does not count it.
pub(super) fn cpu_time(pid: u32) -> Option<CpuTime> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
    let counted = tasks.filter_map(|task| schedstat(&fs::read_to_string(task.path().join("schedstat")).ok()?));
    counted.reduce(|sum, task| CpuTime { used: sum.used + task.used, waited: sum.waited + task.waited })
}

/// What this process did so far.
pub(super) fn own() -> Option<CpuTime> {
    cpu_time(process::id())
}

/// Nanoseconds on a processor, and in its queue.
fn schedstat(text: &str) -> Option<CpuTime> {
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse().ok().map(Duration::from_nanos));
    Some(CpuTime { used: fields.next()??, waited: fields.next()?? })
}

/// The processors of the whole machine since it started, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CpuTicks {
    /// What was stolen is in it: a core had something to do then.
    busy: u64,
    steal: u64,
    all: u64,
    cores: u64,
}

impl CpuTicks {
    pub(super) fn now() -> Option<Self> {
        Self::parse(&fs::read_to_string("/proc/stat").ok()?)
    }

    /// `cpu user nice system idle iowait irq softirq steal ...`, then a line for each core.
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
        let (all, idle) = (numbers.iter().sum::<u64>(), IDLE.iter().filter_map(|&at| numbers.get(at)).sum::<u64>());
        let is_core =
            |line: &&str| line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        let cores = text.lines().filter(is_core).count().max(NonZero::<usize>::MIN.get()) as u64;
        Some(Self { busy: all - idle, steal: numbers.get(STOLEN).copied().unwrap_or(0), all, cores })
    }

    /// Which share of the time since then was stolen. `None` if too little has passed to tell.
    pub(super) fn stolen_since(self, before: Self) -> Option<f64> {
        let (steal, all) = (self.steal.saturating_sub(before.steal), self.all.saturating_sub(before.all));
        (all > 0).then(|| steal as f64 / all as f64)
    }

    /// How many of `cores` others kept busy since then, for `lasted`, when we used `ours`. `None` if too little time has passed to tell.
    pub(super) fn others_since(self, before: Self, lasted: Duration, ours: Duration, cores: f64) -> Option<f64> {
        let (busy, all) = (self.busy.saturating_sub(before.busy), self.all.saturating_sub(before.all));
        if all == 0 || lasted.is_zero() {
            return None;
        }
        let busy_cores = busy as f64 / all as f64 * self.cores as f64;
        let of_others = (busy_cores - ours.as_secs_f64() / lasted.as_secs_f64()).max(0.0);
        // Of a machine of which we may use a part, others use that part as they use the whole.
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
        // 1 s of two cores at 75 %: 1.5 cores, of which half a core was ours.
        let other_load = ticks(180, 120).others_since(ticks(30, 70), seconds(1), seconds(1) / 2, 2.0);
        assert_eq!(other_load, Some(1.0));
        // Of a quarter of a machine of which others use half, they use half.
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
        assert_eq!(old, Some(0.0), "a kernel that counts none");
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
