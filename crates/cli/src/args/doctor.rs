//! The arguments of `herder doctor`.

use super::server_at::ServerAt;
use clap::Args;

const DOCTOR_EXAMPLES: &str = "\
Examples:
  herder doctor
  herder doctor --app carts.py:app            an app, or another TOML file
  herder doctor --url http://10.0.0.7:7878    also examine that server
  herder doctor --json

Starts each interpreter and one worker of each pool, imports the apps and runs their hooks. Examines the interpreter, the Python package,
the time of the import, limits (descriptors, memory, cores, processes), kernel settings, folders, clocks, the address, a running
server and the collector of traces. For each finding, says why it matters and what to do. Changes nothing.

Exit codes: 0 no finding; 1 at least one finding; 2 invalid arguments.";

#[derive(Args, Debug)]
#[command(after_help = DOCTOR_EXAMPLES)]
pub(crate) struct Doctor {
    /// The app or TOML file to examine [default: ./herder.toml if it exists, else the demo pools]
    #[arg(long, value_name = "APP|FILE")]
    pub(crate) app: Option<String>,
    /// Print the checks as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerAt,
}
