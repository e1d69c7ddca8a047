//! The template of a pool with `start = "template"`: is prepared once, forks workers, and is replaced after its death and for
//! reloads. Holds its state.

use super::command::Commands;
use crate::{LaunchError, clock::Clock, events::EventLog};
use herder_core::WorkerRef;
use herder_process::{ForkError, Signal, Spawned, Template, TemplateReport, spawn};
use serde::Serialize;
use std::{
    cell::{Cell, RefCell},
    fmt::Display,
    pin::pin,
    rc::Rc,
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};
use tracing::Level;

/// The number of templates in a row that may end before they have forked a worker, until the next one waits for the next start
/// of a worker.
const MAX_UNUSED: u32 = 3;

/// The template of a pool, as its status shows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum TemplateStatus {
    /// There is none. The next start of a worker prepares one.
    Absent {
        /// Why the last one failed or ended, if there was one. Until it is replaced, workers are spawned.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// It imports the app.
    Preparing,
    /// It forks workers.
    Ready {
        /// Its process id.
        pid: u32,
    },
    /// The app cannot be forked. Workers are spawned until the next reload.
    Unfit {
        /// What the import has left, or what this system lacks.
        reason: String,
    },
}

/// Owns the template of a pool. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct TemplateOwner(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    commands: Rc<Commands>,
    events: EventLog,
    state: watch::Sender<State>,
    /// The number of templates that were started.
    builds: Cell<u64>,
    /// The number of templates in a row that have ended and had forked no worker.
    unused: Cell<u32>,
    /// Prepares the last template that was started. Aborting it kills the process.
    preparation: RefCell<Option<JoinHandle<()>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.abort_preparation();
    }
}

impl Inner {
    fn abort_preparation(&self) {
        if let Some(preparation) = self.preparation.borrow_mut().take() {
            preparation.abort();
        }
    }
}

#[derive(Clone, Debug)]
enum State {
    /// `failed` is the number of the last template and how it failed.
    Absent {
        failed: Option<(u64, Failure)>,
    },
    /// The template with this number imports the app. If starts wait for it, they would take as long without it.
    Preparing {
        build: u64,
        is_awaited: bool,
    },
    Ready(Rc<ReadyTemplate>),
    Unfit {
        reason: Rc<str>,
    },
    /// The pool has ended.
    Ended,
}

#[derive(Debug)]
struct ReadyTemplate {
    template: Template,
    has_forked: Cell<bool>,
}

/// How a template failed.
#[derive(Clone, Debug)]
enum Failure {
    /// Workers that are spawned will show the reason, or start.
    SpawnInstead(Rc<str>),
    /// A worker that is spawned would hang as well: the starts that waited have failed.
    Hung(LaunchError),
}

/// The result of a preparation.
enum Prepared {
    Ready(Template, String),
    Unfit(String),
    Failed(Failure),
}

impl TemplateOwner {
    pub(super) fn new(commands: Rc<Commands>, events: EventLog) -> Self {
        let state = watch::Sender::new(State::Absent { failed: None });
        Self(Rc::new(Inner {
            commands,
            events,
            state,
            builds: Cell::new(0),
            unused: Cell::new(0),
            preparation: RefCell::default(),
        }))
    }

    /// Prepares a template, unless there is one or the app cannot be forked.
    pub(super) fn prepare(&self) {
        let absent = match &*self.0.state.borrow() {
            State::Absent { failed } => failed.is_some(),
            _ => return,
        };
        // After a failure, starts do not wait for another attempt.
        self.start(!absent);
    }

    /// Replaces the template, since the files of the app may have changed. Starts wait for the new one.
    pub(super) fn replace(&self) {
        if !matches!(&*self.0.state.borrow(), State::Ended) {
            self.start(true);
        }
    }

