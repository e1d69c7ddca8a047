//! `herder status`: prints the pools of a running server as a table.

use crate::{
    args::Status,
    client::{Client, path},
    error::Outcome,
    pool_list::{PoolList, ready_workers},
    table::{self, aligned, shown},
    units::{counted, micros, number, size},
    watch,
};
use herder::config::duration;
use serde_json::Value;

/// Prints all pools, or one pool with its workers; with `--watch`, again and again.
pub(crate) fn run(options: &Status) -> Outcome {
    let client = Client::of(&options.server)?;
    let Some(interval) = options.watch else {
        table::print_line(&text(&client, options)?);
        return Ok(());
    };
    let title = format!("every {}, Ctrl-C stops", duration::show(interval));
    watch::repeat(&title, interval, || text(&client, options))
}

fn text(client: &Client, options: &Status) -> Outcome<String> {
    match &options.pool {
        Some(pool) if options.json => client.get(&path(&[pool])),
        Some(pool) => Ok(one(&client.json(&path(&[pool]))?)),
        None if options.json => client.get(&path(&[])),
        None => all(client),
    }
}

/// From this time on, a running call has run for long.
const LONG_CALL_US: u64 = 5_000_000;

const POOL_TITLES: [&str; 16] = [
    "POOL",
    "TYPE",
    "STATE",
    "READY",
    "WAITING",
    "IN FLIGHT",
    "SESSIONS",
    "OK",
    "FAILED",
    "LOST",
    "TIMED OUT",
    "REFUSED",
    "CALLS/S",
    "MEMORY",
    "CPU",
    "UPTIME",
];
const WORKER_TITLES: [&str; 8] = ["WORKER", "GENERATION", "PID", "STATE", "HEALTH", "IN FLIGHT", "CALLS", "SESSIONS"];
/// What only the workers of pools with `worker_metrics` have.
const ACTIVITY_TITLES: [&str; 6] = ["MEMORY", "CPU", "CALLS/S", "RUN P50", "RUN P99", "RUNS"];
const COMMAND_TITLES: [&str; 9] =
    ["COMMAND", "CALLS", "ERRORS", "CALLS/S", "QUEUE P50", "QUEUE P99", "RUN P50", "RUN P99", "RUN MAX"];

fn all(client: &Client) -> Outcome<String> {
    let list = PoolList::ask(client)?;
    let rows = list.names().map(|name| Ok(row(&client.json(&path(&[name]))?)));
    let table = aligned(&POOL_TITLES, &rows.collect::<Outcome<Vec<_>>>()?);
    match list.dropped_log_lines {
        0 => Ok(table),
        count => Ok(format!(
            "{table}\ndropped log lines of the server: {count}; its log is read too slowly or cannot be written"
        )),
    }
}

fn row(status: &Value) -> Vec<String> {
    let (queue, outcomes) = (&status["queue"], &status["outcomes"]);
    let seconds = status["uptime_ms"].as_u64().unwrap_or(0) / 1000;
    vec![
        shown(&status["pool"]),
        shown(&status["worker_type"]),
        shown(&status["state"]),
        ready(status),
        format!("{}/{}", shown(&queue["waiting"]), shown(&queue["limit"])),
        shown(&queue["in_flight"]),
        shown(&status["active_sessions"]),
        shown(&outcomes["ok"]),
        shown(&outcomes["failed"]),
        shown(&outcomes["lost"]),
        shown(&outcomes["timed_out"]),
        shown(&outcomes["refused"]),
        number(&status["per_second"]),
        size(&status["memory_bytes"]),
        number(&status["cpu"]),
        format!("{seconds}s"),
    ]
}

fn ready(status: &Value) -> String {
    format!("{}/{}", ready_workers(status), shown(&status["pool_size"]))
}

