//! `herder dev`: serves an app while it is written. At each save, the pools start workers with the new code, which replace
//! the old ones once they are ready. The pools decide that ([`Pool::reload`]); nothing here stops
//! a worker, except for one that keeps a newer save waiting (`reloads`).

mod keys;
mod reloads;
mod terminal;
mod watch;

use crate::{
    access::Access,
    args::{Dev, Serve},
    check::kind,
    console::Style,
    error::{CommandError, Outcome},
    logs,
    serve::{self, Descriptors, Drain, Http, Listen},
    signals::Signals,
    source::{Origin, Overrides, Source},
    traces::TraceExport,
};
use actix_rt::System;
use herder::{Pool, PoolConfig, config::Launch};
use reloads::Reloads;
use std::{
    collections::BTreeSet,
    env,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use terminal::Terminal;
use tokio::sync::{
    Mutex,
    mpsc::{self, UnboundedReceiver},
};
use watch::{Saves, Watched};

/// How long running requests may take after Ctrl-C. The person at the terminal waits.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);
/// The limit on calls and starts while a debugger may have the terminal: none that a person would notice.
const DEBUGGER_LIMIT: Duration = Duration::from_secs(24 * 60 * 60);
/// The folders whose files workers compile at each start, so that no stale bytecode runs.
const FRESH_SOURCES: &str = "HERDER_FRESH_SOURCES";

/// Why the workers are replaced.
enum Cause {
    Saved(BTreeSet<PathBuf>),
    ByHand,
}

/// Serves the app until a signal stops it.
pub(crate) fn run(options: &Dev) -> Outcome {
    logs::start_console(Style::of_stderr())?;
    let mut source = source(options)?.with_programs()?;
    let watched = watched(options, &source.pools)?;
    let terminal = Terminal::open();
    let fitted = |pool| fitted(pool, options, &watched).and_then(|pool| debuggable(pool, terminal.as_ref()));
    source.pools = source.pools.into_iter().map(fitted).collect::<Outcome<_>>()?;
    let port = options.port.unwrap_or(source.server.listen.port());
    let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
    let access = Access::decide(listen, &source, false)?;
    let _traces = TraceExport::start(&source.traces)?;
    let listener = serve::bind(listen, "port with --port")?;
    let connections = Descriptors::raise(1, &source.pools).connections_per_thread()?;
    let session = Session { source, access, watched, listen: Listen { listener, connections }, terminal };
    System::new().block_on(session.run())
}

fn source(options: &Dev) -> Outcome<Source> {
    let overrides = Overrides { enhanced: options.enhanced, ..Overrides::default() };
    let source = Source::of(options.source.as_deref(), overrides)?;
    if source.origin == Origin::Demo {
        return Err(CommandError::usage(
            "there is no herder.toml in this folder; name the app, as in `herder dev app.py:app`, or write a new project \
             with `herder init`",
        ));
    }
    Ok(source)
}

/// Returns what is watched: the folder of each app, and the paths of `--watch`.
fn watched(options: &Dev, pools: &[PoolConfig]) -> Outcome<Watched> {
    let mut watched = Watched::default();
    pools.iter().try_for_each(|pool| watched.add(&folder_of(pool)))?;
    options.watch.iter().try_for_each(|path| watched.add(path))?;
    Ok(watched)
}

/// Returns the folder of a pool's app: that of its file, or the one from which its module is imported.
fn folder_of(pool: &PoolConfig) -> PathBuf {
    match pool.launch() {
        Launch::App { app, .. } if app.target().ends_with(".py") => {
            let file = pool.cwd().join(app.target());
            file.parent().map_or_else(|| pool.cwd().to_owned(), Path::to_owned)
        }
        _ => pool.cwd().to_owned(),
    }
}

/// Returns the configuration with few workers that use no stale bytecode.
fn fitted(pool: PoolConfig, options: &Dev, watched: &Watched) -> Outcome<PoolConfig> {
    let folders = env::join_paths(&watched.folders).map_err(CommandError::usage)?;
    let pool = pool.with_pool_size(options.workers.into()).and_then(|pool| pool.with_overflow(0));
    pool.and_then(|pool| pool.with_env(FRESH_SOURCES, folders.to_string_lossy())).map_err(CommandError::usage)
}

/// Returns the configuration for workers that may have the terminal.
fn debuggable(pool: PoolConfig, terminal: Option<&Terminal>) -> Outcome<PoolConfig> {
    let Some(terminal) = terminal else { return Ok(pool) };
    // From the start of the worker: a limit could not be extended when the debugger stops. A call of the worker is answered when
    // the person at the terminal is done.
    let pool = pool.with_time_limits(DEBUGGER_LIMIT);
    pool.and_then(|pool| pool.with_env(terminal::KEY, terminal.path().to_string_lossy())).map_err(CommandError::usage)
}

/// One run of the command.
struct Session {
    source: Source,
    access: Access,
    watched: Watched,
    listen: Listen,
    terminal: Option<Terminal>,
}

impl Session {
    async fn run(self) -> Outcome {
        // Before the pools start, as in `serve`.
        let mut signals = Signals::of_a_server()?;
        let Self { source, access, watched, listen, terminal } = self;
        let address = listen.listener.local_addr().map_err(CommandError::failed)?;
        // Before the workers start: a save while they do is not missed.
        let input = Arc::default();
        let mut causes = causes(Saves::start(watched.clone())?, terminal, &input);
        let pools = serve::start(source.pools, true).await?;
        let reloads: Vec<_> = pools.iter().map(|pool| Reloads::start(pool.clone(), Arc::clone(&input))).collect();
        let options = Serve::on(address, STOP_TIMEOUT);
        let Http { mut serving, stop, connections } = serve::http(&options, &source.server, &pools, &access, listen)?;
        print_banner(address, &pools, &access, &watched);
        for (name, url) in serve::pages(&options, &source.server, address) {
            logs::write_line(&format!("{name}: {}", Style::of_stderr().cyan(&url)));
        }
        loop {
            tokio::select! {
                _ = signals.next() => break,
                ended = &mut serving => return Err(serve::unexpected(ended)),
                Some(cause) = causes.recv() => begin_reload(cause, &reloads),
            }
        }
        logs::write_line("stopping");
        let drain = Drain { stop, connections, pools, timeout: STOP_TIMEOUT };
        tokio::select! {
            () = drain.run() => Ok(()),
            signal = signals.next_stop() => signal.exit_now(),
        }
    }
}

/// Collects saves, and `r` on standard input. Lends the terminal to workers.
fn causes(mut saves: Saves, terminal: Option<Terminal>, input: &Arc<Mutex<()>>) -> UnboundedReceiver<Cause> {
    let (sender, causes) = mpsc::unbounded_channel();
    let keys = sender.clone();
    actix_rt::spawn(async move {
        while let Some(saved) = saves.next().await {
            _ = sender.send(Cause::Saved(saved));
        }
    });
    keys::start(Arc::clone(input), move |line| {
        if line == "r" {
            _ = keys.send(Cause::ByHand);
        }
    });
    if let Some(terminal) = terminal {
        actix_rt::spawn(terminal.lend(Arc::clone(input)));
    }
    causes
}

/// Prints the address, and what is watched.
fn print_banner(address: SocketAddr, pools: &[Pool], access: &Access, watched: &Watched) {
    let style = Style::of_stderr();
    for pool in pools {
        let config = pool.config();
        let runs = match config.launch() {
            Launch::App { app, .. } => app.to_string(),
            Launch::Command { argv } => argv.join(" "),
        };
        logs::write_line(&format!("pool {}: {}, {runs}", style.bold(pool.name().as_str()), kind(config)));
    }
    if let Access::NewToken { admin: token, .. } = access {
        logs::write_line(&format!("token: {} (required by every request)", token.expose()));
    }
    let watched: Vec<_> = watched.folders.iter().chain(&watched.files).map(|path| shown(path)).collect();
    logs::write_line(&format!("watching {}; r + Enter reloads, Ctrl-C stops", watched.join(", ")));
    logs::write_line(&format!("herder listens on {}", style.cyan(&format!("http://{address}"))));
}

/// Returns the path relative to the current folder, if it is in it.
fn shown(path: &Path) -> String {
    let current = env::current_dir().and_then(std::fs::canonicalize).unwrap_or_default();
    match path.strip_prefix(&current) {
        Ok(inside) if inside.as_os_str().is_empty() => ".".to_owned(),
        Ok(inside) => inside.display().to_string(),
        Err(_) => path.display().to_string(),
    }
}

/// Begins to replace the workers of all pools. A later save ends the reload: the pools report that it was superseded.
fn begin_reload(cause: Cause, reloads: &[Reloads]) {
    logs::write_line(&match cause {
        Cause::Saved(saved) => {
            let saved: Vec<_> = saved.iter().map(|path| shown(path)).collect();
            format!("reloading: {} changed", saved.join(", "))
        }
        Cause::ByHand => "reloading: by hand".to_owned(),
    });
    reloads.iter().for_each(Reloads::begin);
}
