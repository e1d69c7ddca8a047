//! What several commands read of a server's pools: their list (`GET /v1/pools`), and how many workers of one are ready. What a server
//! does not send is absent.

use crate::{
    client::{Client, path},
    error::Outcome,
};
use serde_json::Value;

/// The pools of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PoolList {
    pub(crate) pools: Vec<ListedPool>,
    /// The number of lines that the server's log has lost.
    pub(crate) dropped_log_lines: u64,
}

/// A pool in the list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListedPool {
    pub(crate) name: String,
    pub(crate) is_healthy: bool,
    pub(crate) state: Option<String>,
    pub(crate) ready_workers: Option<u64>,
    pub(crate) pool_size: Option<u64>,
    /// Why the pool does not answer, or why its last start of a worker failed.
    pub(crate) problem: Option<String>,
}

impl PoolList {
    /// Asks a server.
    pub(crate) fn ask(client: &Client) -> Outcome<Self> {
        Ok(Self::of(&client.json(&path(&[]))?))
    }

    /// Reads an answer. A pool without a name is passed over: nothing could be asked about it.
    pub(crate) fn of(answer: &Value) -> Self {
        let pools = answer["pools"].as_array().into_iter().flatten().filter_map(ListedPool::of).collect();
        Self { pools, dropped_log_lines: answer["dropped_log_lines"].as_u64().unwrap_or(0) }
    }

    /// Returns the names of the pools.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.pools.iter().map(|pool| pool.name.as_str())
    }
}

impl ListedPool {
    fn of(pool: &Value) -> Option<Self> {
        let text = |key: &str| pool[key].as_str().map(str::to_owned);
        Some(Self {
            name: text("pool")?,
            is_healthy: pool["healthy"] == true,
            state: text("state"),
            ready_workers: pool["ready_workers"].as_u64(),
            pool_size: pool["pool_size"].as_u64(),
            problem: text("last_start_error").or_else(|| text("error")),
        })
    }
}

/// Returns the number of workers in the status of a pool that are ready, without overflow workers.
pub(crate) fn ready_workers(status: &Value) -> usize {
    let base = status["workers"].as_array().into_iter().flatten().filter(|worker| worker["overflow"] == false);
    base.filter(|worker| matches!(worker["state"].as_str(), Some("ready" | "busy" | "degraded"))).count()
}
