//! The arguments of `herder serve`.

use crate::{
    logs,
    option_values::{address, client_timeout, keep_alive, reject_workers_option},
};
use clap::Args;
use herder::{config::duration, error::ErrorDetail};
use std::{net::SocketAddr, time::Duration};

const EXAMPLES: &str = "\
Examples:
  herder serve                                ./herder.toml if it exists, else two demo pools
  herder serve production.toml
  herder serve carts.py:app --enhanced --pool-size 4
  curl -s localhost:7878/v1/pools/basic/call/echo -d '{\"x\":1}'

Ctrl-C or SIGTERM stops the server gracefully: requests and calls finish, then the workers stop. A second signal, at least one second
later, stops it immediately.

Exit codes: 0 stopped gracefully by a signal; 1 the server could not run, or no worker of any pool started and each pool used up its
restarts; 2 invalid arguments or configuration; 130, 143 stopped by a second signal.";

#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Serve {
    /// A TOML file, or an app: `module:app` or `path/to/file.py:app` [default: ./herder.toml if it exists, else the demo pools]
    #[arg(value_name = "APP|FILE")]
    pub(crate) source: Option<String>,
    /// Make the app's pool enhanced, with session affinity
    #[arg(long)]
    pub(crate) enhanced: bool,
    /// Number of workers of the app's pool, or of each demo pool
    #[arg(long, value_name = "N")]
    pub(crate) pool_size: Option<usize>,
    /// Refused, with a hint at `--pool-size`: the name of this option in other servers.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "", value_parser = reject_workers_option())]
    workers: Option<String>,
    /// Address to listen on; overrides `server.listen` [default: 127.0.0.1:7878]
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Set HERDER_ALLOW_CODE=1 in the workers of the demo pools or of the app: the demo app then runs any Python code that it
    /// is sent (`notebook.run`). Requires a token for every request
    #[arg(long)]
    pub(crate) allow_code: bool,
    /// How long an idle connection stays open for its next request; overrides `server.keep_alive` [default: 75s]
    #[arg(long, value_name = "DURATION", value_parser = keep_alive)]
    pub(crate) keep_alive: Option<Duration>,
    /// Maximum time for each 64 KiB of a call's body, or the rest, to arrive; overrides `server.body_timeout` [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = client_timeout)]
    pub(crate) body_timeout: Option<Duration>,
    /// Limit on arguments and large results held at once; overrides `server.buffer_limit` [default: 256 MiB, or twice the
    /// largest `max_frame`]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) buffer_limit: Option<u64>,
    /// How long the head of a request may take; overrides `server.head_timeout` [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = client_timeout)]
    pub(crate) head_timeout: Option<Duration>,
    /// How long a response may wait for a client that does not read; overrides `server.write_timeout` [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = client_timeout)]
    pub(crate) write_timeout: Option<Duration>,
    /// Offer the commands as tools of the Model Context Protocol, at `/mcp`; also set by `server.mcp`
    #[arg(long)]
    pub(crate) mcp: bool,
    /// Time limit for running requests and calls to finish after Ctrl-C or SIGTERM
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub(crate) shutdown_timeout: Duration,
    /// Detail of errors over HTTP; `brief` omits tracebacks, stacks, output, recordings, and why a start failed. Overrides
    /// `server.errors` [default: full for administrators on loopback, else brief]
    #[arg(long, value_name = "full|brief", value_parser = str::parse::<ErrorDetail>)]
    pub(crate) errors: Option<ErrorDetail>,
    /// Whether `/openapi.json` and the page `/docs` exist; overrides `server.docs` [default: true on loopback, else false]
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    pub(crate) docs: Option<bool>,
    /// Whether the live page exists, at `/`; overrides `server.page` [default: true on loopback, else false]
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    pub(crate) page: Option<bool>,
    /// Whether `/metrics` exists, for Prometheus; overrides `server.metrics` [default: true]
    #[arg(long, value_name = "true|false", hide_possible_values = true)]
    pub(crate) metrics: Option<bool>,
    /// Form of the log on standard error and of the banner on standard output. With `json`, each line is one JSON object; `auto`:
    /// text on a terminal, JSON elsewhere
    #[arg(
        long,
        env = "HERDER_LOG_FORMAT",
        value_name = "auto|text|json",
        default_value = "auto",
        hide_possible_values = true
    )]
    pub(crate) log_format: logs::LogFormat,
    /// Log each request: its method, path, status, time and trace
    #[arg(long)]
    pub(crate) access_log: bool,
    /// Number of HTTP server threads. With 1, HTTP and all pools share one thread, which is the fastest for small calls; with more,
    /// each pool uses one more thread
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
}

impl Serve {
    /// Returns the options for a server on this address, whose other settings are those of the file or the defaults.
    pub(crate) fn on(listen: SocketAddr, shutdown_timeout: Duration) -> Self {
        Self {
            source: None,
            enhanced: false,
            pool_size: None,
            workers: None,
            listen: Some(listen),
            allow_code: false,
            keep_alive: None,
            body_timeout: None,
            buffer_limit: None,
            head_timeout: None,
            write_timeout: None,
            shutdown_timeout,
            mcp: false,
            errors: None,
            docs: None,
            page: None,
            metrics: None,
            log_format: logs::LogFormat::Text,
            access_log: false,
            threads: 1,
        }
    }
}
