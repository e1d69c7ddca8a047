//! `herder status`: prints the pools of a running server as a table.

use crate::{
    args::Status,
    client::{Client, path},
    error::Outcome,
    table::{self, aligned, shown},
};
use serde_json::Value;

/// Prints all pools, or one pool with its workers.
pub(crate) fn run(options: &Status) -> Outcome {
    let client = Client::of(&options.server)?;
    let text = match &options.pool {
        Some(pool) if options.json => client.get(&path(&[pool]))?,
        Some(pool) => one(&client.json(&path(&[pool]))?),
        None if options.json => client.get(&path(&[]))?,
        None => all(&client)?,
    };
    table::print_line(&text);
    Ok(())
}

fn all(client: &Client) -> Outcome<String> {
    let list = client.json(&path(&[]))?;
    let names = list["pools"].as_array().into_iter().flatten().filter_map(|pool| pool["pool"].as_str());
    let rows = names.map(|name| Ok(row(&client.json(&path(&[name]))?)));
    let titles =
        ["POOL", "TYPE", "STATE", "READY", "WAITING", "IN FLIGHT", "SESSIONS", "OK", "FAILED", "LOST", "UPTIME"];
    let table = aligned(&titles, &rows.collect::<Outcome<Vec<_>>>()?);
    match list["dropped_log_lines"].as_u64() {
        None | Some(0) => Ok(table),
        Some(count) => Ok(format!(
            "{table}\n{count} lines of the server's log were dropped: the log is read too slowly or cannot be written"
        )),
    }
}

fn row(status: &Value) -> Vec<String> {
    let (queue, counters) = (&status["queue"], &status["counters"]);
    let seconds = status["uptime_ms"].as_u64().unwrap_or(0) / 1000;
    vec![
        shown(&status["pool"]),
        shown(&status["worker_type"]),
        shown(&status["state"]),
        ready(status),
        format!("{}/{}", shown(&queue["waiting"]), shown(&queue["limit"])),
        shown(&queue["in_flight"]),
        shown(&status["active_sessions"]),
        shown(&counters["ok"]),
        shown(&counters["failed"]),
        shown(&counters["lost"]),
        format!("{seconds}s"),
    ]
}

fn ready(status: &Value) -> String {
    let base = status["workers"].as_array().into_iter().flatten().filter(|worker| worker["overflow"] == false);
    let ready = base.filter(|worker| matches!(worker["state"].as_str(), Some("ready" | "busy" | "degraded"))).count();
    format!("{ready}/{}", shown(&status["pool_size"]))
}

fn one(status: &Value) -> String {
    let titles = ["WORKER", "GENERATION", "PID", "STATE", "HEALTH", "IN FLIGHT", "OPERATIONS", "SESSIONS"];
    let keys = ["id", "generation", "pid", "state", "health", "in_flight", "operations", "sessions"];
    let worker = |worker: &Value| keys.iter().map(|key| shown(&worker[key])).collect();
    let workers: Vec<Vec<String>> = status["workers"].as_array().into_iter().flatten().map(worker).collect();
    let [pool, kind, state] = ["pool", "worker_type", "state"].map(|key| shown(&status[key]));
    let queue = &status["queue"];
    let mut text = format!(
        "{pool}: {kind}, {state}, {} ready, {} of {} waiting, {} sessions\n",
        ready(status),
        shown(&queue["waiting"]),
        shown(&queue["limit"]),
        shown(&status["active_sessions"]),
    );
    text += &load(queue);
    text += &batches(status);
    text += &refused(status);
    if let Some(error) = status["last_start_error"].as_str() {
        text += &format!("last failed start of a worker: {error}\n");
    }
    text + "\n" + &aligned(&titles, &workers)
}

/// Returns the line for the load of the ready workers.
fn load(queue: &Value) -> String {
    let Some(load) = queue["load"].as_f64() else { return String::new() };
    let wait = match queue["expected_wait_ms"].as_u64() {
        Some(ms) => format!(", estimated wait {ms} ms"),
        None => String::new(),
    };
    format!("load {:.0} %{wait}\n", load * 100.0)
}

/// Returns the lines for the breaker and the quarantine, if they refuse calls.
fn refused(status: &Value) -> String {
    let mut text = String::new();
    if let Some(state) = status["breaker"]["state"].as_str() {
        let refused = shown(&status["breaker"]["refused"]);
        text += &format!("breaker {}, {refused} calls refused\n", state.replace('_', "-"));
    }
    if status["quarantined"].as_u64().is_some_and(|payloads| payloads > 0) {
        text += &format!("{} quarantined calls\n", shown(&status["quarantined"]));
    }
    text
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
}
