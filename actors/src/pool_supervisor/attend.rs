//! Carries out what steps posted: starts, ends, notes for the log.

use super::{Active, PoolSupervisor};
use crate::{
    Error, Launcher, WorkerActor,
    call_log::{CallLog, WINDOW},
    cell::{Post, WeakCell, step, with},
    child::ChildHandle,
    error::Obituary,
    events::EventLog,
    launcher::{LaunchError, Unclaimed},
};
use actix::{Actor, ActorContext, Handler, Message};
use herder_core::{ExitStatus, Input, KillReason, LogEvent, PoolName, ProcessExit, WorkerRef};
use std::{pin::pin, rc::Rc, sync::Arc};
use tokio::task::JoinError;
use tracing::Level;

/// Something was posted.
#[derive(Message)]
#[rtype(result = "()")]
pub(super) struct Attend;

impl Handler<Attend> for PoolSupervisor {
    type Result = ();

    fn handle(&mut self, _: Attend, ctx: &mut Self::Context) {
        let launcher = self.launcher.clone();
        let Ok(posted) = self.active(|active| Ok(active.cell.borrow_mut().take_posted())) else { return };
        for post in posted {
            let attended = self.active(|active| Ok(active.attend(post, &launcher)));
            if matches!(attended, Ok(Then::Stop)) {
                return ctx.stop();
            }
        }
    }
}

/// What follows for the supervisor itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    GoOn,
    Stop,
}

impl Active {
    /// What has to be told in the log is told last: no answer waits for it.
    fn attend(&mut self, post: Post, launcher: &Rc<dyn Launcher>) -> Then {
        match post {
            Post::Start(at) => self.launch(at, launcher.clone()),
            Post::Launched(at, launched) => self.launched(at, launched),
            Post::Sample(at) => {
                let _ = self.cell.borrow_mut().vitals(at);
            }
            Post::Examine(at, nonce) => self.examine(at, nonce),
            Post::Gone(at) => self.gone(at),
            Post::Orphan(at, child) => self.orphaned(at, child),
            Post::Readiness => self.waiters.check_ready(&self.cell.borrow()),
            Post::AffinityGone => self.affinity.restart(&self.cell),
            Post::Rebuilt(reason) => self.rebuilt(&reason),
            Post::Answered(call) => self.call_log().log(*call),
            Post::LeftOut => self.tell_left_out(),
            Post::Log(note) => self.log(note),
            // One that panicked too often has stopped by itself: it stays, to say why, until it is told to end.
            Post::Stopped if self.cell.borrow().stopping_since().is_none() => {}
            Post::Stopped => {
                self.stopped();
                return Then::Stop;
            }
        }
        Then::GoOn
    }

    fn call_log(&self) -> Arc<CallLog> {
        self.cell.borrow().call_log()
    }

    pub(super) fn events(&self) -> EventLog {
        self.call_log().events().clone()
    }

    /// The pool ends with its last owner: the log hears of the calls that ended with it.
    pub(super) fn tell_what_was_answered(&self) {
        let posted = self.cell.borrow_mut().take_posted();
        let call_log = self.call_log();
        for post in posted {
            if let Post::Answered(call) = post {
                call_log.log(*call);
            }
        }
        call_log.log_left_out(None);
    }

    /// Tells the log how many failures it was not told of, when the window is over: maybe none follows.
    pub(super) fn tell_left_out(&self) {
        let (call_log, clock) = (self.call_log(), self.cell.borrow().clock().clone());
        actix_rt::spawn(async move {
            clock.sleep(WINDOW).await;
            call_log.log_left_out(Some(clock.now()));
        });
    }

    fn pool(&self) -> PoolName {
        self.cell.borrow().config().name().clone()
    }

    /// In tasks of their own: a launcher that hangs does not keep a pool that nobody has any more, and one that panics has
    /// failed to start one process. One that has not returned within `start_timeout` has failed as well: the slot must not wait
    /// for ever. What it returns later is killed.
    fn launch(&self, at: WorkerRef, launcher: Rc<dyn Launcher>) {
        let (clock, timeout) = {
            let mut state = self.cell.borrow_mut();
            state.launching(at);
            (state.clock().clone(), state.core().settings().start_timeout)
        };
        let cell = Rc::downgrade(&self.cell);
        let launching = actix_rt::spawn(async move { launcher.launch(at).await.map(Unclaimed::new) });
        actix_rt::spawn(async move {
            let mut launching = pin!(launching);
            tokio::select! {
                biased;
                launched = &mut launching => return returned(&cell, at, launched),
                () = clock.sleep(timeout) => {}
            }
            if let Some(cell) = cell.upgrade() {
                let reason = format!("the launcher did not finish within {}", humantime::format_duration(timeout));
                cell.borrow_mut().post(Post::Launched(at, Err(reason.into())));
            }
            let launched = launching.await;
            returned(&cell, at, launched);
        });
    }

