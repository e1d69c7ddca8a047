//! [`PoolSupervisor`]: the actor that owns a pool. It holds the shared state and the launcher, takes submissions and carries
//! out what the core decided: starts, stops, restarts, timers. A panic in it is caught: pending calls fail, workers are
//! restarted, and the address stays valid.

mod affinity;
mod deferred;
pub(crate) mod execute;
mod handlers;
#[cfg(feature = "fault-injection")]
mod inject;
mod logging;
mod name;
mod sessions;
mod start_errors;
mod statuses;
mod submission;
mod tasks;
mod waiters;
mod watching;

pub(crate) use submission::{Cancel, Credit, FailuresSuppressed, Shared, Submit};

use crate::{
    Error, Launcher, PoolConfig, Result, WorkerActor,
    clock::Clock,
    events::EventLog,
    launcher::ProcessLauncher,
    registry::{Registered, Registration},
    shared_state::{SharedState, State, with},
};
use actix::{Actor, Addr, AsyncContext, Context};
use herder_core::{Input, WorkerId, WorkerRef};
use std::{
    cell::RefCell,
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
    sync::Arc,
    time::SystemTime,
};
use tasks::Tasks;
use tokio::sync::oneshot;
use tracing::Level;
use waiters::Waiters;

/// The actor that owns a pool and answers its messages.
///
/// ```no_run
/// use actix::prelude::*;
/// # use herder_actors::{Execute, PoolConfig, PoolSupervisor, Result, WaitReady};
///
/// #[actix::main]
/// async fn main() -> Result<()> {
///     let config = PoolConfig::basic("demo").app("herder.demo:app").pool_size(2).build()?;
///     let pool = PoolSupervisor::new(config).start();
///     pool.send(WaitReady).await??;
///     let reply = pool.send(Execute::new("echo", &serde_json::json!({ "x": 1 }))).await??;
///     println!("{}", reply.decode::<serde_json::Value>()?);
///     Ok(())
/// }
/// ```
///
/// The pool's actors run on the arbiter that starts it. When its last address is dropped, the pool ends: pending calls fail
/// with `PoolClosed`, workers are killed.
pub struct PoolSupervisor {
    config: PoolConfig,
    launcher: Rc<dyn Launcher>,
    shared: Arc<Shared>,
    mode: Mode,
    /// The number of submissions handled, to yield after each burst.
    handled: u32,
    /// Signals its receiver when the actor and all answers to `Shutdown`, which share it, were dropped.
    exit_signal: Option<Arc<oneshot::Sender<()>>>,
}

enum Mode {
    /// Not started.
    New,
    /// Another pool has the name. Every message fails with this error.
    Refused(Error),
    /// The pool runs.
    Running(Box<RunningPool>),
}

/// The parts of a running pool.
struct RunningPool {
    shared_state: SharedState,
    workers: HashMap<WorkerId, (WorkerRef, Addr<WorkerActor>)>,
    affinity: affinity::AffinityActorState,
    waiters: Waiters,
    /// Whether starts fail because the host has no descriptors left, and this was logged.
    out_of_descriptors: std::cell::Cell<bool>,
    start_errors: RefCell<start_errors::StartErrors>,
    started_at: SystemTime,
    /// Held while the memory and the CPU time of the processes are read.
    usage_reading: Rc<tokio::sync::Mutex<()>>,
    _tasks: Tasks,
    _registration: Registration,
}

impl PoolSupervisor {
    /// Creates a pool with this configuration. `.start()` starts it on the current arbiter.
    pub fn new(config: PoolConfig) -> Self {
        let launcher = ProcessLauncher::new(config.clone());
        Self::with_launcher(config, launcher)
    }

    /// Creates a pool whose processes are started by `launcher`: for tests with scripted workers.
    pub fn with_launcher(config: PoolConfig, launcher: impl Launcher) -> Self {
        let shared = Arc::new(Shared::new(&config, Clock::default()));
        Self { config, launcher: Rc::new(launcher), shared, mode: Mode::New, handled: 0, exit_signal: None }
    }

