//! `herder serve`: binds the address, starts the pools, serves HTTP, and shuts everything down gracefully. Holds
//! nothing after it has returned.
//!
//! With one HTTP thread, the pools, the connections and the signals share the main thread: a call then passes through
//! no other thread of the server. With several, each pool has a thread of its own.

mod banner;
mod descriptors;
mod drain;
mod progress;

pub(crate) use descriptors::Descriptors;
pub(crate) use drain::Drain;

use crate::{
    access::Access,
    args::Serve,
    error::{CommandError, Outcome},
    logs::{self, Output},
    signals::Signals,
    source::{Overrides, Source},
    traces::TraceExport,
};
use actix_rt::{System, task::JoinHandle};
use actix_web::App;
use drain::{FLUSH_TIMEOUT, StopServer};
use herder::{
    Pool, PoolConfig, config,
    http::{Api, Connections, Server},
};
use progress::StartTracker;
use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::fd::AsFd,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// The log filter if `HERDER_LOG` is not set.
const LOGGED: &str = "info,actix_server=warn,actix_http=off";
/// How long the process waits at its end for a banner that is not read.
const BANNER_TIMEOUT: Duration = Duration::from_millis(100);

/// Runs the server until a signal stops it.
pub(crate) fn run(options: &Serve) -> Outcome {
    let more = if options.access_log { &[logs::ACCESS][..] } else { &[] };
    logs::start_as(options.log_format.on(&io::stderr()), LOGGED, more)?;
    let overrides =
        Overrides { enhanced: options.enhanced, pool_size: options.pool_size, allow_code: options.allow_code };
    let source = Source::of(options.source.as_deref(), overrides)?.with_programs()?;
    let listen = options.listen.unwrap_or(source.server.listen);
    let access = Access::decide(listen, &source, options.allow_code)?;
    check_limits(options, &source)?;
    let _traces = TraceExport::start(&source.traces)?;
    // Bind before any worker starts: if the address is in use, there is nothing to clean up.
    let listener = bind(listen, "address with --listen")?;
    let stdout = Output::start("herder-stdout", io::stdout().as_fd(), options.log_format.on(&io::stdout()))
        .map_err(CommandError::failed)?;
    let connections = Descriptors::raise(options.threads.into(), &source.pools).connections_per_thread()?;
    let serving = serve(options.clone(), source, access, Listen { listener, connections }, stdout.clone());
    // A task of its own: the future of `block_on` is polled at each wake-up of the thread, and so for each request.
    let outcome = System::new().block_on(async { actix_rt::spawn(serving).await });
    let outcome = outcome.unwrap_or_else(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => Err(CommandError::failed(error)),
    });
    stdout.finish(BANNER_TIMEOUT);
    outcome
}

/// Binds the address. `other` says what to choose if it is in use.
pub(crate) fn bind(listen: SocketAddr, other: &str) -> Outcome<TcpListener> {
    TcpListener::bind(listen).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => CommandError::failed(format_args!(
            "{listen} is already in use (run `herder status` to see whether by Herder); \
             choose another {other}"
        )),
        _ => CommandError::failed(format_args!("cannot listen on {listen}: {error}")),
    })
}

/// The listener and its limit.
pub(crate) struct Listen {
    pub(crate) listener: TcpListener,
    /// The largest number of open connections for each thread.
    pub(crate) connections: usize,
}

