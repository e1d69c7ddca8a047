//! The arguments of `herder kill`.

use super::server_at::ServerAt;
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  herder kill carts w2
  herder kill carts w2 --generation 3         only if this is still its process

Sends SIGKILL to the process group of the worker, and waits until it has exited. The pool starts another process in its slot. The calls
that it ran fail or are retried, and the sessions that it held are lost, as after a crash. Needs the token of administrators.

Exit codes: 0 success; 1 the process could not be killed, or no server runs; 2 invalid arguments or configuration.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Kill {
    /// The pool's name
    pub(crate) pool: String,
    /// The worker, such as `w2`
    pub(crate) worker: String,
    /// Generation of the process; another process is not killed [default: the current one]
    #[arg(long, value_name = "N")]
    pub(crate) generation: Option<u32>,
    #[command(flatten)]
    pub(crate) server: ServerAt,
}
