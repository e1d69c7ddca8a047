//! The arguments, and their help. Parses each into a type that can't be wrong.

use crate::bench;
use clap::{Args, Parser, Subcommand, builder::UnknownArgumentValueParser};
use herder::{
    ErrorDetail,
    config::{Server, duration},
};
use std::{
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    time::Duration,
};

const EXAMPLES: &str = "\
Examples:
  herder serve                                      two demo pools, or ./herder.toml if there is one
  herder serve carts.py:app --enhanced              a pool `carts`; a session stays with its worker
  herder call basic echo '{\"x\": 1}'                 against the running server, or without one
  herder status                                     the pools of the running server
  herder why sessions ann                           what happened to a session
  herder recorder sessions w2                       what happened to a worker
  herder chaos carts.py:app --command price --args '{\"item\": \"tea\"}'   break a pool while it serves; a report
  herder bench carts.py:app --command price --args '{\"item\": \"tea\"}'   whether more workers are worth it, and what it fails by

Environment:
  HERDER_URL    the server that `call`, `status`, `why` and `recorder` talk to
  HERDER_TOKEN  the token that `serve` asks for, and those four show
  HERDER_LOG    what is logged, such as `debug` or `info,herder_actors=trace`";

const SERVE_EXAMPLES: &str = "\
Examples:
  herder serve                                ./herder.toml if it is there, else two demo pools
  herder serve production.toml
  herder serve carts.py:app --enhanced --pool-size 4
  curl -s localhost:7878/v1/pools/basic/call/echo -d '{\"x\":1}'

Ctrl-C and SIGTERM let requests finish and stop the workers; another one, a second or more later, stops at once.

Exit codes: 0 ended by a signal, in order; 1 no worker of any pool has started, and each pool used up its restarts, or the server
could not run; 2 the arguments or the configuration are wrong; 130, 143 a second signal.";

const CALL_EXAMPLES: &str = "\
Examples:
  herder call basic echo '{\"x\": 1}'
  herder call sessions count --session ann
  echo '{\"ms\": 100}' | herder call basic sleep - --timeout 5s

Talks to the server of --url or HERDER_URL; else to one at the configured address if there is one; else it starts the pool,
calls, and stops it.

Exit codes: 0 it worked, 1 the call failed, 2 the arguments or the configuration are wrong.";

const CHECK_EXAMPLES: &str = "\
Examples:
  herder check
  herder check production.toml
  herder check --import                       also what only Python can tell: whether the apps load

Refuses what `serve` refuses: wrong keys and values, app files, interpreters and programs that are not there, and a server that needs a
token and has none (`server.token`, HERDER_TOKEN). Prints every problem as FILE:LINE:COLUMN: KEY: MESSAGE (without a place if the
problem has none in the file), and exits with 2 if there is one.";

const STATUS_EXAMPLES: &str = "\
Examples:
  herder status
  herder status sessions
  herder status basic --json";

const WHY_EXAMPLES: &str = "\
Examples:
  herder why sessions ann
  herder why sessions ann --json

Tells when the session was bound and to which worker, which calls found its state there, how long they waited, and why it was
bound anew, expired or ended. A pool remembers its last 16384 events, and 4096 sessions that are gone.";

const RECORDER_EXAMPLES: &str = "\
Examples:
  herder recorder sessions w2                       the worker that is there now
  herder recorder sessions w2 --generation 1        the one that died
  herder recorder sessions w2 --json

Tells the last 128 frames in both directions, without their contents; changes of state, in a pool with `state_machine`; the
last lines printed; and how the process ended. A pool remembers the last 64 processes that ended.";

const CHAOS_EXAMPLES: &str = "\
Examples:
  herder chaos carts.py:app --command price --args '{\"item\": \"tea\"}'
  herder chaos production.toml --pool models --command classify --args '{\"text\": \"x\"}' --seconds 600 --seed 7
  herder chaos carts.py:app --enhanced --command add --args '{\"item\": \"tea\"}' --sessions 8 --json

Starts the pool as it is configured, calls the command without a pause, and kills and stops workers meanwhile: what happens to
your callers, and how soon the pool is whole again. It does call your command, thousands of times. If more than `restart.max`
idle workers are killed within `restart.within`, each before `restart.min_uptime`, the pool fails as configured: a note says before
whether that may happen, and `pool failed` in the report whether it did. With --json the last line is the report as one object;
what can't be known without the worker's help, such as `double_runs`, is null.

Exit codes: 0 all was as it should be, 1 something was lost or left behind, or less than 95 % of the calls that were not in flight
at a kill were answered by the worker, or the pool was not whole in the end, or no worker was killed or stopped; 2 the arguments or
the configuration are wrong.";