fn one(status: &Value) -> String {
    let [pool, kind, state] = ["pool", "worker_type", "state"].map(|key| shown(&status[key]));
    let (queue, sessions) = (&status["queue"], &status["active_sessions"]);
    let mut text = format!(
        "{pool}: {kind}, {state}, {} ready, {} of {} waiting, {}\n",
        ready(status),
        shown(&queue["waiting"]),
        shown(&queue["limit"]),
        counted(sessions.as_u64().unwrap_or(0), "session"),
    );
    text += &load(queue);
    text += &activity(status);
    text += &outcomes(&status["outcomes"]);
    text += &batches(status);
    text += &protection(&pool, status);
    text += &long_call(&pool, status);
    if let Some(error) = status["last_start_error"].as_str() {
        text += &format!("last failed start of a worker: {error}\n");
    }
    text += &format!("\n{}", workers(status));
    match commands(status) {
        Some(commands) => format!("{text}\n\n{commands}"),
        None => text,
    }
}

/// Returns the table of the workers.
fn workers(status: &Value) -> String {
    let workers: Vec<&Value> = status["workers"].as_array().into_iter().flatten().collect();
    let has_activity = workers.iter().any(|worker| worker["running"].is_array());
    let row = |worker: &&Value| {
        let keys = ["id", "generation", "pid", "state", "health", "in_flight", "operations", "sessions"];
        let mut row: Vec<String> = keys.iter().map(|key| shown(&worker[key])).collect();
        if has_activity {
            row.extend(activity_of(worker));
        }
        row
    };
    let titles = WORKER_TITLES.iter().chain(ACTIVITY_TITLES.iter().filter(|_| has_activity));
    aligned(&titles.copied().collect::<Vec<_>>(), &workers.iter().map(row).collect::<Vec<_>>())
}

/// Returns the cells of [`ACTIVITY_TITLES`].
fn activity_of(worker: &Value) -> [String; 6] {
    let run = &worker["run_us"];
    let running = worker["running"].as_array().map_or(&[][..], Vec::as_slice);
    let running = match running {
        [] => "-".into(),
        [only] => running_call(only),
        [first, more @ ..] => format!("{} and {} more", running_call(first), more.len()),
    };
    let (memory, cpu, rate) = (&worker["resident_bytes"], &worker["cpu"], &worker["per_second"]);
    [size(memory), number(cpu), number(rate), micros(&run["p50"]), micros(&run["p99"]), running]
}

/// Returns the command of a call that runs, and since when.
fn running_call(call: &Value) -> String {
    let command = call["command"].as_str().unwrap_or("an abandoned call");
    format!("{command} for {}", micros(&call["since_us"]))
}

/// Returns the line for what the pool does.
fn activity(status: &Value) -> String {
    let (rate, memory, cpu) = (&status["per_second"], &status["memory_bytes"], &status["cpu"]);
    let running = match &status["running"]["longest"] {
        Value::Null => "no call runs".into(),
        longest => format!("{} running, the longest: {}", shown(&status["running"]["count"]), running_call(longest)),
    };
    format!("{} calls/s, {} of memory, {} cores, {running}\n", number(rate), size(memory), number(cpu))
}

/// Returns the table of the commands that have been called.
fn commands(status: &Value) -> Option<String> {
    let all = status["commands"].as_object()?;
    let called = all.iter().filter(|(_, command)| command["calls"].as_u64().is_some_and(|calls| calls > 0));
    let row = |(name, command): (&String, &Value)| {
        let errors = command["errors"].as_object().into_iter().flatten();
        let errors: u64 = errors.filter_map(|(_, count)| count.as_u64()).sum();
        let (queue, run) = (&command["queue_us"], &command["run_us"]);
        let times = [&queue["p50"], &queue["p99"], &run["p50"], &run["p99"], &run["max"]].map(micros);
        let counts = [name.clone(), shown(&command["calls"]), errors.to_string(), number(&command["per_second"])];
        counts.into_iter().chain(times).collect::<Vec<_>>()
    };
    let rows: Vec<Vec<String>> = called.map(row).collect();
    (!rows.is_empty()).then(|| aligned(&COMMAND_TITLES, &rows))
}

/// Returns the line for the load of the ready workers.
fn load(queue: &Value) -> String {
    let Some(load) = queue["load"].as_f64() else { return String::new() };
    let wait = match queue["estimated_wait_ms"].as_u64() {
        Some(ms) => format!(", estimated wait {ms} ms"),
        None => String::new(),
    };
    format!("load {:.0} %{wait}\n", load * 100.0)
}

