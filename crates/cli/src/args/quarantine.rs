//! The arguments of `herder quarantine`.

use super::server_at::ServerAt;
use clap::Args;

const EXAMPLES: &str = "\
Examples:
  herder quarantine carts                                      the calls that killed workers
  herder quarantine carts --json
  herder quarantine carts --release a7c5b2e11d3f4096           these calls may run again

A call is a command with its arguments. `quarantined` calls are refused (`poison-call`); `suspected` ones have killed fewer workers than
`poison.max_worker_deaths`, and still run. Needs the token of administrators.

Exit codes: 0 success; 1 there is no such call or pool, or no server runs; 2 invalid arguments or configuration.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Quarantine {
    /// The pool's name
    pub(crate) pool: String,
    /// Release the calls with this fingerprint, so that they may run again
    #[arg(long, value_name = "FINGERPRINT")]
    pub(crate) release: Option<String>,
    /// Print the server's response as JSON
    #[arg(long, conflicts_with = "release")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerAt,
}