/// Pools of Python worker processes, supervised; a session stays with its worker.
#[derive(Debug, Parser)]
#[command(name = "herder", version, after_help = EXAMPLES, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start pools and serve them over HTTP
    Serve(Serve),
    /// Call a command and print its result as JSON
    Call(Call),
    /// Check a configuration file
    Check(Check),
    /// Show the pools of a running server
    Status(Status),
    /// Tell why a session's calls ran where they ran
    Why(Why),
    /// Tell what passed between the host and a worker last, and how it ended
    Recorder(Recorder),
    /// Kill and stop workers while a command is called, and report what came of it
    Chaos(Chaos),
    /// Measure a command on pools of several sizes: what more workers gain, and where the rest goes
    Bench(bench::Options),
}

#[derive(Args, Debug)]
#[command(after_help = SERVE_EXAMPLES)]
pub(crate) struct Serve {
    /// A TOML file, or an app: `module:app` or `path/to/file.py:app`
    #[arg(value_name = "APP|FILE")]
    pub(crate) source: Option<String>,
    /// Make the app's pool an enhanced one: a session stays with its worker
    #[arg(long)]
    pub(crate) enhanced: bool,
    /// Workers of the app's pool, or of each demo pool
    #[arg(long, value_name = "N")]
    pub(crate) pool_size: Option<usize>,
    /// What other servers call `--pool-size`; never taken.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "", value_parser = no_workers())]
    workers: Option<String>,
    /// Where to listen, instead of `server.listen` [default: 127.0.0.1:7878]
    #[arg(long, value_name = "HOST:PORT", value_parser = address)]
    pub(crate) listen: Option<SocketAddr>,
    /// Let the demo pools run any Python code they are sent (`notebook.run`); every call needs a token then
    #[arg(long)]
    pub(crate) allow_code: bool,
    /// How long an idle connection stays open; overrides `server.keep_alive` [default: 75s]
    #[arg(long, value_name = "DURATION", value_parser = keep_alive)]
    pub(crate) keep_alive: Option<Duration>,
    /// How long the next 64 KiB of a call's body, or its end, may take to arrive; overrides `server.body_timeout` [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = client_timeout)]
    pub(crate) body_timeout: Option<Duration>,
    /// Bytes of arguments and large results held at once; overrides `server.buffer_limit` [default: 256 MiB, or twice the largest `max_frame`]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) buffer_limit: Option<u64>,
    /// How long the head of a request may take; overrides `server.head_timeout` [default: 5s]
    #[arg(long, value_name = "DURATION", value_parser = client_timeout)]
    pub(crate) head_timeout: Option<Duration>,
    /// How long a response may wait for a client that reads nothing; overrides `server.write_timeout` [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = client_timeout)]
    pub(crate) write_timeout: Option<Duration>,
    /// How long requests and calls may take to finish after Ctrl-C
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration::parse)]
    pub(crate) drain: Duration,
    /// Detail of errors over HTTP; `brief` omits tracebacks, stacks, output and recordings. Overrides `server.errors` [default: full on loopback, else brief]
    #[arg(long, value_name = "full|brief", value_parser = str::parse::<ErrorDetail>)]
    pub(crate) errors: Option<ErrorDetail>,
    /// Threads that serve HTTP; each pool has one of its own besides
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: u16,
}

