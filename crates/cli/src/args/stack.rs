//! The arguments of `herder stack`.

use super::server_at::ServerAt;
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  herder stack carts w2
  herder stack carts w2 --url http://10.0.0.7:7878

Prints the stacks of the threads of a worker's process, the main thread first, also if its handler does not return. The worker goes on.
It must be a Python worker that has started. `herder status POOL` has the workers and the call that has run for the longest time.
Needs the token of administrators.

Exit codes: 0 success; 1 the worker prints no stacks, does not exist, or no server runs; 2 invalid arguments or configuration.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Stack {
    /// The pool's name
    pub(crate) pool: String,
    /// The worker, such as `w2`
    pub(crate) worker: String,
    #[command(flatten)]
    pub(crate) server: ServerAt,
}
