//! The entry point of the crate, and what exists once per host process: three threads and a watchdog, started by the first
//! [`spawn`].

use crate::{
    Command, SpawnError, Spawned,
    lock::lock,
    memory::OomAccounting,
    monitor::Monitor,
    output_log::Log,
    spawner::{SpawnRequest, Spawner},
    thread::thread_builder,
    waker,
    watchdog::Watchdog,
};
use std::{
    io,
    sync::{Arc, Mutex, OnceLock, mpsc},
};
use tokio::sync::oneshot;

/// The spawner and the sender of its requests, in the process that started it.
struct SpawnerHandle {
    pid: u32,
    spawner: Arc<Spawner>,
    requests: Mutex<mpsc::Sender<SpawnRequest>>,
}

static HOST: OnceLock<SpawnerHandle> = OnceLock::new();
static STARTING: Mutex<()> = Mutex::new(());

/// Starts a worker in a process group of its own.
///
/// Works on any runtime and never blocks it: the spawner's thread forks and waits for exec. Returns when the program has been
/// executed; the worker is not ready yet. If the future is dropped, the worker is killed.
///
/// # Errors
/// A [`SpawnError`] that names the program. No process or descriptor is left behind.
pub async fn spawn(command: Command) -> Result<Spawned, SpawnError> {
    let (reply, answer) = oneshot::channel();
    host()?.request(SpawnRequest { command, reply })?;
    answer.await.unwrap_or_else(|_| Err(no_spawner(io::ErrorKind::BrokenPipe.into())))
}

impl SpawnerHandle {
    /// Sends a request to the spawner's thread, and starts another thread if that one has ended.
    fn request(&self, request: SpawnRequest) -> Result<(), SpawnError> {
        let mut sender = lock(&self.requests);
        let Err(mpsc::SendError(request)) = sender.send(request) else { return Ok(()) };
        *sender = spawner(&self.spawner)?;
        sender.send(request).map_err(|_| no_spawner(io::ErrorKind::BrokenPipe.into()))
    }
}

/// Returns the spawner of this process.
pub(crate) fn spawner_of_this_host() -> Result<&'static Spawner, SpawnError> {
    host().map(|host| &*host.spawner)
}

fn no_spawner(source: io::Error) -> SpawnError {
    SpawnError::Infrastructure { what: "spawner thread", source }
}

fn host() -> Result<&'static SpawnerHandle, SpawnError> {
    if HOST.get().is_none() {
        let _starting = lock(&STARTING);
        if HOST.get().is_none() {
            let _ = HOST.set(start()?);
        }
    }
    HOST.get().filter(|host| host.pid == std::process::id()).ok_or(SpawnError::ForkedHost)
}

/// Starts the threads. If one cannot be started, the others end by themselves, because the senders of their channels are
/// dropped. The monitor is started last, because it and the log thread hold references to each other.
fn start() -> Result<SpawnerHandle, SpawnError> {
    let infrastructure = |what| move |source| SpawnError::Infrastructure { what, source };
    let (waker, wakeups) = waker::pair().map_err(infrastructure("monitor thread"))?;
    let log = Log::start(waker.clone()).map_err(infrastructure("log thread"))?;
    let watchdog = Arc::new(Mutex::new(Watchdog::new(log.clone())));
    let (arrive, spawned) = mpsc::channel();
    let monitor = Monitor {
        spawned,
        wakeups,
        watchdog: watchdog.clone(),
        log,
        children: Vec::new(),
        oom_accounting: OomAccounting::default(),
    };
    let starter = Arc::new(Spawner { watchdog, spawned: arrive, monitor: waker });
    let sender = spawner(&starter)?;
    start_thread("herder-monitor", move || monitor.run()).map_err(infrastructure("monitor thread"))?;
    Ok(SpawnerHandle { pid: std::process::id(), spawner: starter, requests: Mutex::new(sender) })
}

/// Starts a thread for the spawner. The thread ends when the sender of its requests is dropped.
fn spawner(spawner: &Arc<Spawner>) -> Result<mpsc::Sender<SpawnRequest>, SpawnError> {
    let (sender, received) = mpsc::channel();
    let spawner = spawner.clone();
    start_thread("herder-spawner", move || spawner.run(&received)).map_err(no_spawner)?;
    Ok(sender)
}

fn start_thread(name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread_builder(name).spawn(body).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    /// R30: when the spawner's thread has ended, the next request starts another thread and is carried out.
    #[test]
    fn r30_a_spawner_that_is_gone_is_started_anew() {
        let (lifeline, _watchdog_end) = UnixStream::pair().unwrap();
        let (gone, _) = mpsc::channel();
        let host =
            SpawnerHandle { pid: 0, spawner: Arc::new(Spawner::listening(lifeline)), requests: Mutex::new(gone) };
        for _ in 0..2 {
            let (reply, answer) = oneshot::channel();
            host.request(SpawnRequest { command: Command::new("no-such-program"), reply }).unwrap();
            assert!(matches!(answer.blocking_recv(), Ok(Err(SpawnError::ProgramNotFound { .. }))));
        }
    }
}
