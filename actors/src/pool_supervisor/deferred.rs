//! Carries out the actions that steps deferred: starting processes, handling exits, and what follows a rebuild or the end.

use super::{PoolSupervisor, RunningPool, tasks::DrainDeferred};
use crate::{
    Error, Launcher, ReloadReport, WorkerActor,
    child::{ChildHandle, LaunchError},
    error::ExitRecord,
    launcher::UnclaimedChild,
    shared_state::{Deferred, WeakSharedState, step, with},
};
use actix::{Actor, ActorContext, Handler};
use herder_core::{Answers, ExitStatus, Input, KillReason, ProcessExit, ReloadOutcome, WorkerRef};
use std::{pin::pin, rc::Rc};
use tokio::task::JoinError;
use tracing::Level;

impl Handler<DrainDeferred> for PoolSupervisor {
    type Result = ();

    fn handle(&mut self, _: DrainDeferred, ctx: &mut Self::Context) {
        let launcher = self.launcher.clone();
        let Ok(deferred) = self.active(|active| Ok(active.shared_state.borrow_mut().take_deferred())) else { return };
        for action in deferred {
            // Each action is carried out by its own `active` call: a panic in one rebuilds the state, and the others, which
            // were already taken from the state, are still carried out.
            let drained = self.active(|active| Ok(active.drain_deferred(action, &launcher)));
            if matches!(drained, Ok(AfterDrain::Stop)) {
                return ctx.stop();
            }
        }
    }
}

/// Whether the supervisor continues after an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterDrain {
    Continue,
    Stop,
}

impl RunningPool {
    /// Carries out one action. Log events are queued after the answers of the same action, so that no answer waits for them.
    fn drain_deferred(&mut self, action: Deferred, launcher: &Rc<dyn Launcher>) -> AfterDrain {
        match action {
            Deferred::Start(worker) => self.launch(worker, launcher.clone()),
            Deferred::Launched(worker, launched) => self.on_launched(worker, launched),
            Deferred::SampleCpu(worker) => {
                let _ = self.shared_state.borrow_mut().activity_since_sample(worker);
            }
            Deferred::Examine(worker, nonce) => self.examine(worker, nonce),
            Deferred::Exited(worker) => self.on_exit(worker),
            Deferred::Orphaned(worker, child) => self.on_orphaned(worker, child),
            Deferred::CheckReadiness => self.waiters.check_ready(&self.shared_state.borrow()),
            Deferred::AffinityStopped => self.affinity.restart(&self.shared_state),
            Deferred::Rebuilt(reason) => self.on_rebuild(&reason),
            Deferred::CallAnswered(call) => self.call_log().log(*call),
            Deferred::FailuresSuppressed => self.log_suppressed_failures(),
            Deferred::Log(event) => self.log_event(event),
            Deferred::ReloadEnded(outcome) => self.on_reload_ended(outcome),
            // After too many panics the core has stopped although no shutdown was requested. The supervisor stays, so that
            // every message is answered with the reason, until it receives a shutdown.
            Deferred::Stopped if self.shared_state.borrow().stopping_since().is_none() => {}
            Deferred::Stopped => {
                self.on_stopped();
                return AfterDrain::Stop;
            }
        }
        AfterDrain::Continue
    }

    /// Starts to launch a process. The launcher runs in a task of its own: one that hangs does not keep a dropped pool alive,
    /// and one that panics fails only this start. A launcher that has not returned within its limit has failed, too,
    /// because the slot must not wait for ever; a process that it returns later is killed.
    fn launch(&self, worker: WorkerRef, launcher: Rc<dyn Launcher>) {
        let (clock, timeout, number) = {
            let mut state = self.shared_state.borrow_mut();
            state.on_launch(worker);
            let core = state.core();
            (state.clock().clone(), launcher.launch_limit(core.settings().start_timeout), core.slot_number(worker.id))
        };
        let shared_state = Rc::downgrade(&self.shared_state);
        let launching =
            actix_rt::spawn(async move { launcher.launch_with_number(worker, number).await.map(UnclaimedChild::new) });
        actix_rt::spawn(async move {
            let mut launching = pin!(launching);
            // `biased`: if the launcher has returned when the timeout passes, the start has succeeded.
            tokio::select! {
                biased;
                launched = &mut launching => return finish_launch(&shared_state, worker, launched),
                () = clock.sleep(timeout) => {}
            }
            // The start has failed, but the launcher may still return a process. It must be awaited even so: only then the
            // process can be killed, and a shutdown must report the start as remaining until then.
            if let Some(shared_state) = shared_state.upgrade() {
                let reason = format!("the launcher did not finish within {}", humantime::format_duration(timeout));
                shared_state.borrow_mut().defer(Deferred::Launched(worker, Err(reason.into())));
            }
            let launched = launching.await;
            finish_launch(&shared_state, worker, launched);
        });
    }

    /// Handles the result of a launch: starts an actor for the process, or reports the failed start to the core.
    fn on_launched(&mut self, worker: WorkerRef, launched: Result<UnclaimedChild, LaunchError>) {
        let is_expected = self.shared_state.borrow().core().is_starting(worker);
        match launched.map(UnclaimedChild::claim) {
            Ok(Some(launched)) if is_expected => {
                let actor = WorkerActor::new(self.shared_state.clone(), worker, launched).start();
                self.workers.insert(worker.id, (worker, actor));
                self.log_descriptors_available();
            }
            Ok(Some(launched)) => {
                // While the process was launched, the pool stopped it, gave up the start, or was rebuilt. In the first case
                // the core still awaits the exit; in the others it does not know the process, and the exit is ignored.
                launched.child.kill();
                self.await_exit(worker, launched.child, None);
            }
            Ok(None) => {}
            // The launcher of a start that had timed out before failed: the timeout was reported already.
            Err(_) if !self.has_process(worker) => {}
            Err(reason) => {
                let exit_record = ExitRecord::default().with_detail(Some(reason.to_string().into()), None);
                let kill_reason = reason.is_out_of_descriptors().then_some(KillReason::NoDescriptors);
                let exit = ProcessExit { status: ExitStatus::Unknown, kill_reason };
                // There may have been a process, which nothing was read from.
                let answers = Answers::Unknown;
                let _ =
                    with(&self.shared_state, |state| state.on_exit(worker, exit, (answers, None), exit_record, None));
            }
        }
    }

