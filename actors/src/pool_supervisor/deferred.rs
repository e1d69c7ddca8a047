//! Carries out what steps posted: starts, ends, notes for the log.

use super::{PoolSupervisor, RunningPool};
use crate::{
    Error, Launcher, WorkerActor,
    call_log::{CallLog, WINDOW},
    child::ChildHandle,
    error::ExitRecord,
    events::EventLog,
    launcher::{LaunchError, UnclaimedChild},
    shared_state::{Deferred, WeakSharedState, step, with},
};
use actix::{Actor, ActorContext, Handler, Message};
use herder_core::{ExitStatus, Input, KillReason, LogEvent, PoolName, ProcessExit, WorkerRef};
use std::{pin::pin, rc::Rc, sync::Arc};
use tokio::task::JoinError;
use tracing::Level;

/// Something was posted.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct DrainDeferred;

impl Handler<DrainDeferred> for PoolSupervisor {
    type Result = ();

    fn handle(&mut self, _: DrainDeferred, ctx: &mut Self::Context) {
        let launcher = self.launcher.clone();
        let Ok(deferred) = self.active(|active| Ok(active.shared_state.borrow_mut().take_deferred())) else { return };
        for post in deferred {
            let attended = self.active(|active| Ok(active.drain_deferred(post, &launcher)));
            if matches!(attended, Ok(AfterDrain::Stop)) {
                return ctx.stop();
            }
        }
    }
}

/// What follows for the supervisor itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterDrain {
    Continue,
    Stop,
}

impl RunningPool {
    /// What has to be told in the log is told last: no answer waits for it.
    fn drain_deferred(&mut self, post: Deferred, launcher: &Rc<dyn Launcher>) -> AfterDrain {
        match post {
            Deferred::Start(worker) => self.launch(worker, launcher.clone()),
            Deferred::Launched(worker, launched) => self.launched(worker, launched),
            Deferred::SampleCpu(worker) => {
                let _ = self.shared_state.borrow_mut().activity_since_sample(worker);
            }
            Deferred::Examine(worker, nonce) => self.examine(worker, nonce),
            Deferred::Gone(worker) => self.gone(worker),
            Deferred::Orphaned(worker, child) => self.orphaned(worker, child),
            Deferred::Readiness => self.waiters.check_ready(&self.shared_state.borrow()),
            Deferred::AffinityGone => self.affinity.restart(&self.shared_state),
            Deferred::Rebuilt(reason) => self.rebuilt(&reason),
            Deferred::Answered(call) => self.call_log().log(*call),
            Deferred::FailuresSuppressed => self.log_suppressed_failures(),
            Deferred::Log(note) => self.log(note),
            // One that panicked too often has stopped by itself: it stays, to say why, until it is told to end.
            Deferred::Stopped if self.shared_state.borrow().stopping_since().is_none() => {}
            Deferred::Stopped => {
                self.stopped();
                return AfterDrain::Stop;
            }
        }
        AfterDrain::Continue
    }

    fn call_log(&self) -> Arc<CallLog> {
        self.shared_state.borrow().call_log()
    }

    pub(super) fn events(&self) -> EventLog {
        self.call_log().events().clone()
    }

    /// The pool ends with its last owner: the log hears of the calls that ended with it.
    pub(super) fn log_remaining_calls(&self) {
        let deferred = self.shared_state.borrow_mut().take_deferred();
        let call_log = self.call_log();
        for post in deferred {
            if let Deferred::Answered(call) = post {
                call_log.log(*call);
            }
        }
        call_log.log_suppressed(None);
    }

    /// Tells the log how many failures it was not told of, when the window is over: maybe none follows.
    pub(super) fn log_suppressed_failures(&self) {
        let (call_log, clock) = (self.call_log(), self.shared_state.borrow().clock().clone());
        actix_rt::spawn(async move {
            clock.sleep(WINDOW).await;
            call_log.log_suppressed(Some(clock.now()));
        });
    }

    fn pool(&self) -> PoolName {
        self.shared_state.borrow().config().name().clone()
    }

