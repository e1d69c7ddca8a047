//! The arguments of `herder call`.

use super::server_at::ServerAt;
use crate::option_values::{attachment, header, named_argument};
use clap::{Args, builder::UnknownArgumentValueParser};
use herder::config::duration;
use std::{path::PathBuf, time::Duration};

const EXAMPLES: &str = "\
Examples:
  herder call basic echo '{\"x\": 1}'
  herder call carts add --arg item=tea --arg count=2 --session ann
  herder call images resize --arg data=@photo.jpg --arg width=200
  herder call images resize --attach image=@photo.jpg --arg width=200 --output small.jpg
  herder call sessions count --session ann
  herder call carts add --arg item=tea --header x-tenant=acme
  echo '{\"ms\": 100}' | herder call basic sleep - --timeout 5s

Uses the server given by --url or HERDER_URL. With no URL, uses the server at the configured address. If no server runs there,
starts the pool, makes the call, and stops the pool. `herder commands POOL COMMAND` shows the arguments of a command.

Exit codes: 0 success; 1 the call failed; 2 invalid arguments or configuration.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Call {
    /// The pool's name
    pub(crate) pool: String,
    /// The command's name
    pub(crate) command: String,
    /// The arguments, a JSON object; `-` reads it from standard input
    #[arg(value_name = "JSON|-", default_value = "{}")]
    pub(crate) arguments: String,
    /// One argument, by its name. A string is taken as it is; values of other types are JSON. `NAME=@FILE` reads the value from a
    /// file (`@-`: standard input; `@@` for a text that begins with `@`). Can be repeated
    #[arg(long = "arg", value_name = "NAME=VALUE", value_parser = named_argument)]
    pub(crate) args: Vec<(String, String)>,
    /// One argument that is binary data, from a file (`@-`: standard input). It is sent as it is, and the handler gets a view of it.
    /// Can be repeated
    #[arg(long, value_name = "NAME=@FILE", value_parser = attachment)]
    pub(crate) attach: Vec<(String, String)>,
    /// Write the only buffer of the result to this file (`-`: standard output), and print nothing
    #[arg(long, value_name = "FILE", conflicts_with = "meta")]
    pub(crate) output: Option<PathBuf>,
    /// Refused, with the form of the arguments: the option of curl.
    #[arg(short = 'd', long = "data", hide = true, num_args = 0..=1, default_missing_value = "", value_parser = reject_data_option())]
    data: Option<String>,
    /// The session the call belongs to
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// A header of the call, for the handler. The pool must have it in `forward_headers`, unless it is that of a trace. Can be repeated
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    pub(crate) headers: Vec<(String, String)>,
    /// Deadline of the call, including time in the queue and retries [default: the pool's `timeout`]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Allow the call to run again on another worker if its worker dies; no effect in a session with strict affinity
    #[arg(long)]
    pub(crate) idempotent: bool,
    /// Also print how the call was routed and how long it took: {"result": .., "meta": ..}
    #[arg(long, conflicts_with = "stream")]
    pub(crate) meta: bool,
    /// Print the items of a generator as they arrive, one line of JSON each; for any other command, print its result
    #[arg(long, conflicts_with = "output")]
    pub(crate) stream: bool,
    /// Longest time between two items. Without `--timeout`, the whole stream then has no deadline
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, requires = "stream")]
    pub(crate) idle_timeout: Option<Duration>,
    #[command(flatten)]
    pub(crate) server: ServerAt,
    /// The configuration file [default: ./herder.toml if it exists, else the demo pools]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Refuses an option as unknown, and shows where the arguments belong.
fn reject_data_option() -> UnknownArgumentValueParser {
    UnknownArgumentValueParser::suggest(
        "the arguments follow the command as a JSON object: herder call POOL COMMAND '{\"n\": 1}'",
    )
}
