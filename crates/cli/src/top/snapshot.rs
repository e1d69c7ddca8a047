//! The pools of a server at one moment, read from its JSON. Keys that a server does not send are absent, and shown as `-`.

use crate::{
    client::{Client, path},
    error::Outcome,
    pool_list::{PoolList, ready_workers},
};
use serde_json::Value;

/// All pools of a server.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Snapshot {
    pub(super) pools: Vec<PoolView>,
}

/// A pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct PoolView {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) state: String,
    pub(super) size: u64,
    pub(super) ready: u64,
    pub(super) waiting: u64,
    pub(super) limit: u64,
    pub(super) in_flight: u64,
    pub(super) sessions: u64,
    pub(super) ok: u64,
    pub(super) failed: u64,
    pub(super) lost: u64,
    pub(super) timed_out: u64,
    pub(super) refused: u64,
    pub(super) uptime_us: u64,
    /// The estimated wait of a new call.
    pub(super) wait_us: Option<u64>,
    pub(super) per_second: Option<f64>,
    pub(super) memory: Option<u64>,
    pub(super) cpu: Option<f64>,
    /// The state of the breaker, if it is not closed.
    pub(super) breaker: Option<String>,
    pub(super) quarantined: u64,
    pub(super) start_error: Option<String>,
    pub(super) longest: Option<Running>,
    pub(super) workers: Vec<WorkerView>,
    pub(super) commands: Vec<CommandView>,
}

/// A worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct WorkerView {
    pub(super) id: String,
    pub(super) generation: u64,
    pub(super) pid: Option<u64>,
    pub(super) state: String,
    pub(super) health: String,
    pub(super) in_flight: u64,
    pub(super) operations: u64,
    pub(super) sessions: Option<u64>,
    /// The call that has been running longest.
    pub(super) running: Option<Running>,
    pub(super) per_second: Option<f64>,
    pub(super) p50_us: Option<u64>,
    pub(super) p99_us: Option<u64>,
    pub(super) memory: Option<u64>,
    pub(super) cpu: Option<f64>,
}

/// A call that runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Running {
    pub(super) command: String,
    pub(super) since_us: u64,
}

/// A command of a pool.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct CommandView {
    pub(super) name: String,
    pub(super) calls: u64,
    pub(super) errors: u64,
    pub(super) per_second: Option<f64>,
    pub(super) queue_p99_us: Option<u64>,
    pub(super) p50_us: Option<u64>,
    pub(super) p99_us: Option<u64>,
    pub(super) max_us: Option<u64>,
}

impl Snapshot {
    /// Asks the server for each pool.
    pub(super) fn ask(client: &Client) -> Outcome<Self> {
        let list = PoolList::ask(client)?;
        let pools = list.names().map(|name| Ok(PoolView::of(&client.json(&path(&[name]))?)));
        Ok(Self { pools: pools.collect::<Outcome<_>>()? })
    }

    /// Fills in the rates that the server does not send, from an earlier snapshot.
    pub(super) fn add_rates(&mut self, earlier: &Self) {
        for pool in &mut self.pools {
            let Some(before) = earlier.pools.iter().find(|before| before.name == pool.name) else { continue };
            let seconds = pool.uptime_us.saturating_sub(before.uptime_us) as f64 / 1e6;
            if seconds > 0.0 {
                pool.add_rates(before, seconds);
            }
        }
    }
}