#[derive(Args, Debug)]
#[command(after_help = CALL_EXAMPLES)]
pub(crate) struct Call {
    /// The pool's name
    pub(crate) pool: String,
    /// The command's name
    pub(crate) command: String,
    /// The arguments, a JSON object; `-` reads it from standard input
    #[arg(value_name = "JSON|-", default_value = "{}")]
    pub(crate) arguments: String,
    /// The session the call belongs to
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// The whole deadline: queue, run and retries [default: the pool's `timeout`]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// The call may run again elsewhere when its worker dies
    #[arg(long)]
    pub(crate) idempotent: bool,
    /// Print how the call was routed and how long it took, too: {"result": .., "meta": ..}
    #[arg(long)]
    pub(crate) meta: bool,
    #[command(flatten)]
    pub(crate) server: ServerAt,
    /// The configuration file [default: ./herder.toml, or else the demo pools]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args, Debug)]
#[command(after_help = CHECK_EXAMPLES)]
pub(crate) struct Check {
    /// The configuration file
    #[arg(default_value = "herder.toml")]
    pub(crate) file: PathBuf,
    /// Start one worker of each pool, list its commands, and stop it: the apps are imported, and their hooks run
    #[arg(long)]
    pub(crate) import: bool,
}

#[derive(Args, Debug)]
#[command(after_help = STATUS_EXAMPLES)]
pub(crate) struct Status {
    /// One pool, with its workers
    pub(crate) pool: Option<String>,
    /// Print what the server answered, as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerAt,
}

#[derive(Args, Debug)]
#[command(after_help = WHY_EXAMPLES)]
pub(crate) struct Why {
    /// The pool's name
    pub(crate) pool: String,
    /// The session's id
    pub(crate) session: String,
    /// Print what the server answered, as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerAt,
}

#[derive(Args, Debug)]
#[command(after_help = RECORDER_EXAMPLES)]
pub(crate) struct Recorder {
    /// The pool's name
    pub(crate) pool: String,
    /// The worker, such as `w2`
    pub(crate) worker: String,
    /// Which of its processes, one that is gone too [default: the present one, or the last]
    #[arg(long, value_name = "N")]
    pub(crate) generation: Option<u32>,
    /// Print what the server answered, as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) server: ServerAt,
}

#[derive(Args, Debug)]
#[command(after_help = CHAOS_EXAMPLES)]
pub(crate) struct Chaos {
    /// A TOML file, or an app: `module:app` or `path/to/file.py:app` [default: ./herder.toml, or else the demo pools]
    #[arg(value_name = "APP|FILE")]
    pub(crate) source: Option<String>,
    /// The pool, if there are several
    #[arg(long, value_name = "NAME")]
    pub(crate) pool: Option<String>,
    /// The command that is called
    #[arg(long, value_name = "COMMAND")]
    pub(crate) command: String,
    /// Its arguments, a JSON object
    #[arg(long, value_name = "JSON", default_value = "{}")]
    pub(crate) args: String,
    /// How long workers are killed
    #[arg(long, value_name = "N", default_value = "60", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// What victims and times are drawn from
    #[arg(long, value_name = "N", default_value = "1")]
    pub(crate) seed: u64,
    /// From one SIGKILL to the next [default: a quarter of --seconds, 10s at most]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) kill_every: Option<Duration>,
    /// From one SIGSTOP, with SIGCONT up to a second later, to the next [default: none]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) stop_every: Option<Duration>,
    /// Kill all workers at once, in the middle
    #[arg(long)]
    pub(crate) cascade: bool,
    /// Callers that call without a pause
    #[arg(long, value_name = "N", default_value = "16", value_parser = clap::value_parser!(u64).range(1..=4096))]
    pub(crate) callers: u64,
    /// Spread the calls over so many sessions
    #[arg(long, value_name = "N", default_value = "0")]
    pub(crate) sessions: u64,
    /// Of a hundred callers, how many go away before they are answered
    #[arg(long, value_name = "PERCENT", default_value = "0", value_parser = clap::value_parser!(u64).range(0..=100))]
    pub(crate) leaving: u64,
    /// The deadline of each call [default: the pool's `timeout`]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// The calls may run again elsewhere when their worker dies
    #[arg(long)]
    pub(crate) idempotent: bool,
    /// Make the app's pool an enhanced one
    #[arg(long)]
    pub(crate) enhanced: bool,
    /// Workers of the app's pool
    #[arg(long, value_name = "N")]
    pub(crate) pool_size: Option<usize>,
    /// What other servers call `--pool-size`; never taken.
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "", value_parser = no_workers())]
    workers: Option<String>,
    /// Print the report as one line of JSON, too: the last one
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Args, Debug)]
pub(crate) struct ServerAt {
    /// The server to talk to
    #[arg(long, env = "HERDER_URL", value_name = "URL", value_parser = base_url)]
    pub(crate) url: Option<String>,
}

/// An address to listen on. A name's first IPv4 address is taken before any other.
fn address(text: &str) -> Result<SocketAddr, String> {
    let found: Vec<_> = text.to_socket_addrs().map_err(|error| format!("{error}; allowed: HOST:PORT"))?.collect();
    let chosen = found.iter().find(|address| address.is_ipv4()).or(found.first());
    chosen.copied().ok_or_else(|| "the host has no address".into())
}

/// Refuses an option as unknown, and names the one that was meant.
fn no_workers() -> UnknownArgumentValueParser {
    UnknownArgumentValueParser::suggest_arg("--pool-size")
}

fn keep_alive(text: &str) -> Result<Duration, String> {
    let longest = Server::LONGEST_KEEP_ALIVE;
    let time = duration::parse(text)?;
    if time <= longest { Ok(time) } else { Err(format!("allowed: up to {}", duration::show(longest))) }
}

fn client_timeout(text: &str) -> Result<Duration, String> {
    let longest = Server::LONGEST_TIMEOUT;
    let time = duration::parse(text)?;
    let fits = !time.is_zero() && time <= longest;
    if fits { Ok(time) } else { Err(format!("allowed: over 0s, up to {}", duration::show(longest))) }
}

fn base_url(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").unwrap_or_default();
    let fits = !rest.is_empty() && !rest.starts_with('/') && !rest.contains(['?', '#', ' ']);
    if fits { Ok(text.trim_end_matches('/').into()) } else { Err("allowed: http://HOST:PORT".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn urls_and_addresses() {
        assert_eq!(base_url("http://localhost:7878/"), Ok("http://localhost:7878".into()));
        for bad in ["", "localhost:7878", "https://localhost", "http://", "http:///x", "http://a b"] {
            assert!(base_url(bad).is_err(), "{bad}");
        }
        assert_eq!(address("127.0.0.1:0").map(|address| address.to_string()), Ok("127.0.0.1:0".into()));
        assert!(address("127.0.0.1").is_err() && address("7878").is_err());
    }
}
