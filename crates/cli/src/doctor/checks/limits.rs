//! The limits of descriptors, memory, cores and processes, against what the pools need.

use super::super::{
    check::Check,
    facts::{Facts, python::PoolFacts},
};
use crate::units::bytes;

/// Fewer descriptors than this for connections are a finding.
const FEW_CONNECTIONS: u64 = 64;
/// More workers for each core than this are a finding, where a control group limits the cores.
const WORKERS_PER_CORE: f64 = 4.0;
/// The threads of the server itself, and of the programs that it starts.
const SERVER_THREADS: u64 = 32;
/// The threads of a worker whose number is unknown.
const WORKER_THREADS: u64 = 2;

pub(super) fn descriptors(facts: &Facts) -> Option<Check> {
    const NAME: &str = "descriptors";
    let (limit, needed) = facts.descriptors?;
    let found = format!("the limit is {limit}; the server and its workers need {needed}, connections have the rest");
    let raise = "raise it: `ulimit -n`, `LimitNOFILE=` of the unit (systemd), `--ulimit nofile=` (Docker)";
    Some(if limit <= needed {
        Check::error(NAME, found, "the server does not start", format!("{raise}; or start fewer workers"))
    } else if limit - needed < FEW_CONNECTIONS {
        Check::warning(NAME, found, "further clients wait until a connection is closed", raise)
    } else {
        Check::ok(NAME, found)
    })
}

/// Compares the memory of all workers, each as large as the one that was started, with the limit or with what is available.
pub(super) fn memory(facts: &Facts) -> Option<Check> {
    const NAME: &str = "memory";
    let without = facts.pools.iter().find(|pool| !matches!(pool.worker, Some(Ok(_))));
    if let Some(PoolFacts { name, .. }) = without {
        return Some(Check::ok(NAME, format!("not examined, because no worker of pool `{name}` was started")));
    }
    let sizes: Option<Vec<u64>> =
        facts.pools.iter().map(|pool| Some(all_workers(pool) * memory_of_one(pool)?)).collect();
    let needed: u64 = sizes.filter(|sizes| !sizes.is_empty())?.iter().sum();
    let (available, source) = match (facts.cgroup.memory, facts.machine.available_memory) {
        (Some(limit), available) if available.is_none_or(|available| limit <= available) => {
            (limit, "the limit of the control group is")
        }
        (_, available) => (available?, "free on this machine:"),
    };
    let workers: u64 = facts.pools.iter().map(all_workers).sum();
    let found = format!(
        "idle workers, overflow included: {workers}, which need up to {}; {source} {}",
        bytes(needed),
        bytes(available)
    );
    Some(if needed > available {
        let action =
            "set a smaller `pool_size` or `overflow`, allow more memory, or share it with `start = \"template\"`";
        Check::error(NAME, found, "the kernel kills workers, or the server, once memory is used up", action)
    } else if needed > available / 10 * 8 {
        let action = "measure a worker under load (`resident_bytes` with `worker_metrics`), and set `pool_size` by it";
        Check::warning(NAME, found, "calls need memory too; the kernel kills workers once it is used up", action)
    } else {
        Check::ok(NAME, found)
    })
}

pub(super) fn cpu(facts: &Facts) -> Option<Check> {
    const NAME: &str = "cpu";
    let workers: u64 = facts.pools.iter().map(|pool| pool.workers).sum();
    let Some(quota) = facts.cgroup.cpu else {
        return Some(Check::ok(NAME, format!("workers: {workers}; cores: {}, no quota", facts.machine.cores?)));
    };
    let found = format!("workers: {workers}; cores: a quota of {quota:.2}");
    Some(if workers as f64 > quota * WORKERS_PER_CORE {
        Check::warning(
            NAME,
            found,
            "busy workers use up the quota of a period early, and then all of them stand still until the next one",
            "set a smaller `pool_size`, or allow more cores; ignore this if the handlers mostly wait",
        )
    } else {
        Check::ok(NAME, found)
    })
}