    /// Forks a worker. Returns `None` if the worker must be spawned.
    pub(super) async fn fork(&self, worker: WorkerRef, number: u32) -> Option<Result<Spawned, LaunchError>> {
        self.prepare();
        let mut state = self.0.state.subscribe();
        let mut awaited = None;
        loop {
            let current = state.borrow_and_update().clone();
            match current {
                State::Preparing { build, is_awaited: true } => awaited = Some(build),
                State::Ready(ready) => return self.fork_from(&ready, worker, number).await,
                State::Absent { failed: Some((build, Failure::Hung(error))) } if awaited == Some(build) => {
                    return Some(Err(error));
                }
                State::Absent { .. } | State::Preparing { .. } | State::Unfit { .. } | State::Ended => return None,
            }
            state.changed().await.ok()?;
        }
    }

    /// Returns the state for the status of the pool.
    pub(super) fn status(&self) -> TemplateStatus {
        match &*self.0.state.borrow() {
            State::Absent { failed: None } | State::Ended => TemplateStatus::Absent { reason: None },
            State::Absent { failed: Some((_, failure)) } => {
                TemplateStatus::Absent { reason: Some(failure.to_string()) }
            }
            State::Preparing { .. } => TemplateStatus::Preparing,
            State::Ready(ready) => TemplateStatus::Ready { pid: ready.template.child().pid() },
            State::Unfit { reason } => TemplateStatus::Unfit { reason: reason.to_string() },
        }
    }

    /// Ends the template and waits until it was reaped.
    pub(super) fn end(&self) -> impl Future<Output = ()> + use<> {
        self.0.abort_preparation();
        let before = self.0.state.send_replace(State::Ended);
        async move {
            if let State::Ready(ready) = before {
                ready.template.child().kill();
                ready.template.child().wait().await;
            }
        }
    }

    /// Starts a template, and kills one that is being prepared.
    fn start(&self, is_awaited: bool) {
        let build = self.0.builds.get() + 1;
        self.0.builds.set(build);
        self.0.state.send_replace(State::Preparing { build, is_awaited });
        let (commands, owner) = (self.0.commands.clone(), Rc::downgrade(&self.0));
        self.0.abort_preparation();
        let preparation = actix_rt::spawn(async move {
            let prepared = prepare(&commands).await;
            if let Some(inner) = owner.upgrade() {
                Self(inner).on_prepared(build, prepared);
            }
        });
        *self.0.preparation.borrow_mut() = Some(preparation);
    }

    fn on_prepared(&self, number: u64, prepared: Prepared) {
        let is_current = matches!(&*self.0.state.borrow(), State::Preparing { build, .. } if *build == number);
        if !is_current {
            return;
        }
        let pool = self.0.commands.config.name().clone();
        let state = match prepared {
            Prepared::Ready(template, note) => {
                let pid = template.child().pid();
                self.0.events.queue(
                    Level::INFO,
                    move || tracing::info!(%pool, pid, numeric_threads = note, "template ready: workers are forked from it"),
                );
                let ready = Rc::new(ReadyTemplate { template, has_forked: Cell::new(false) });
                self.watch(&ready);
                State::Ready(ready)
            }
            Prepared::Unfit(reason) => {
                let text = reason.clone();
                self.0.events.queue(
                    Level::WARN,
                    move || tracing::warn!(%pool, reason = text, "workers are spawned until the next reload: the app cannot be forked"),
                );
                State::Unfit { reason: reason.into() }
            }
            Prepared::Failed(failure) => {
                self.warn("no template; workers are spawned", &failure);
                State::Absent { failed: Some((number, failure)) }
            }
        };
        self.0.state.send_replace(state);
    }

    async fn fork_from(
        &self,
        ready: &Rc<ReadyTemplate>,
        worker: WorkerRef,
        number: u32,
    ) -> Option<Result<Spawned, LaunchError>> {
        match ready.template.fork(self.0.commands.fork_request(worker, number)).await {
            Ok(spawned) => {
                ready.has_forked.set(true);
                Some(Ok(spawned))
            }
            Err(error) if error.is_out_of_descriptors() => Some(Err(out_of_descriptors(&error))),
            Err(error) => {
                self.lose(ready, &error);
                None
            }
        }
    }

