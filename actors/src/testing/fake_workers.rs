//! A launcher that starts no processes: the test plays the workers that a pool launches. Holds the outcome of the next
//! launches.

use super::{FakeWorker, PeerSocket, ScriptedChild, wait::with_timeout};
use crate::{LaunchFuture, Launched, Launcher, WorkerRef};
use std::{
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::sync::{Notify, mpsc};

/// A [`Launcher`] whose workers the test plays: `PoolSupervisor::with_launcher(config, peers)`. Clones share the outcome of
/// launches.
///
/// ```
/// # use herder_actors::{Execute, PoolConfig, PoolSupervisor, testing::FakeWorkers};
/// use actix::Actor;
///
/// actix_rt::System::new().block_on(async {
///     let config = PoolConfig::basic("by_hand").command(["fake"]).pool_size(1).build().unwrap();
///     let (peers, mut launches) = FakeWorkers::new();
///     let pool = PoolSupervisor::with_launcher(config, peers).start();
///     let mut worker = launches.next().await.ready().await;
///     let answer = pool.send(Execute::new("echo", &serde_json::json!({ "n": 1 })));
///     let (answer, call) = tokio::join!(answer, worker.echo());
///     assert_eq!(&*call.command, "echo");
///     assert_eq!(answer.unwrap().unwrap().decode::<serde_json::Value>().unwrap()["n"], 1);
/// });
/// ```
#[derive(Clone, Debug)]
pub struct FakeWorkers {
    launched: mpsc::UnboundedSender<Sockets>,
    outcome: Arc<Mutex<LaunchOutcome>>,
    spawned: Arc<Notify>,
}

/// The outcome of a launch.
///
/// ```
/// # use herder_actors::{PoolConfig, PoolSupervisor, WaitReady, testing::{LaunchOutcome, FakeWorkers}};
/// use actix::Actor;
///
/// actix_rt::System::new().block_on(async {
///     let config = PoolConfig::basic("unlaunched").command(["fake"]).pool_size(1).build().unwrap();
///     let (peers, _launches) = FakeWorkers::new();
///     peers.set_outcome(LaunchOutcome::NotFound);
///     let pool = PoolSupervisor::with_launcher(config, peers).start();
///     let error = pool.send(WaitReady).await.unwrap().unwrap_err();
///     assert!(error.to_string().contains("no such program"), "{error}");
/// });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LaunchOutcome {
    /// The process starts.
    #[default]
    Ok,
    /// The program does not exist.
    NotFound,
    /// The launcher panics.
    Panics,
    /// The process starts, but the pool gets it only after [`FakeWorkers::complete_launch`].
    Deferred,
    /// The process starts, but its calls socket cannot be polled.
    NoSockets,
}

/// The launched workers, in their order. A worker that is not taken from here runs and sends nothing; it exits when it is
/// stopped.
#[derive(Debug)]
pub struct Launches(mpsc::UnboundedReceiver<Sockets>);

/// A launched worker that the test does not drive yet. Its sockets belong to no runtime, since pool and test may have
/// different ones.
#[derive(Debug)]
struct Sockets {
    worker: WorkerRef,
    child: Arc<ScriptedChild>,
    calls: UnixStream,
    control: UnixStream,
}

impl Launches {
    /// Returns the next launched worker.
    ///
    /// # Panics
    /// If the pool launches none in time.
    pub async fn next(&mut self) -> FakeWorker {
        with_timeout("a start", self.0.recv()).await.unwrap().play()
    }
}

impl Sockets {
    fn play(self) -> FakeWorker {
        let Self { worker, child, calls, control } = self;
        child.control();
        FakeWorker { worker, child, calls: PeerSocket::new(calls), control: PeerSocket::new(control) }
    }
}

impl FakeWorkers {
    /// Returns the launcher and the workers that it launches.
    pub fn new() -> (Self, Launches) {
        let (launched, receiver) = mpsc::unbounded_channel();
        (Self { launched, outcome: Arc::default(), spawned: Arc::default() }, Launches(receiver))
    }

    /// Sets the outcome of all further launches.
    pub fn set_outcome(&self, outcome: LaunchOutcome) {
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = outcome;
    }

    /// Completes one launch whose outcome is [`LaunchOutcome::Deferred`].
    pub fn complete_launch(&self) {
        self.spawned.notify_one();
    }
}

impl Launcher for FakeWorkers {
    fn launch(&self, worker_ref: WorkerRef) -> LaunchFuture {
        let outcome = *self.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(outcome != LaunchOutcome::Panics, "no launcher today");
        let (launched, spawned) = (self.launched.clone(), self.spawned.clone());
        Box::pin(async move {
            if outcome == LaunchOutcome::NotFound {
                return Err("there is no such program".into());
            }
            let (mut host, worker) = pair(worker_ref);
            let _ = launched.send(worker); // fails if the test has ended
            match outcome {
                LaunchOutcome::Deferred => spawned.notified().await,
                LaunchOutcome::NoSockets => host.calls = unpollable_socket(),
                LaunchOutcome::Ok | LaunchOutcome::NotFound | LaunchOutcome::Panics => {}
            }
            Ok(host)
        })
    }
}

/// Creates both ends of a process that does not exist: the pool's, and the worker's.
pub(super) fn peer(worker_ref: WorkerRef) -> (Launched, FakeWorker) {
    let (host, worker) = pair(worker_ref);
    (host, worker.play())
}

fn pair(worker_ref: WorkerRef) -> (Launched, Sockets) {
    /// Greater than any real process id, so that a signal to it reaches no process.
    static PID: AtomicU32 = AtomicU32::new(1 << 30);
    let child = ScriptedChild::new(PID.fetch_add(1, Ordering::Relaxed));
    let ((calls, calls_end), (control, control_end)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let worker = Sockets { worker: worker_ref, child: child.clone(), calls: calls_end, control: control_end };
    (Launched { calls, control, slabs: None, child: std::rc::Rc::new(child) }, worker)
}

fn unpollable_socket() -> UnixStream {
    std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap()).into()
}
