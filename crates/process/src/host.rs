//! The entrance, and what exists once a host process: three threads and a watchdog, begun by the first [`spawn`].

use crate::{
    Command, SpawnError, Spawned,
    child::lock,
    log::Log,
    memory::Accounted,
    spawner::{Order, Spawner},
    thread::thread_builder,
    waker,
    warden::Warden,
    watchdog::Watchdog,
};
use std::{
    io,
    sync::{Arc, Mutex, OnceLock, mpsc},
};
use tokio::sync::oneshot;

/// The spawner's mailbox, in the process that started it.
struct Host {
    pid: u32,
    orders: mpsc::Sender<Order>,
}

static HOST: OnceLock<Host> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// Starts a worker in a process group of its own.
///
/// Works on any runtime and never blocks it: forking and waiting for exec happen on the spawner's thread. It returns once the
/// program has been executed, which is not yet when it is ready. If this future is dropped the worker is killed.
///
/// # Errors
/// A [`SpawnError`] that names the program; nothing is left behind then.
pub async fn spawn(command: Command) -> Result<Spawned, SpawnError> {
    let (reply, answer) = oneshot::channel();
    let gone = || SpawnError::Keeper { what: "spawner thread", source: io::ErrorKind::BrokenPipe.into() };
    host()?.orders.send(Order { command, reply }).map_err(|_| gone())?;
    answer.await.unwrap_or_else(|_| Err(gone()))
}

fn host() -> Result<&'static Host, SpawnError> {
    if HOST.get().is_none() {
        let _starting = lock(&STARTING);
        if HOST.get().is_none() {
            let _ = HOST.set(start()?);
        }
    }
    HOST.get().filter(|host| host.pid == std::process::id()).ok_or(SpawnError::Forked)
}

/// Starts the threads. If one fails, the others end by themselves, as nobody holds what they listen to; the warden comes last,
/// because it and the log thread hold each other.
fn start() -> Result<Host, SpawnError> {
    let keeper = |what| move |source| SpawnError::Keeper { what, source };
    let (waker, wakeups) = waker::pair().map_err(keeper("warden thread"))?;
    let log = Log::start(waker.clone()).map_err(keeper("log thread"))?;
    let watchdog = Arc::new(Mutex::new(Watchdog::new(log.clone())));
    let (arrive, arrivals) = mpsc::channel();
    let (orders, received) = mpsc::channel();
    let warden = Warden {
        arrivals,
        wakeups,
        watchdog: watchdog.clone(),
        log,
        living: Vec::new(),
        accounted: Accounted::default(),
    };
    let spawner = Spawner { watchdog, arrivals: arrive, warden: waker };
    begin("herder-spawner", move || spawner.run(&received)).map_err(keeper("spawner thread"))?;
    begin("herder-warden", move || warden.run()).map_err(keeper("warden thread"))?;
    Ok(Host { pid: std::process::id(), orders })
}

fn begin(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread_builder(name).spawn(body).map(|_| ())
}