async fn serve(options: Serve, source: Source, access: Access, listen: Listen, stdout: Output) -> Outcome {
    // Handle signals before the pools start: a signal during the start must not end the process without stopping the
    // workers.
    let mut signals = Signals::of_a_server()?;
    reap_if_init()?;
    let bound = listen.listener.local_addr().map_err(CommandError::failed)?;
    let address = SocketAddr::new(bound.ip().to_canonical(), bound.port());
    let one_thread = options.threads == 1;
    let pools = start(source.pools, one_thread).await?;
    // The listener is already bound, so clients can connect as soon as the banner is printed.
    let Http { mut serving, stop, connections } = http(&options, &source.server, &pools, &access, listen)?;
    banner::print(&stdout, address, &source.origin, &pools, &access, &pages(&options, &source.server, address));
    let starts = StartTracker::default();
    let mut starts_failed = Box::pin(all_starts_failed(&starts, pools.clone()));
    let mut timeout = options.shutdown_timeout;
    tokio::select! {
        signal = signals.next() => signal.print_notice(options.shutdown_timeout),
        // No worker will ever run the waiting calls.
        () = &mut starts_failed => timeout = Duration::ZERO,
        ended = &mut serving => return Err(unexpected(ended)),
    }
    drop(starts_failed);
    // Query the health once more before the drain: afterwards there are no workers, and `outcome` could not tell
    // whether one was ready.
    starts.poll(&pools).await;
    let drain = Drain { stop, connections, pools, timeout };
    tokio::select! {
        () = drain.run() => starts.outcome(),
        signal = signals.next_stop() => signal.exit_now(),
    }
}

/// Waits until all pools have used up their restarts without a ready worker. Never returns otherwise.
async fn all_starts_failed(starts: &StartTracker, pools: Vec<Pool>) {
    if starts.watch(pools).await.is_ok() {
        std::future::pending::<()>().await;
    }
}

/// Starts the pools, on this thread or each on a thread of its own.
pub(crate) async fn start(configs: Vec<PoolConfig>, on_this_thread: bool) -> Outcome<Vec<Pool>> {
    let mut pools = Vec::with_capacity(configs.len());
    for config in configs {
        let start = Pool::start(config).without_waiting();
        let start = if on_this_thread { start.on_current_arbiter() } else { start };
        pools.push(start.await.map_err(CommandError::failed)?);
    }
    Ok(pools)
}

/// Returns the pages that a banner shows, as names and URLs.
pub(crate) fn pages(options: &Serve, settings: &config::Server, address: SocketAddr) -> Vec<(&'static str, String)> {
    let is_local = address.ip().is_loopback();
    let page = options.page.or(settings.page).unwrap_or(is_local);
    let docs = options.docs.or(settings.docs).unwrap_or(is_local);
    let mcp = options.mcp || settings.mcp;
    let all = [("page", "", page), ("docs", "docs", docs), ("mcp", "mcp", mcp)];
    let on = all.into_iter().filter(|(.., is_on)| *is_on);
    on.map(|(name, path, _)| (name, format!("http://{address}/{path}"))).collect()
}

/// The running HTTP server.
pub(crate) struct Http {
    pub(crate) serving: JoinHandle<io::Result<()>>,
    pub(crate) stop: StopServer,
    pub(crate) connections: Connections,
}

/// Serves HTTP on the listener.
pub(crate) fn http(
    options: &Serve,
    settings: &config::Server,
    pools: &[Pool],
    access: &Access,
    listen: Listen,
) -> Outcome<Http> {
    let api = set_tokens(api(options, settings, pools), access);
    let server = Server::new(move || App::new().configure(api.routes()))
        .workers(options.threads.into())
        .max_connections(listen.connections)
        .keep_alive(options.keep_alive.unwrap_or(settings.keep_alive))
        .head_timeout(options.head_timeout.unwrap_or(settings.head_timeout))
        .write_timeout(options.write_timeout.unwrap_or(settings.write_timeout))
        .shutdown_timeout(options.shutdown_timeout.saturating_add(FLUSH_TIMEOUT))
        .disable_signals()
        .listen(listen.listener)
        .map_err(CommandError::failed)?;
    let connections = server.connections();
    if options.threads == 1 {
        let server = server.run_on_current_arbiter().map_err(CommandError::failed)?;
        let handle = server.handle();
        let stop: StopServer = Box::new(move || Box::pin(handle.stop(true)));
        return Ok(Http { serving: actix_rt::spawn(server), stop, connections });
    }
    let server = server.run().map_err(CommandError::failed)?;
    let handle = server.handle();
    let stop: StopServer = Box::new(move || Box::pin(handle.stop(true)));
    Ok(Http { serving: actix_rt::spawn(server), stop, connections })
}