    fn has_process(&self, worker: WorkerRef) -> bool {
        self.shared_state.borrow().core().processes().any(|process| process == worker)
    }

    /// Kills a process that lost its actor: nothing more is sent to it, and its exit is awaited here.
    fn on_orphaned(&self, worker: WorkerRef, child: Rc<dyn ChildHandle>) {
        // First the core: from this step on it sends nothing to the process. The kill itself was done by the orphan guard.
        step(&self.shared_state, Input::Kill { worker, kill_reason: KillReason::ActorPanicked });
        self.await_exit(worker, child, Some(KillReason::ActorPanicked));
    }

    /// Waits for the exit of a process without an actor, and reports it. Its answers are not read: the reader went with the
    /// actor, and nothing tells where in the stream it stopped.
    fn await_exit(&self, worker: WorkerRef, child: Rc<dyn ChildHandle>, kill_reason: Option<KillReason>) {
        let shared_state = Rc::downgrade(&self.shared_state);
        actix_rt::spawn(async move {
            let status = child.wait().await;
            let exit_record = ExitRecord::of(&*child);
            if let Some(shared_state) = shared_state.upgrade() {
                let _ = with(&shared_state, |state| {
                    let exit = ProcessExit { status, kill_reason };
                    state.on_exit(worker, exit, (Answers::Unknown, None), exit_record, None);
                });
            }
        });
    }

    /// Measures the activity of an unresponsive process, outside of any step, and passes it to the core.
    fn examine(&self, worker: WorkerRef, nonce: u64) {
        let activity = self.shared_state.borrow_mut().activity_since_sample(worker);
        step(&self.shared_state, Input::Activity { worker, nonce, activity });
    }

    fn on_exit(&mut self, worker: WorkerRef) {
        // The slot's next process may have its actor already, which must not be removed.
        if self.workers.get(&worker.id).is_some_and(|(current, _)| *current == worker) {
            self.workers.remove(&worker.id);
        }
        self.waiters.answer_killed(worker);
    }

    fn on_rebuild(&mut self, reason: &str) {
        // Without addresses the actors of the old processes stop. Their orphan guards kill and report processes that the new
        // core does not know: it ignores these reports.
        self.workers.clear();
        self.waiters.answer_all_killed();
        // The new state knows nothing of the reloads of the old one: all workers are started again anyway.
        self.waiters.drop_reloads();
        self.waiters.check_ready(&self.shared_state.borrow());
        let (pool, failure) = (self.pool(), self.shared_state.borrow().permanent_failure());
        match failure {
            Some(failure) => {
                self.events().queue(Level::ERROR, move || {
                    tracing::error!(%pool, reason = %failure, "pool stopped permanently: it panicked too often");
                });
            }
            None => {
                let (name, reason) = (pool.clone(), String::from(reason));
                self.events().queue(Level::ERROR, move || {
                    let pool = name;
                    tracing::error!(%pool, reason, "the pool's state was rebuilt after a panic: pending calls failed, workers are restarted");
                });
                self.affinity.log_rebuild(pool, &self.events());
            }
        }
    }

    /// Logs the end of a reload and answers its caller.
    fn on_reload_ended(&mut self, outcome: ReloadOutcome) {
        let answer = match outcome {
            ReloadOutcome::Completed(replaced) => {
                self.log_reload(replaced);
                Ok(ReloadReport::of(replaced))
            }
            ReloadOutcome::StartFailed { worker, exit, replaced } => {
                self.log_reload(replaced);
                let state = self.shared_state.borrow();
                Err(crate::shared_state::start_failed(worker, &exit, state.exit_record(worker)))
            }
            ReloadOutcome::Superseded => {
                Err(Error::Cancelled { message: "another reload began before this one had ended".into(), worker: None })
            }
            ReloadOutcome::PoolClosed => Err(Error::closed(false)),
        };
        self.waiters.answer_reload(answer);
    }

    fn on_stopped(&mut self) {
        let report = self.shared_state.borrow_mut().report();
        // The callers that are answered here run after this function. The events below are queued by then, and the handler of
        // `Shutdown` waits until they are emitted.
        self.waiters.answer_stopped(&report);
        self.waiters.answer_all_killed();
        self.waiters.check_ready(&self.shared_state.borrow());
        self.call_log().log_suppressed(None);
        let pool = self.pool();
        if report.still_running.is_empty() {
            self.events().queue(Level::INFO, move || tracing::info!(%pool, "{report}"));
        } else {
            self.events().queue(Level::WARN, move || tracing::warn!(%pool, "{report}"));
        }
    }
}

/// Reports the result of a launcher. If the pool no longer expects the start, its process is killed and its error dropped.
fn finish_launch(
    shared_state: &WeakSharedState,
    worker: WorkerRef,
    launched: Result<Result<UnclaimedChild, LaunchError>, JoinError>,
) {
    let Some(shared_state) = shared_state.upgrade() else { return };
    let launched = launched.unwrap_or_else(|error| Err(format!("the launcher failed: {error}").into()));
    let mut state = shared_state.borrow_mut();
    state.on_launcher_returned(worker);
    state.defer(Deferred::Launched(worker, launched));
}