    /// In tasks of their own: a launcher that hangs does not keep a pool that nobody has any more, and one that panics has
    /// failed to start one process. One that has not returned within `start_timeout` has failed as well: the slot must not wait
    /// for ever. What it returns later is killed.
    fn launch(&self, worker: WorkerRef, launcher: Rc<dyn Launcher>) {
        let (clock, timeout) = {
            let mut state = self.shared_state.borrow_mut();
            state.launching(worker);
            (state.clock().clone(), state.core().settings().start_timeout)
        };
        let shared_state = Rc::downgrade(&self.shared_state);
        let launching = actix_rt::spawn(async move { launcher.launch(worker).await.map(UnclaimedChild::new) });
        actix_rt::spawn(async move {
            let mut launching = pin!(launching);
            tokio::select! {
                biased;
                launched = &mut launching => return returned(&shared_state, worker, launched),
                () = clock.sleep(timeout) => {}
            }
            if let Some(shared_state) = shared_state.upgrade() {
                let reason = format!("the launcher did not finish within {}", humantime::format_duration(timeout));
                shared_state.borrow_mut().defer(Deferred::Launched(worker, Err(reason.into())));
            }
            let launched = launching.await;
            returned(&shared_state, worker, launched);
        });
    }

    /// A start came to something: an actor takes charge of the process, or the core hears that there is none.
    fn launched(&mut self, worker: WorkerRef, launched: Result<UnclaimedChild, LaunchError>) {
        let is_wanted = self.shared_state.borrow().core().is_starting(worker);
        match launched.map(UnclaimedChild::claim) {
            Ok(Some(launched)) if is_wanted => {
                let actor = WorkerActor::new(self.shared_state.clone(), worker, launched).start();
                self.workers.insert(worker.id, (worker, actor));
                self.shortage_is_over();
            }
            Ok(Some(launched)) => {
                launched.child.kill(); // the pool was told to stop it, or was built anew, while it was spawned
                self.await_exit(worker, launched.child, None);
            }
            Ok(None) => {}
            // The second answer of a start that was given up before tells nothing new.
            Err(_) if !self.has_process(worker) => {}
            Err(reason) => {
                let exit_record = ExitRecord { detail: Some(reason.to_string().into()), ..ExitRecord::default() };
                let kill_reason = reason.is_out_of_descriptors().then_some(KillReason::NoDescriptors);
                let end = ProcessExit { status: ExitStatus::Unknown, kill_reason };
                let _ = with(&self.shared_state, |state| state.exited(worker, end, exit_record, None));
            }
        }
    }

    fn shortage_is_over(&self) {
        if self.is_short.replace(false) {
            let pool = self.pool();
            self.events().queue(Level::INFO, move || {
                tracing::info!(%pool, "the host has file descriptors again: workers start");
            });
        }
    }

    fn has_process(&self, worker: WorkerRef) -> bool {
        self.shared_state.borrow().core().processes().any(|process| process == worker)
    }

    /// Its actor is gone: from now on nothing is sent to it, and its end is noticed here.
    fn orphaned(&self, worker: WorkerRef, child: Rc<dyn ChildHandle>) {
        step(&self.shared_state, Input::Kill { worker, kill_reason: KillReason::ActorPanicked });
        self.await_exit(worker, child, Some(KillReason::ActorPanicked));
    }

    /// Waits for the end of a process that no actor is in charge of.
    fn await_exit(&self, worker: WorkerRef, child: Rc<dyn ChildHandle>, kill_reason: Option<KillReason>) {
        let shared_state = Rc::downgrade(&self.shared_state);
        actix_rt::spawn(async move {
            let status = child.wait().await;
            let exit_record = ExitRecord::of(&*child);
            if let Some(shared_state) = shared_state.upgrade() {
                let _ = with(&shared_state, |state| {
                    state.exited(worker, ProcessExit { status, kill_reason }, exit_record, None)
                });
            }
        });
    }

    /// Looks at a silent process, outside of any step, and tells the core.
    fn examine(&self, worker: WorkerRef, nonce: u64) {
        let activity = self.shared_state.borrow_mut().activity_since_sample(worker);
        step(&self.shared_state, Input::Activity { worker, nonce, activity: activity });
    }

    fn gone(&mut self, worker: WorkerRef) {
        if self.workers.get(&worker.id).is_some_and(|(who, _)| *who == worker) {
            self.workers.remove(&worker.id);
        }
        self.waiters.gone(worker);
    }