impl PoolView {
    pub(super) fn of(status: &Value) -> Self {
        let (queue, outcomes) = (&status["queue"], &status["outcomes"]);
        let breaker = status["breaker"]["state"].as_str().filter(|state| *state != "closed");
        Self {
            name: text(&status["pool"]),
            kind: text(&status["worker_type"]),
            state: text(&status["state"]),
            size: number(&status["pool_size"]),
            ready: ready_workers(status) as u64,
            waiting: number(&queue["waiting"]),
            limit: number(&queue["limit"]),
            in_flight: number(&queue["in_flight"]),
            sessions: number(&status["active_sessions"]),
            ok: number(&outcomes["ok"]),
            failed: number(&outcomes["failed"]),
            lost: number(&outcomes["lost"]),
            timed_out: number(&outcomes["timed_out"]),
            refused: number(&outcomes["refused"]),
            uptime_us: number(&status["uptime_ms"]) * 1000,
            wait_us: queue["estimated_wait_ms"].as_u64().map(|ms| ms * 1000),
            per_second: status["per_second"].as_f64(),
            memory: status["memory_bytes"].as_u64(),
            cpu: status["cpu"].as_f64(),
            breaker: breaker.map(|state| state.replace('_', "-")),
            quarantined: number(&status["quarantined"]),
            start_error: status["last_start_error"].as_str().map(str::to_owned),
            longest: running(&status["running"]["longest"]),
            workers: list(&status["workers"]).map(WorkerView::of).collect(),
            commands: status["commands"].as_object().into_iter().flatten().map(CommandView::of).collect(),
        }
    }

    fn add_rates(&mut self, before: &Self, seconds: f64) {
        let answered = |pool: &Self| pool.ok + pool.failed;
        let rate = |now: u64, before: u64| now.saturating_sub(before) as f64 / seconds;
        self.per_second = self.per_second.or_else(|| Some(rate(answered(self), answered(before))));
        for worker in self.workers.iter_mut().filter(|worker| worker.per_second.is_none()) {
            let earlier = before.workers.iter().find(|earlier| earlier.id == worker.id);
            worker.per_second = earlier.map(|earlier| rate(worker.operations, earlier.operations));
        }
    }
}

impl WorkerView {
    fn of(worker: &Value) -> Self {
        let calls = list(&worker["running"]).filter_map(running);
        Self {
            id: text(&worker["id"]),
            generation: number(&worker["generation"]),
            pid: worker["pid"].as_u64(),
            state: text(&worker["state"]),
            health: text(&worker["health"]),
            in_flight: number(&worker["in_flight"]),
            operations: number(&worker["operations"]),
            sessions: worker["sessions"].as_u64(),
            running: calls.max_by_key(|call| call.since_us),
            per_second: worker["per_second"].as_f64(),
            p50_us: worker["run_us"]["p50"].as_u64(),
            p99_us: worker["run_us"]["p99"].as_u64(),
            memory: worker["resident_bytes"].as_u64(),
            cpu: worker["cpu"].as_f64(),
        }
    }
}

impl CommandView {
    fn of((name, command): (&String, &Value)) -> Self {
        let errors = command["errors"].as_object().into_iter().flatten().map(|(_, count)| number(count));
        Self {
            name: name.clone(),
            calls: number(&command["calls"]),
            errors: errors.sum(),
            per_second: command["per_second"].as_f64(),
            queue_p99_us: command["queue_us"]["p99"].as_u64(),
            p50_us: command["run_us"]["p50"].as_u64(),
            p99_us: command["run_us"]["p99"].as_u64(),
            max_us: command["run_us"]["max"].as_u64(),
        }
    }
}

fn running(call: &Value) -> Option<Running> {
    let command = call["command"].as_str().unwrap_or("-").to_owned();
    Some(Running { command, since_us: call["since_us"].as_u64()? })
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Returns the text on one line and without what a terminal obeys: it is that of a server or an application.
fn text(value: &Value) -> String {
    one_line(value.as_str().unwrap_or("-"))
}

/// Replaces control characters by spaces.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rates_that_the_server_does_not_send_follow_from_two_snapshots() {
        let at = |uptime_ms: u64, ok: u64, operations: u64| {
            let workers = json!([{ "id": "w1", "operations": operations, "overflow": false, "state": "ready" }]);
            let status = json!({ "pool": "a", "uptime_ms": uptime_ms, "outcomes": { "ok": ok }, "workers": workers });
            Snapshot { pools: vec![PoolView::of(&status)] }
        };
        let mut later = at(3000, 50, 30);
        later.add_rates(&at(1000, 10, 10));
        let pool = &later.pools[0];
        assert_eq!((pool.per_second, pool.workers[0].per_second, pool.ready), (Some(20.0), Some(10.0), 1));
        let mut restarted = at(500, 0, 0);
        restarted.add_rates(&at(1000, 10, 10));
        assert_eq!(restarted.pools[0].per_second, None);
    }
}
