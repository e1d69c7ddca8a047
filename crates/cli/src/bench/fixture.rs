//! Reports for tests, made of calls with given times. Nothing is started.

use super::{options::Options, plan::Plan, row};
use clap::Parser;
use herder::{
    efficiency::{
        EfficiencyReport, Failures, Machine, Verdict, WorkerStart,
        concurrency::{
            CpuTime, Interval, ObservedRun, ObservedWorker, Operation, TimeAccount, verify_concurrent_execution,
        },
    },
    pool::Timestamp,
    status::{Generation, WorkerId, WorkerRef},
};

/// Creates a call that was queued, started and ended at these times, in milliseconds. Its transit took 0.1 ms in each
/// direction.
pub(super) fn call(worker: u32, queued: f64, started: f64, ended: f64) -> Operation {
    let worker_ref = WorkerRef { id: WorkerId(worker), generation: Generation(1) };
    let [queued, sent, started, ended, answered] =
        [queued, started - 0.1, started, ended, ended + 0.1].map(|millis| Timestamp((millis * 1e6).round() as u64));
    Operation { worker: worker_ref, queued: queued.min(sent), sent, started, ended, answered }
}

/// Creates the report of a run with this number of workers, one call slot for each, and as many callers as calls. The
/// run starts at 0 and ends with the last answer.
pub(super) fn report(workers: u32, operations: &[Operation]) -> EfficiencyReport {
    let ended = operations.iter().map(|call| call.answered.0).max().unwrap();
    let window = Interval::new(0, ended).unwrap();
    let worker = |worker| ObservedWorker {
        id: WorkerId(worker),
        concurrency: 1,
        starting: vec![],
        cpu_time: Some(CpuTime::default()),
    };
    let observed = ObservedRun {
        window,
        workers: (1..=workers).map(worker).collect(),
        operations: operations.to_vec(),
        encoding: vec![],
        uncontended: None,
    };
    let intervals: Vec<Interval> = operations.iter().map(Operation::interval).collect();
    EfficiencyReport {
        pool: "basic".parse().unwrap(),
        command: "sleep".into(),
        workers: workers as usize,
        concurrency: 1,
        callers: operations.len(),
        start: WorkerStart::Warm,
        window,
        account: TimeAccount::of(&observed).unwrap(),
        verdict: verify_concurrent_execution(&intervals).map_or_else(Verdict::Serialized, Verdict::Concurrent),
        comparison: None,
        cpu_share: None,
        uncontended: None,
        machine: Machine { cores: 2.0, other_load: Some(0.1), steal: Some(0.0) },
        failures: Failures::default(),
        operations: operations.to_vec(),
    }
}

/// Returns the report of two workers with two calls each: three of 10 ms and one of 20 ms.
pub(super) fn two_workers() -> EfficiencyReport {
    report(2, &[call(1, 0.0, 1.0, 11.0), call(2, 0.0, 1.0, 21.0), call(1, 0.0, 11.5, 21.5), call(2, 0.5, 21.5, 31.5)])
}

/// Returns the report of one worker with the same calls.
pub(super) fn one_worker() -> EfficiencyReport {
    report(1, &[call(1, 0.0, 1.0, 11.0), call(1, 0.0, 12.0, 32.0), call(1, 0.0, 33.0, 43.0), call(1, 0.5, 44.0, 54.0)])
}

/// Creates one row for each list of reports.
pub(super) fn rows(reports: Vec<Vec<EfficiencyReport>>) -> Vec<row::Row> {
    row::rows(reports).unwrap()
}

/// Parses these arguments into a plan.
pub(super) fn plan(arguments: &[&str]) -> Plan {
    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        options: Options,
    }
    let command = Command::parse_from([&["bench", "herder.demo:app"], arguments].concat());
    Plan::of(&command.options).unwrap()
}