    /// Replaces the template when it has ended.
    fn watch(&self, ready: &Rc<ReadyTemplate>) {
        let (child, ready, owner) = (ready.template.child().clone(), Rc::downgrade(ready), Rc::downgrade(&self.0));
        actix_rt::spawn(async move {
            let status = child.wait().await;
            if let (Some(ready), Some(inner)) = (ready.upgrade(), owner.upgrade()) {
                Self(inner).lose(&ready, &format!("its process ended: {status}"));
            }
        });
    }

    /// Replaces a template that is of no use any more. Workers are spawned until the next one is ready. If several in a row
    /// have forked no worker, the next one is started with the next worker: whatever ends them may end each template.
    fn lose(&self, lost: &Rc<ReadyTemplate>, reason: &dyn Display) {
        let is_current = matches!(&*self.0.state.borrow(), State::Ready(ready) if Rc::ptr_eq(ready, lost));
        if !is_current {
            return;
        }
        self.warn("the template is lost; workers are spawned until another one is ready", reason);
        lost.template.child().kill();
        let failure = Failure::SpawnInstead(reason.to_string().into());
        self.0.state.send_replace(State::Absent { failed: Some((self.0.builds.get(), failure)) });
        self.0.unused.set(if lost.has_forked.get() { 0 } else { self.0.unused.get() + 1 });
        if self.0.unused.get() < MAX_UNUSED {
            self.start(false);
        }
    }

    fn warn(&self, what: &'static str, reason: &dyn Display) {
        let (pool, reason) = (self.0.commands.config.name().clone(), reason.to_string());
        self.0.events.queue(Level::WARN, move || tracing::warn!(%pool, reason, "{what}"));
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::SpawnInstead(reason) => f.write_str(reason),
            Self::Hung(error) => error.fmt(f),
        }
    }
}

fn out_of_descriptors(error: &ForkError) -> LaunchError {
    LaunchError::out_of_descriptors(error.to_string())
}

/// Starts a template and waits until it has imported the app.
async fn prepare(commands: &Commands) -> Prepared {
    match try_prepare(commands).await {
        Ok(prepared) => prepared,
        Err(reason) => Prepared::Failed(Failure::SpawnInstead(reason.into())),
    }
}

async fn try_prepare(commands: &Commands) -> Result<Prepared, String> {
    let command = commands.of_template().await.map_err(|error| error.to_string())?;
    let command = command.ok_or("the pool has no app")?;
    let spawned = spawn(command).await.map_err(|error| error.to_string())?;
    let child = spawned.child.clone();
    let (clock, limit) = (Clock::default(), commands.config.start_timeout());
    // Pinned here: a dropped future would kill the process before its stack was printed.
    let mut preparing = pin!(Template::prepare(spawned));
    let report = tokio::select! {
        biased;
        report = &mut preparing => report,
        () = clock.sleep(limit) => {
            child.kill_with_stack(Signal::USR1);
            child.wait().await;
            return Ok(Prepared::Failed(Failure::Hung(hung(limit, child.stack().as_deref()))));
        }
    };
    let (template, report) = report.map_err(|error| format!("no thread or descriptor for the template: {error}"))?;
    Ok(match report {
        Some(TemplateReport::Ready { note }) => Prepared::Ready(template, note),
        Some(TemplateReport::Unfit { reason }) => Prepared::Unfit(reason),
        Some(TemplateReport::Failed { reason }) => return Err(format!("the import failed: {reason}")),
        Some(_) | None => {
            let status = child.wait().await;
            return Err(format!("its process ended before it had imported the app: {status}"));
        }
    })
}

/// The error of the starts that waited for a template that hangs, with the innermost frame of its main thread.
fn hung(limit: Duration, stack: Option<&str>) -> LaunchError {
    let limit = humantime::format_duration(limit);
    let frame = stack.and_then(|stack| stack.lines().map(str::trim).find(|line| line.starts_with("File ")));
    let place = frame.map(|frame| format!("; it was at {frame}")).unwrap_or_default();
    LaunchError::new(format!(
        "the template had not imported the app within {limit} (`start_timeout`) and was killed{place}"
    ))
}
