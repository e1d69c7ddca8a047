//! Launches nothing: what a pool starts is handed to the test, to be played. Holds how launches go.

use super::{FakeWorker, PeerSocket, ScriptedChild, with_timeout};
use crate::{LaunchFuture, Launched, Launcher, WorkerRef};
use std::{
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
};
use tokio::sync::{Notify, mpsc};

/// A [`Launcher`] whose processes the test plays: `PoolSupervisor::with_launcher(config, peers)`. Clones share how launches go.
///
/// ```
/// use herder_actors::{Execute, PoolConfig, PoolSupervisor, testing::FakeWorkers};
/// use actix::Actor;
///
/// actix_rt::System::new().block_on(async {
///     let config = PoolConfig::basic("by_hand").command(["played"]).pool_size(1).build().unwrap();
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
    how: Arc<Mutex<LaunchOutcome>>,
    spawned: Arc<Notify>,
}

/// How a launch goes.
///
/// ```
/// use herder_actors::{PoolConfig, PoolSupervisor, WaitReady, testing::{LaunchOutcome, FakeWorkers}};
/// use actix::Actor;
///
/// actix_rt::System::new().block_on(async {
///     let config = PoolConfig::basic("unlaunched").command(["played"]).pool_size(1).build().unwrap();
///     let (peers, _launches) = FakeWorkers::new();
///     peers.set_outcome(LaunchOutcome::NotFound);
///     let pool = PoolSupervisor::with_launcher(config, peers).start();
///     let error = pool.send(WaitReady).await.unwrap().unwrap_err();
///     assert!(error.to_string().contains("no such program"), "{error}");
/// });
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LaunchOutcome {
    /// The process is there.
    #[default]
    Ok,
    /// The program is not there.
    NotFound,
    /// The launcher panics.
    Panics,
    /// The process is there, but the pool hears of it only at [`FakeWorkers::complete_launch`].
    Deferred,
    /// It runs, and its handle speaks of a socket that can't be polled.
    NoSockets,
}

/// The processes that a pool launches, in their order. One that is not taken from here runs and says nothing; told to end, it does.
#[derive(Debug)]
pub struct Launches(mpsc::UnboundedReceiver<Sockets>);

/// A process nobody plays yet; on no runtime, since pool and test may have different ones.
#[derive(Debug)]
struct Sockets {
    worker: WorkerRef,
    child: Arc<ScriptedChild>,
    calls: UnixStream,
    control: UnixStream,
}

impl Launches {
    /// The next one.
    ///
    /// # Panics
    /// When the pool starts none.
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
    /// The launcher, and what it launches.
    pub fn new() -> (Self, Launches) {
        let (launched, receiver) = mpsc::unbounded_channel();
        (Self { launched, how: Arc::default(), spawned: Arc::default() }, Launches(receiver))
    }

    /// How launches go from now on.
    pub fn set_outcome(&self, how: LaunchOutcome) {
        *self.how.lock().unwrap_or_else(PoisonError::into_inner) = how;
    }

    /// One launch that was to be [`Later`](Launch::Deferred) is done.
    pub fn complete_launch(&self) {
        self.spawned.notify_one();
    }
}

impl Launcher for FakeWorkers {
    fn launch(&self, worker_ref: WorkerRef) -> LaunchFuture {
        let how = *self.how.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(how != LaunchOutcome::Panics, "no launcher today");
        let (launched, spawned) = (self.launched.clone(), self.spawned.clone());
        Box::pin(async move {
            if how == LaunchOutcome::NotFound {
                return Err("there is no such program".into());
            }
            let (mut host, worker) = pair(worker_ref);
            let _ = launched.send(worker); // a test that is over plays no more
            match how {
                LaunchOutcome::Deferred => spawned.notified().await,
                LaunchOutcome::NoSockets => host.calls = no_socket(),
                LaunchOutcome::Ok | LaunchOutcome::NotFound | LaunchOutcome::Panics => {}
            }
            Ok(host)
        })
    }
}

/// The two ends of a process that there is not: its pool's, and who plays it.
pub(super) fn peer(worker_ref: WorkerRef) -> (Launched, FakeWorker) {
    let (host, worker) = pair(worker_ref);
    (host, worker.play())
}

fn pair(worker_ref: WorkerRef) -> (Launched, Sockets) {
    /// Beyond all that a system gives: a signal to one of these reaches nobody.
    static PID: AtomicU32 = AtomicU32::new(1 << 30);
    let child = ScriptedChild::new(PID.fetch_add(1, Ordering::Relaxed));
    let ((calls, calls_end), (control, control_end)) = (UnixStream::pair().unwrap(), UnixStream::pair().unwrap());
    let worker = Sockets { worker: worker_ref, child: child.clone(), calls: calls_end, control: control_end };
    (Launched { calls, control, child: std::rc::Rc::new(child) }, worker)
}

fn no_socket() -> UnixStream {
    std::os::fd::OwnedFd::from(std::fs::File::open("/dev/null").unwrap()).into()
}
