//! `herder kill`: has a running server kill the process of a worker.

use crate::{
    args::Kill,
    client::{Client, path},
    error::{CommandError, Outcome},
    table,
};

/// Kills the process, and waits until it has exited.
pub(crate) fn run(options: &Kill) -> Outcome {
    let client = Client::of(&options.server)?;
    let Kill { pool, worker, .. } = options;
    let generation = match options.generation {
        Some(generation) => generation.into(),
        None => current(&client, pool, worker)?,
    };
    kill(&client, pool, worker, generation)?;
    table::print_line(&format!("killed {worker}.{generation} of pool `{pool}`"));
    Ok(())
}

/// Kills the process of this generation, and waits until it has exited.
pub(crate) fn kill(client: &Client, pool: &str, worker: &str, generation: u64) -> Outcome {
    client.post(&format!("{}?generation={generation}", path(&[pool, "workers", worker, "kill"])), &[], "").map(drop)
}

/// Returns the generation of the worker's process.
fn current(client: &Client, pool: &str, worker: &str) -> Outcome<u64> {
    let answer = client.json(&path(&[pool, "workers"]))?;
    let workers = answer["workers"].as_array().map(Vec::as_slice).unwrap_or_default();
    match workers.iter().find(|each| each["id"] == worker) {
        Some(found) if found["pid"].is_null() => {
            Err(CommandError::failed(format_args!("worker {worker} of pool `{pool}` has no process at the moment")))
        }
        Some(found) => found["generation"]
            .as_u64()
            .ok_or_else(|| CommandError::failed("the server's response is malformed: a worker without generation")),
        None => {
            let ids: Vec<&str> = workers.iter().filter_map(|each| each["id"].as_str()).collect();
            let known = ids.join(", ");
            Err(CommandError::failed(format_args!("pool `{pool}` has no worker `{worker}`; it has {known}")))
        }
    }
}