/// Returns the routes with the settings of the file, which the options override. They have no tokens yet.
fn api(options: &Serve, settings: &config::Server, pools: &[Pool]) -> Api {
    let mut api =
        Api::new(pools.iter().cloned()).hosts(settings.hosts.iter().cloned()).dropped_log_lines(logs::dropped);
    api = api.log_levels(logs::pool_levels());
    api = set_limits(api, options, settings).mcp(options.mcp || settings.mcp);
    if let Some(detail) = options.errors.or(settings.errors) {
        api = api.errors(detail);
    }
    if let Some(enabled) = options.docs.or(settings.docs) {
        api = api.docs(enabled);
    }
    if let Some(enabled) = options.page.or(settings.page) {
        api = api.page(enabled);
    }
    api = api.metrics(options.metrics.unwrap_or(settings.metrics)).access_log(options.access_log);
    api = api.session_headers(settings.session_header.iter().cloned());
    if let Some(cookie) = &settings.session_cookie {
        api = api.session_cookie(cookie.clone());
    }
    api
}

/// Sets the tokens, which the log then hides.
fn set_tokens(mut api: Api, access: &Access) -> Api {
    if let Some(token) = access.admin_token() {
        logs::hide_token(token.expose());
        api = api.token(token.clone());
    }
    if let Some(token) = access.call_token() {
        logs::hide_token(token.expose());
        api = api.call_token(token.clone());
    }
    if let Some(token) = access.metrics_token() {
        logs::hide_token(token.expose());
        api = api.metrics_token(token.clone());
    }
    api
}

/// Refuses a `--buffer-limit` that is smaller than the largest `max_frame`. `server.buffer_limit` was checked with the
/// file.
fn check_limits(options: &Serve, source: &Source) -> Outcome {
    let Some(bytes) = options.buffer_limit else { return Ok(()) };
    config::Server::check_buffer_limit(limit(bytes), &source.pools)
        .map_err(|message| CommandError::usage(format_args!("--buffer-limit: {message}")))
}

/// Applies the limits to the `Api`.
fn set_limits(api: Api, options: &Serve, settings: &config::Server) -> Api {
    let api = api.body_timeout(options.body_timeout.unwrap_or(settings.body_timeout));
    match options.buffer_limit.map(limit).or(settings.buffer_limit) {
        Some(bytes) => api.buffer_limit(bytes),
        None => api,
    }
}

fn limit(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Reaps orphans that are adopted by this process, now and after each SIGCHLD, if it is PID 1. Otherwise they would
/// stay zombies, and the container could run out of process ids.
fn reap_if_init() -> Outcome {
    if std::process::id() != 1 {
        return Ok(());
    }
    let mut ended = signal(SignalKind::child()).map_err(CommandError::failed)?;
    actix_rt::spawn(async move {
        loop {
            // `reap_orphans` skips the processes that Herder started. All other children are orphans.
            herder::process::reap_orphans(|_| false);
            // Several SIGCHLD can arrive as one, but one pass reaps all orphans that have exited. The handler is
            // registered before the first pass, so that an exit in between is not missed.
            if ended.recv().await.is_none() {
                return;
            }
        }
    });
    Ok(())
}

/// Returns the error for a server that has ended by itself.
pub(crate) fn unexpected(ended: Result<io::Result<()>, tokio::task::JoinError>) -> CommandError {
    match ended {
        Ok(Ok(())) => CommandError::failed("the HTTP server stopped unexpectedly"),
        Ok(Err(error)) => CommandError::failed(format_args!("the HTTP server failed: {error}")),
        Err(error) => CommandError::failed(format_args!("the HTTP server failed: {error}")),
    }
}