/// Returns the line for how calls have ended.
fn outcomes(outcomes: &Value) -> String {
    let Some(ok) = outcomes["ok"].as_u64() else { return String::new() };
    let [failed, lost, timed_out, refused] =
        ["failed", "lost", "timed_out", "refused"].map(|key| shown(&outcomes[key]));
    let abandoned = match outcomes["abandoned"].as_u64() {
        None | Some(0) => String::new(),
        Some(calls) => format!(", {calls} abandoned"),
    };
    let ok = counted(ok, "call");
    format!("{ok} ok, {failed} failed, {lost} lost, {timed_out} timed out, {refused} refused{abandoned}\n")
}

/// Returns the lines for the breaker and the quarantine, if they refuse calls.
fn protection(pool: &str, status: &Value) -> String {
    let mut text = String::new();
    if let Some(state) = status["breaker"]["state"].as_str() {
        let refused = counted(status["breaker"]["refused"].as_u64().unwrap_or(0), "call");
        text += &format!("breaker {}, {refused} refused\n", state.replace('_', "-"));
    }
    if let Some(calls) = status["quarantined"].as_u64().filter(|calls| *calls > 0) {
        text += &format!("{}; see `herder quarantine {pool}`\n", counted(calls, "quarantined call"));
    }
    text
}

/// Returns the line that says how to find out where a call hangs, if one has run for long.
fn long_call(pool: &str, status: &Value) -> String {
    let longest = &status["running"]["longest"];
    if longest["since_us"].as_u64().is_none_or(|us| us < LONG_CALL_US) {
        return String::new();
    }
    let workers = || status["workers"].as_array().into_iter().flatten();
    let runs_it = |worker: &&Value| {
        let running = worker["running"].as_array().into_iter().flatten();
        running.into_iter().any(|call| [&call["call"], &call["since_us"]] == [&longest["call"], &longest["since_us"]])
    };
    let is_busy = |worker: &&Value| worker["in_flight"].as_u64().is_some_and(|calls| calls > 0);
    let mut busy = workers().filter(is_busy);
    // A pool without `worker_metrics` does not say which worker runs it.
    let only = busy.next().filter(|_| busy.next().is_none());
    let worker = workers().find(runs_it).or(only).and_then(|worker| worker["id"].as_str()).unwrap_or("WORKER");
    format!("`herder stack {pool} {worker}` shows where the longest call is in the code\n")
}

