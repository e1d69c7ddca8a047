//! `herder stack`: prints the stacks of a worker's threads, which it requests from a running server.

use crate::{
    args::Stack,
    client::{Client, path},
    error::Outcome,
    table,
};

pub(crate) fn run(options: &Stack) -> Outcome {
    let client = Client::of(&options.server)?;
    let text = client.get(&path(&[&options.pool, "workers", &options.worker, "stack"]))?;
    table::print_line(text.trim_end());
    Ok(())
}
