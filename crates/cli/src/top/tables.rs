//! The columns of the three tables. Pure.

use super::{
    cells::{bytes, count, dash, number, time},
    columns::{Align, Column},
    snapshot::{CommandView, PoolView, WorkerView},
};

/// The title of the columns with states.
pub(super) const STATE: &str = "STATE";

const fn column<T>(title: &'static str, width: u16, rank: u8, align: Align, cell: fn(&T) -> String) -> Column<T> {
    Column { title, width, rank, align, cell }
}

pub(super) const POOLS: [Column<PoolView>; 11] = [
    column("POOL", 10, 0, Align::Stretch, |pool| pool.name.clone()),
    column(STATE, 8, 1, Align::Left, |pool| pool.state.clone()),
    column("READY", 9, 2, Align::Right, |pool| format!("{}/{}", pool.ready, pool.size)),
    column("WAITING", 7, 4, Align::Right, |pool| count(pool.waiting)),
    column("IN FLIGHT", 9, 5, Align::Right, |pool| count(pool.in_flight)),
    column("CALLS/S", 7, 3, Align::Right, |pool| number(pool.per_second)),
    column("MEMORY", 6, 7, Align::Right, |pool| bytes(pool.memory)),
    column("CPU", 5, 6, Align::Right, |pool| number(pool.cpu)),
    column("SESSIONS", 8, 8, Align::Right, |pool| count(pool.sessions)),
    column("TYPE", 8, 9, Align::Left, |pool| pool.kind.clone()),
    column("UPTIME", 7, 10, Align::Right, |pool| time(Some(pool.uptime_us))),
];

pub(super) const WORKERS: [Column<WorkerView>; 13] = [
    column("WORKER", 6, 0, Align::Left, |worker| worker.id.clone()),
    column("GEN", 4, 8, Align::Right, |worker| worker.generation.to_string()),
    column("PID", 8, 5, Align::Right, |worker| worker.pid.map_or_else(dash, |pid| pid.to_string())),
    column(STATE, 12, 1, Align::Left, |worker| worker.state.clone()),
    column("HEALTH", 12, 11, Align::Left, |worker| worker.health.clone()),
    column("RUNS", 8, 4, Align::Stretch, runs),
    column("SINCE", 6, 3, Align::Right, |worker| time(worker.running.as_ref().map(|call| call.since_us))),
    column("CALLS/S", 7, 2, Align::Right, |worker| number(worker.per_second)),
    column("RUN P50", 7, 9, Align::Right, |worker| time(worker.p50_us)),
    column("RUN P99", 7, 6, Align::Right, |worker| time(worker.p99_us)),
    column("MEMORY", 6, 7, Align::Right, |worker| bytes(worker.memory)),
    column("CPU", 4, 10, Align::Right, |worker| number(worker.cpu)),
    column("CALLS", 6, 12, Align::Right, |worker| count(worker.operations)),
];

pub(super) const COMMANDS: [Column<CommandView>; 8] = [
    column("COMMAND", 14, 0, Align::Stretch, |command| command.name.clone()),
    column("CALLS", 6, 2, Align::Right, |command| count(command.calls)),
    column("CALLS/S", 7, 1, Align::Right, |command| number(command.per_second)),
    column("ERRORS", 6, 5, Align::Right, |command| count(command.errors)),
    column("RUN P50", 7, 4, Align::Right, |command| time(command.p50_us)),
    column("RUN P99", 7, 3, Align::Right, |command| time(command.p99_us)),
    column("RUN MAX", 7, 6, Align::Right, |command| time(command.max_us)),
    column("QUEUE P99", 9, 7, Align::Right, |command| time(command.queue_p99_us)),
];

/// The command that a worker runs and, if it runs several calls, how many more there are. A pool without `worker_metrics` knows
/// only the number.
fn runs(worker: &WorkerView) -> String {
    match (&worker.running, worker.in_flight) {
        (Some(call), 0 | 1) => call.command.clone(),
        (Some(call), calls) => format!("{} +{}", call.command, calls - 1),
        (None, 0) => dash(),
        (None, 1) => "1 call".into(),
        (None, calls) => format!("{calls} calls"),
    }
}