/// Returns a line for each command that has run batches.
fn batches(status: &Value) -> String {
    let all = status["batches"].as_object().into_iter().flatten();
    all.filter_map(|(name, batch)| {
        let number = |key: &str| batch[key].as_u64().filter(|number| *number > 0).map(|number| number as f64);
        let (count, calls) = (number("batches")?, number("calls")?);
        let waited = number("waited_us").unwrap_or_default() / calls / 1000.0;
        let (mean, largest) = (calls / count, shown(&batch["largest"]));
        Some(format!("batches of {name}: {count}, mean size {mean:.1}, largest {largest}, mean wait {waited:.1} ms\n"))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn batches_have_their_sizes_and_waits() {
        let classify = json!({ "batches": 4, "calls": 10, "largest": 3, "waited_us": 15_000 });
        let status = json!({ "batches": { "classify": classify, "unused": { "batches": 0, "calls": 0 } } });
        let line = "batches of classify: 4, mean size 2.5, largest 3, mean wait 1.5 ms\n";
        assert_eq!(batches(&status), line);
        assert_eq!(batches(&json!({})), "");
    }

    #[test]
    fn calls_that_do_not_run_and_their_reasons_are_shown() {
        let counts = json!({ "ok": 1, "failed": 2, "lost": 0, "timed_out": 4, "refused": 18, "abandoned": 0 });
        assert_eq!(outcomes(&counts), "1 call ok, 2 failed, 0 lost, 4 timed out, 18 refused\n");
        let status = json!({ "breaker": { "state": "half_open", "refused": 1 }, "quarantined": 1 });
        let expected = "breaker half-open, 1 call refused\n1 quarantined call; see `herder quarantine carts`\n";
        assert_eq!(protection("carts", &status), expected);
        assert_eq!(protection("carts", &json!({ "breaker": null, "quarantined": 0 })), "");
    }

    #[test]
    fn the_worker_of_a_long_call_is_named_if_it_is_known() {
        let call = json!({ "call": 7, "command": "wait", "since_us": LONG_CALL_US });
        let idle = json!({ "id": "w1", "in_flight": 0 });
        let busy = |id: &str| json!({ "id": id, "in_flight": 1 });
        let of = |workers: Value| long_call("carts", &json!({ "running": { "longest": call }, "workers": workers }));
        let line =
            |worker: &str| format!("`herder stack carts {worker}` shows where the longest call is in the code\n");
        let mut running = busy("w3");
        running["running"] = json!([call]);
        assert_eq!(of(json!([idle, busy("w2"), running])), line("w3"));
        assert_eq!(of(json!([idle, busy("w2")])), line("w2"));
        assert_eq!(of(json!([busy("w1"), busy("w2")])), line("WORKER"));
        let mut short = call.clone();
        short["since_us"] = json!(LONG_CALL_US - 1);
        assert_eq!(long_call("carts", &json!({ "running": { "longest": short }, "workers": [] })), "");
    }

    /// The workers of a basic pool have no columns of `worker_metrics`.
    #[test]
    fn workers_commands_and_the_pool_have_their_figures() {
        let call = json!({ "call": 7, "command": "classify", "session": "ann", "since_us": 3_200_000 });
        let mut worker = json!({
            "id": "w1", "generation": 1, "pid": 10, "state": "busy", "health": "healthy", "in_flight": 1, "operations": 3,
            "sessions": 1, "resident_bytes": 50_000_000, "cpu": 0.42, "per_second": 1.5,
            "run_us": { "p50": 1000, "p99": 2500, "max": 2600 }, "running": [call],
        });
        let command = json!({
            "calls": 5, "errors": { "exception": 1, "queue-full": 1 }, "per_second": 1.5,
            "queue_us": { "p50": 20, "p99": 300, "max": 310 }, "run_us": { "p50": 1000, "p99": 2500, "max": 2600 },
        });
        let unused = json!({ "calls": 0, "errors": {}, "per_second": 0.0, "queue_us": null, "run_us": null });
        let status = json!({
            "workers": [worker], "commands": { "classify": command, "unused": unused }, "per_second": 1.5,
            "memory_bytes": 50_000_000, "cpu": 0.42, "running": { "count": 1, "longest": call },
        });
        let expected = "\
WORKER  GENERATION  PID  STATE  HEALTH   IN FLIGHT  CALLS  SESSIONS  MEMORY    CPU   CALLS/S  RUN P50  RUN P99  RUNS
w1      1           10   busy   healthy  1          3      1         47.7 MiB  0.42  1.50     1.00 ms  2.50 ms  classify for 3.20 s";
        assert_eq!(workers(&status), expected);
        let expected = "\
COMMAND   CALLS  ERRORS  CALLS/S  QUEUE P50  QUEUE P99  RUN P50  RUN P99  RUN MAX
classify  5      2       1.50     20 us      300 us     1.00 ms  2.50 ms  2.60 ms";
        assert_eq!(commands(&status).unwrap(), expected);
        let expected = "1.50 calls/s, 47.7 MiB of memory, 0.42 cores, 1 running, the longest: classify for 3.20 s\n";
        assert_eq!(activity(&status), expected);
        worker
            .as_object_mut()
            .unwrap()
            .retain(|key, _| !["running", "run_us", "cpu", "per_second"].contains(&key.as_str()));
        assert!(!workers(&json!({ "workers": [worker] })).contains(ACTIVITY_TITLES[3]), "a basic pool");
        assert_eq!(commands(&json!({ "commands": { "unused": unused } })), None);
    }
}