    /// A start came to something: an actor takes charge of the process, or the core hears that there is none.
    fn launched(&mut self, at: WorkerRef, launched: Result<Unclaimed, LaunchError>) {
        let is_wanted = self.cell.borrow().core().is_starting(at);
        match launched.map(Unclaimed::claim) {
            Ok(Some(launched)) if is_wanted => {
                let actor = WorkerActor::new(self.cell.clone(), at, launched).start();
                self.workers.insert(at.worker, (at, actor));
                self.shortage_is_over();
            }
            Ok(Some(launched)) => {
                launched.child.kill(); // the pool was told to stop it, or was built anew, while it was spawned
                self.bury(at, launched.child, None);
            }
            Ok(None) => {}
            // The second answer of a start that was given up before tells nothing new.
            Err(_) if !self.has_process(at) => {}
            Err(reason) => {
                let obituary = Obituary { detail: Some(reason.to_string().into()), ..Obituary::default() };
                let kill_reason = reason.is_out_of_descriptors().then_some(KillReason::NoDescriptors);
                let end = ProcessExit { status: ExitStatus::Unknown, kill_reason };
                let _ = with(&self.cell, |state| state.exited(at, end, obituary, None));
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

    fn has_process(&self, at: WorkerRef) -> bool {
        self.cell.borrow().core().processes().any(|process| process == at)
    }

    /// Its actor is gone: from now on nothing is sent to it, and its end is noticed here.
    fn orphaned(&self, at: WorkerRef, child: Rc<dyn ChildHandle>) {
        step(&self.cell, Input::Kill { at, kill_reason: KillReason::ActorPanicked });
        self.bury(at, child, Some(KillReason::ActorPanicked));
    }

    /// Waits for the end of a process that no actor is in charge of.
    fn bury(&self, at: WorkerRef, child: Rc<dyn ChildHandle>, kill_reason: Option<KillReason>) {
        let cell = Rc::downgrade(&self.cell);
        actix_rt::spawn(async move {
            let status = child.wait().await;
            let obituary = Obituary::of(&*child);
            if let Some(cell) = cell.upgrade() {
                let _ = with(&cell, |state| state.exited(at, ProcessExit { status, kill_reason }, obituary, None));
            }
        });
    }

    /// Looks at a silent process, outside of any step, and tells the core.
    fn examine(&self, at: WorkerRef, nonce: u64) {
        let vitals = self.cell.borrow_mut().vitals(at);
        step(&self.cell, Input::Activity { at, nonce, activity: vitals });
    }

    fn gone(&mut self, at: WorkerRef) {
        if self.workers.get(&at.worker).is_some_and(|(who, _)| *who == at) {
            self.workers.remove(&at.worker);
        }
        self.waiters.gone(at);
    }

    fn rebuilt(&mut self, reason: &str) {
        self.workers.clear();
        self.waiters.all_gone();
        self.waiters.check_ready(&self.cell.borrow());
        let (pool, broken) = (self.pool(), self.cell.borrow().broken());
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
            LogEvent::WorkerDied(at, end) => self.log_end("worker lost", crate::error::ended, at, &end),
            // One line for each time that descriptors run out: starts are tried again and again until there are some.
            LogEvent::StartFailed(_, ProcessExit { kill_reason: Some(KillReason::NoDescriptors), .. }) if self.is_short.replace(true) => {}
            LogEvent::StartFailed(at, end) => {
                self.log_end("worker failed to start", crate::error::start_failed, at, &end);
            }
            LogEvent::PingMissed(at, misses, vitals) => events.queue(Level::WARN, move || {
                tracing::warn!(%pool, worker = %at, misses, found = %vitals, "worker missed a ping");
            }),
            LogEvent::GilHeld(at) => events.queue(Level::WARN, move || {
                tracing::warn!(%pool, worker = %at, "worker is busy and does not answer pings: C code holds the GIL; it is killed only if its calls exceed their deadlines");
            }),
            LogEvent::PoolFailed(retry_at) => {
                let retry_in = retry_at.since(self.cell.borrow().clock().now());
                events.queue(Level::ERROR, move || {
                    tracing::error!(%pool, ?retry_in, "pool failed: too many restarts");
                });
            }
            LogEvent::PoolRecovered => events.queue(Level::INFO, move || tracing::info!(%pool, "pool recovered")),
            LogEvent::LateAnswer(at, wire) => events.queue(Level::DEBUG, move || {
                tracing::debug!(%pool, worker = %at, %wire, "dropped a late answer");
            }),
            LogEvent::UnknownAnswer(at, wire) => events.queue(Level::WARN, move || {
                tracing::warn!(%pool, worker = %at, %wire, "dropped an answer to an unknown call");
            }),
        }
    }

    /// A process's end is logged with all that an error tells. Where no worker is ready it concerns them all.
    fn log_end(
        &self,
        message: &'static str,
        error: fn(WorkerRef, &ProcessExit, Option<&Obituary>) -> Error,
        at: WorkerRef,
        end: &ProcessExit,
    ) {
        let (error, none_ready) = {
            let state = self.cell.borrow();
            (error(at, end, state.obituary(at)), state.core().ready_workers() == 0)
        };
        let pool = self.pool();
        self.events().queue(Level::ERROR, move || error.log_end(&pool, message, none_ready));
    }

    fn stopped(&mut self) {
        let report = self.cell.borrow().report();
        self.waiters.all_stopped(&report);
        self.waiters.all_gone();
        self.waiters.check_ready(&self.cell.borrow());
        self.call_log().log_left_out(None);
        if report.still_running.is_empty() {
            self.events().queue(Level::INFO, move || tracing::info!("{report}"));
        } else {
            self.events().queue(Level::WARN, move || tracing::warn!("{report}"));
        }
    }
}

/// A launcher came to an end. Where the pool has given the start up, its process is killed and its error is told nobody.
fn returned(cell: &WeakCell, at: WorkerRef, launched: Result<Result<Unclaimed, LaunchError>, JoinError>) {
    let Some(cell) = cell.upgrade() else { return };
    let launched = launched.unwrap_or_else(|error| Err(format!("the launcher failed: {error}").into()));
    let mut state = cell.borrow_mut();
    state.launcher_returned(at);
    state.post(Post::Launched(at, launched));
}