    fn rebuilt(&mut self, reason: &str) {
        self.workers.clear();
        self.waiters.all_gone();
        self.waiters.check_ready(&self.shared_state.borrow());
        let (pool, broken) = (self.pool(), self.shared_state.borrow().permanent_failure());
        match broken {
            Some(broken) => {
                self.events().queue(Level::ERROR, move || {
                    tracing::error!(%pool, reason = %broken, "pool stopped permanently: it panicked too often");
                });
            }
            None => {
                let (rebuilt, reason) = (pool.clone(), String::from(reason));
                self.events().queue(Level::ERROR, move || {
                    let pool = rebuilt;
                    tracing::error!(%pool, reason, "the pool's state was rebuilt after a panic: pending calls failed, workers are restarted");
                });
                self.affinity.rebuilt(pool, &self.events());
            }
        }
    }

    fn log(&self, note: LogEvent) {
        let (pool, events) = (self.pool(), self.events());
        match note {
            LogEvent::WorkerDied(worker_ref, end) => self.log_end("worker lost", crate::error::ended, worker_ref, &end),
            // One line for each time that descriptors run out: starts are tried again and again until there are some.
            LogEvent::StartFailed(_, ProcessExit { kill_reason: Some(KillReason::NoDescriptors), .. }) if self.is_short.replace(true) => {}
            LogEvent::StartFailed(worker_ref, end) => {
                self.log_end("worker failed to start", crate::error::start_failed, worker_ref, &end);
            }
            LogEvent::PingMissed(worker_ref, misses, activity) => events.queue(Level::WARN, move || {
                tracing::warn!(%pool, worker = %worker_ref, misses, found = %activity, "worker missed a ping");
            }),
            LogEvent::GilHeld(worker_ref) => events.queue(Level::WARN, move || {
                tracing::warn!(%pool, worker = %worker_ref, "worker is busy and does not answer pings: C code holds the GIL; it is killed only if its calls exceed their deadlines");
            }),
            LogEvent::PoolFailed(retry_at) => {
                let retry_in = retry_at.since(self.shared_state.borrow().clock().now());
                events.queue(Level::ERROR, move || {
                    tracing::error!(%pool, ?retry_in, "pool failed: too many restarts");
                });
            }
            LogEvent::PoolRecovered => events.queue(Level::INFO, move || tracing::info!(%pool, "pool recovered")),
            LogEvent::LateAnswer(worker_ref, wire) => events.queue(Level::DEBUG, move || {
                tracing::debug!(%pool, worker = %worker_ref, %wire, "dropped a late answer");
            }),
            LogEvent::UnknownAnswer(worker_ref, wire) => events.queue(Level::WARN, move || {
                tracing::warn!(%pool, worker = %worker_ref, %wire, "dropped an answer to an unknown call");
            }),
        }
    }

    /// A process's end is logged with all that an error tells. Where no worker is ready it concerns them all.
    fn log_end(
        &self,
        message: &'static str,
        error: fn(WorkerRef, &ProcessExit, Option<&ExitRecord>) -> Error,
        worker: WorkerRef,
        end: &ProcessExit,
    ) {
        let (error, none_ready) = {
            let state = self.shared_state.borrow();
            (error(worker, end, state.exit_record(worker)), state.core().ready_workers() == 0)
        };
        let pool = self.pool();
        self.events().queue(Level::ERROR, move || error.log_end(&pool, message, none_ready));
    }

    fn stopped(&mut self) {
        let report = self.shared_state.borrow().report();
        self.waiters.all_stopped(&report);
        self.waiters.all_gone();
        self.waiters.check_ready(&self.shared_state.borrow());
        self.call_log().log_suppressed(None);
        if report.still_running.is_empty() {
            self.events().queue(Level::INFO, move || tracing::info!("{report}"));
        } else {
            self.events().queue(Level::WARN, move || tracing::warn!("{report}"));
        }
    }
}

/// A launcher came to an end. Where the pool has given the start up, its process is killed and its error is told nobody.
fn returned(
    shared_state: &WeakSharedState,
    worker: WorkerRef,
    launched: Result<Result<UnclaimedChild, LaunchError>, JoinError>,
) {
    let Some(shared_state) = shared_state.upgrade() else { return };
    let launched = launched.unwrap_or_else(|error| Err(format!("the launcher failed: {error}").into()));
    let mut state = shared_state.borrow_mut();
    state.launcher_returned(worker);
    state.defer(Deferred::Launched(worker, launched));
}