    /// Makes the pool use a virtual clock: for tests, since real processes cannot follow it.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_clock(mut self, clock: crate::testing::VirtualClock) -> Self {
        self.shared = Arc::new(Shared::new(&self.config, Clock::virtual_clock(clock)));
        self
    }

    /// Also returns a future that is ready when the actor was dropped and the answers to `Shutdown` were sent: for the thread
    /// that runs the pool.
    pub fn with_exit_signal(mut self) -> (Self, impl Future<Output = ()>) {
        let (alive, dropped) = oneshot::channel::<()>();
        self.exit_signal = Some(Arc::new(alive));
        (self, async move { drop(dropped.await) })
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    fn activate(&mut self, registration: Registration, ctx: &Context<Self>) {
        let clock = self.shared.clock().clone();
        #[cfg(feature = "testing")]
        clock.attach(ctx.address().downgrade().recipient());
        let mut state = State::new(self.config.clone(), clock.now().0, clock);
        state.share_call_log(self.shared.call_log().clone());
        let shared_state: SharedState = Rc::new(RefCell::new(state));
        self.mode = Mode::Running(Box::new(RunningPool {
            workers: HashMap::new(),
            affinity: affinity::AffinityActorState::start(&shared_state),
            waiters: Waiters::default(),
            out_of_descriptors: std::cell::Cell::default(),
            start_errors: RefCell::default(),
            started_at: SystemTime::now(),
            usage_reading: Rc::default(),
            _tasks: Tasks::start(&shared_state, ctx.address().downgrade().recipient()),
            _registration: registration,
            shared_state,
        }));
    }

    /// Runs the body of a handler on the running pool. If it panics, the state is rebuilt and the error of the panic returned
    /// (R29).
    fn active<T>(&mut self, body: impl FnOnce(&mut RunningPool) -> Result<T>) -> Result<T> {
        let active = match &mut self.mode {
            Mode::Running(active) => active,
            Mode::Refused(error) => return Err(error.clone()),
            Mode::New => return Err(Error::closed(false)),
        };
        let answer = catch_unwind(AssertUnwindSafe(|| body(active)));
        answer.unwrap_or_else(|panic| Err(active.shared_state.borrow_mut().rebuild(&*panic)))
    }
}

impl RunningPool {
    /// Runs a change of the state.
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T> {
        with(&self.shared_state, change)
    }
}

/// Fails all pending calls and kills all processes, however the pool ends.
impl Drop for RunningPool {
    fn drop(&mut self) {
        // The state is borrowed if this drop happens inside a step that unwinds; the rebuild then kills all processes.
        if self.shared_state.try_borrow_mut().is_ok() {
            let _ = with(&self.shared_state, State::end_at_once);
            self.log_remaining_calls();
        }
    }
}

impl Actor for PoolSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let deadline = self.shared.clock().now() + self.config.settings().start_timeout;
        self.start_under_name(ctx, deadline);
    }
}

impl PoolSupervisor {
    fn events(&self) -> EventLog {
        self.shared.call_log().events().clone()
    }

    /// Starts the pool after its name was registered.
    fn begin_service(&mut self, registration: Registration, how: Registered, ctx: &Context<Self>) {
        let (pool, events) = (self.config.name().clone(), self.events());
        if how == Registered::ReplacedDead {
            let pool = pool.clone();
            events.queue(Level::DEBUG, move || tracing::debug!(%pool, "replaced the registration of a stopped actor"));
        }
        self.activate(registration, ctx);
        let _ = self.active(|active| active.with(|state| state.handle(Input::Tick)));
        let (worker_type, pool_size) = (self.config.worker_type().name(), self.config.pool_size());
        events.queue(Level::INFO, move || tracing::info!(%pool, worker_type, pool_size, "pool started"));
        let _ = catch_unwind(AssertUnwindSafe(|| self.launcher.log_warnings()));
    }

    /// Refuses to start the pool, because another pool has its name.
    fn refuse_service(&mut self, error: Error) {
        let (pool, reason) = (self.config.name().clone(), error.clone());
        self.events().queue(
            Level::ERROR,
            move || tracing::error!(%pool, error = %reason, "pool not started: its name is taken"),
        );
        self.mode = Mode::Refused(error);
    }
}
