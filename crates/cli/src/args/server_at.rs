//! The server that a command asks.

use crate::option_values::base_url;
use clap::Args;

#[derive(Args, Debug)]
pub(crate) struct ServerAt {
    /// Base URL of the server, as http://HOST:PORT [default: the address in the configuration file, else http://127.0.0.1:7878]
    #[arg(long, env = "HERDER_URL", value_name = "URL", value_parser = base_url)]
    pub(crate) url: Option<String>,
}