pub(super) fn processes(facts: &Facts) -> Option<Check> {
    const NAME: &str = "processes";
    let Some(limit) = facts.cgroup.pids else { return Some(Check::ok(NAME, "no limit of the control group")) };
    let threads: u64 = facts.pools.iter().map(|pool| all_workers(pool) * threads_of_one(pool)).sum();
    let (needed, used) = (threads + SERVER_THREADS, facts.cgroup.pids_now.unwrap_or(0));
    let found =
        format!("the control group allows {limit} processes and threads; {used} exist, the server needs {needed}");
    Some(if used + needed > limit {
        let action = "raise it: `TasksMax=` of the unit (systemd), `--pids-limit` (Docker); or start fewer workers";
        Check::error(NAME, found, "workers and their threads cannot be started", action)
    } else {
        Check::ok(NAME, found)
    })
}

fn all_workers(pool: &PoolFacts) -> u64 {
    pool.workers + pool.overflow
}

fn memory_of_one(pool: &PoolFacts) -> Option<u64> {
    pool.worker.as_ref()?.as_ref().ok()?.memory
}

fn threads_of_one(pool: &PoolFacts) -> u64 {
    let worker = pool.worker.as_ref().and_then(|worker| worker.as_ref().ok());
    worker.and_then(|worker| worker.threads).unwrap_or(WORKER_THREADS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::{
        check::Level,
        facts::{cgroup::Cgroup, machine::Machine, python::Worker},
    };

    /// A pool of four workers and one overflow worker of 100 MiB and three threads.
    fn facts() -> Facts {
        let worker = Worker { memory: Some(100 << 20), threads: Some(3), ..Worker::default() };
        let pool = PoolFacts { workers: 4, overflow: 1, worker: Some(Ok(worker)), ..PoolFacts::default() };
        Facts { pools: vec![pool], ..Facts::default() }
    }

    #[test]
    fn the_limit_of_descriptors_is_compared_with_the_need() {
        let level = |limit| descriptors(&Facts { descriptors: Some((limit, 100)), ..facts() }).unwrap().level;
        assert_eq!([100, 101, 163, 164].map(level), [Level::Error, Level::Warning, Level::Warning, Level::Ok]);
        assert!(descriptors(&facts()).is_none(), "no limit");
    }

    #[test]
    fn the_memory_of_all_workers_must_fit() {
        let with = |limit: Option<u64>, available: Option<u64>| {
            let machine = Machine { available_memory: available.map(|mib| mib << 20), ..Machine::default() };
            let cgroup = Cgroup { memory: limit.map(|mib| mib << 20), ..Cgroup::default() };
            memory(&Facts { machine, cgroup, ..facts() }).map(|check| check.level)
        };
        assert_eq!(with(Some(499), Some(9000)), Some(Level::Error));
        assert_eq!(with(Some(600), Some(9000)), Some(Level::Warning));
        assert_eq!(with(Some(9000), Some(1000)), Some(Level::Ok), "the smaller one counts");
        assert_eq!(with(None, Some(499)), Some(Level::Error));
        assert_eq!(with(None, None), None);
        assert!(memory(&Facts::default()).is_none());
        let without = PoolFacts { name: "shop".into(), worker: Some(Err("no torch".into())), ..PoolFacts::default() };
        let found = memory(&Facts { pools: vec![without], ..Facts::default() }).unwrap().found;
        assert_eq!(found, "not examined, because no worker of pool `shop` was started");
    }

    #[test]
    fn a_small_quota_of_cores_is_a_warning() {
        let level = |quota| {
            let cgroup = Cgroup { cpu: Some(quota), ..Cgroup::default() };
            cpu(&Facts { cgroup, ..facts() }).unwrap().level
        };
        assert_eq!([0.9, 1.0].map(level), [Level::Warning, Level::Ok]);
    }

    #[test]
    fn processes_are_counted_with_their_threads() {
        let level = |limit| {
            let cgroup = Cgroup { pids: Some(limit), pids_now: Some(10), ..Cgroup::default() };
            processes(&Facts { cgroup, ..facts() }).unwrap().level
        };
        let needed = 10 + 5 * 3 + SERVER_THREADS;
        assert_eq!([needed - 1, needed].map(level), [Level::Error, Level::Ok]);
    }
}
