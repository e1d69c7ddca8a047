//! The arguments of `herder top`.

use super::server_at::ServerAt;
use crate::option_values::interval;
use clap::Args;
use std::time::Duration;

const TOP_EXAMPLES: &str = "\
Examples:
  herder top
  herder top carts
  herder top carts --interval 5s --url http://10.0.0.7:7878
  herder top --once                           one frame, as text

Shows the pools of a running server and, for the selected pool, its workers or its commands, the rate of calls and the last events.
Keys: Left/Right another pool, Up/Down a worker, Enter its recorder, K kill it, c commands, s sort, / filter, p pause, ? all keys, q quit.

Exit codes: 0 stopped by `q` or Ctrl-C; 1 no server answers; 2 invalid arguments, or no terminal without --once; 143 stopped by SIGTERM.";

#[derive(Args, Debug)]
#[command(after_help = TOP_EXAMPLES)]
pub(crate) struct Top {
    /// The pool that is selected at the start
    pub(crate) pool: Option<String>,
    /// Print one frame as text, without waiting
    #[arg(long)]
    pub(crate) once: bool,
    /// Time between two updates
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = interval)]
    pub(crate) interval: Duration,
    #[command(flatten)]
    pub(crate) server: ServerAt,
}
