//! [`PoolSupervisor`]: the actor that is a pool. It holds the cell and the launcher, takes submissions and carries out what the
//! core decided: start, stop, restart, timers. A panic in it is caught: calls are answered, workers are started anew, and the
//! same address lives on.

mod affinity;
mod breaker;
mod deferred;
mod execute;
mod handlers;
#[cfg(feature = "fault-injection")]
mod inject;
mod name;
#[cfg(feature = "testing")]
mod pinged;
mod sessions;
mod tasks;
mod waiters;

pub use execute::CallResponse;
pub(crate) use execute::{Cancel, FailuresSuppressed, Submit};

use crate::{
    Error, Launcher, PoolConfig, Result, WorkerActor,
    client::Shared,
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

/// A pool, spoken to by messages.
///
/// ```no_run
/// use actix::prelude::*;
/// use herder_actors::{Execute, PoolConfig, PoolSupervisor, WaitReady};
///
/// #[actix::main]
/// async fn main() -> herder_actors::Result<()> {
///     let config = PoolConfig::basic("demo").app("herder.demo:app").pool_size(2).build()?;
///     let pool = PoolSupervisor::new(config).start();
///     pool.send(WaitReady).await??;
///     let reply = pool.send(Execute::new("echo", &serde_json::json!({ "x": 1 }))).await??;
///     println!("{}", reply.decode::<serde_json::Value>()?);
///     Ok(())
/// }
/// ```
///
/// Its actors live on the arbiter that starts it. When the last address of it is dropped the pool ends: calls that wait are
/// answered `PoolClosed`, workers are killed.
pub struct PoolSupervisor {
    config: PoolConfig,
    launcher: Rc<dyn Launcher>,
    shared: Arc<Shared>,
    mode: Mode,
    /// Submissions handled, to yield now and then.
    handled: u32,
    /// Dropped with the actor and with the answers of its end, last.
    exit_signal: Option<Arc<oneshot::Sender<()>>>,
}

enum Mode {
    /// Not started yet.
    New,
    /// Another pool has the name: every message says so.
    Refused(Error),
    /// It serves.
    Running(Box<RunningPool>),
}

/// What a pool that serves has.
struct RunningPool {
    shared_state: SharedState,
    workers: HashMap<WorkerId, (WorkerRef, Addr<WorkerActor>)>,
    affinity: affinity::AffinityActorState,
    waiters: Waiters,
    /// Starts fail since the host has no descriptors left, and the log was told.
    is_short: std::cell::Cell<bool>,
    started_at: SystemTime,
    _tasks: Tasks,
    _registration: Registration,
}

impl PoolSupervisor {
    /// A pool as configured. `.start()` starts it on the current arbiter.
    pub fn new(config: PoolConfig) -> Self {
        let launcher = ProcessLauncher::new(config.clone());
        Self::with_launcher(config, launcher)
    }

    /// A pool whose processes come from elsewhere: for tests with scripted peers.
    pub fn with_launcher(config: PoolConfig, launcher: impl Launcher) -> Self {
        let shared = Arc::new(Shared::new(&config, Clock::default()));
        Self { config, launcher: Rc::new(launcher), shared, mode: Mode::New, handled: 0, exit_signal: None }
    }

    /// The same, going by a virtual clock: for tests, since processes can't follow it.
    #[cfg(feature = "testing")]
    #[must_use]
    pub fn with_clock(mut self, clock: crate::testing::VirtualClock) -> Self {
        self.shared = Arc::new(Shared::new(&self.config, Clock::virtual_clock(clock)));
        self
    }

    /// The same, and a future that is ready when its actor is gone and the answers of its end were sent: for the thread that runs it.
    pub fn with_exit_signal(mut self) -> (Self, impl Future<Output = ()>) {
        let (alive, gone) = oneshot::channel::<()>();
        self.exit_signal = Some(Arc::new(alive));
        (self, async move { drop(gone.await) })
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
            is_short: std::cell::Cell::default(),
            started_at: SystemTime::now(),
            _tasks: Tasks::start(&shared_state, ctx.address().downgrade()),
            _registration: registration,
            shared_state,
        }));
    }

    /// Runs a handler's body on the active pool. A panic in it is caught and the state built anew (R29).
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
    /// Runs a change of the state for a handler.
    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> Result<T> {
        with(&self.shared_state, change)
    }
}

/// However the pool ends: nobody waits for an answer that can't come, and no process is left.
impl Drop for RunningPool {
    fn drop(&mut self) {
        if self.shared_state.try_borrow_mut().is_ok() {
            let _ = with(&self.shared_state, State::end_with_owner);
            self.log_remaining_calls();
        }
    }
}

impl Actor for PoolSupervisor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let give_up = self.shared.clock().now() + self.config.settings().start_timeout;
        self.start_under_name(ctx, give_up);
    }
}

impl PoolSupervisor {
    fn events(&self) -> EventLog {
        self.shared.call_log().events().clone()
    }

    /// It has its name: it begins to serve.
    fn begin_service(&mut self, registration: Registration, how: Registered, ctx: &Context<Self>) {
        let (pool, events) = (self.config.name().clone(), self.events());
        if how == Registered::ReplacedDead {
            let pool = pool.clone();
            events.queue(Level::DEBUG, move || tracing::debug!(%pool, "replaced the registration of a stopped actor"));
        }
        self.activate(registration, ctx);
        let _ = self.active(|active| active.with(|state| state.handle(Input::Tick)));
        let (worker_type, size) = (self.config.worker_type(), self.config.pool_size());
        events.queue(Level::INFO, move || tracing::info!(%pool, ?worker_type, size, "pool started"));
        let _ = catch_unwind(AssertUnwindSafe(|| self.launcher.log_warnings()));
    }

    /// Another pool keeps the name.
    fn refuse_service(&mut self, error: Error) {
        let (pool, reason) = (self.config.name().clone(), error.clone());
        self.events()
            .queue(Level::ERROR, move || tracing::error!(%pool, %reason, "pool not started: its name is taken"));
        self.mode = Mode::Refused(error);
    }
}
