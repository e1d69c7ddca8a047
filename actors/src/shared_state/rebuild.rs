//! The rebuild of the state after a panic in a step or in the supervisor (R29). Every pending call is answered, every
//! worker's process group is killed, and a new state is created from names and numbers of the old one. After too many
//! rebuilds the pool fails permanently and reports why.

use super::state::{Deferred, State};
use crate::{Error, metrics::CoreCounts, panic_text::panic_text};
use herder_core::{Answers, Core, Effects, ExitStatus, Input, ProcessExit, RecoverySnapshot, Timestamp};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// The number of rebuilds allowed within [`WINDOW`]. More mean that a rebuild does not remove the cause.
const LIMIT: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);

impl State {
    /// Rebuilds the state and returns the error that stands for the panic. Does not panic: no caller would catch that.
    pub(crate) fn rebuild(&mut self, panic: &(dyn Any + Send)) -> Error {
        self.rebuild_from(panic, Core::recovery_snapshot)
    }

    fn rebuild_from(&mut self, panic: &(dyn Any + Send), snapshot: impl FnOnce(&Core) -> RecoverySnapshot) -> Error {
        let (now, reason) = (self.clock.now(), panic_text(panic));
        let error = Error::Internal { reason: reason.as_str().into() };
        // First, while the calls and links are still those of the old state: the new core knows neither, and a call that is
        // left here would never be answered.
        self.fail_pending_calls(&error);
        if self.failed_permanently.is_some() {
            return error; // the permanent failure was reported before
        }
        self.metrics.processes.rebuilt();
        // The panic may have left the core inconsistent, so reading it may panic too.
        let rebuilt = catch_unwind(AssertUnwindSafe(|| {
            let snapshot = snapshot(&self.core);
            self.reset(now, snapshot);
        }));
        // Actions that follow from past events are kept. Starts and other actions that the interrupted step wanted are void.
        self.deferred.retain(follows_past_event);
        self.defer(Deferred::Rebuilt(reason.as_str().into()));
        if let Err(second) = rebuilt {
            // Without the snapshot, wire ids, epochs and generations would start again: an answer of an old process could reach
            // a new call. So the pool ends.
            self.reset(now, RecoverySnapshot::default());
            let second = panic_text(&*second);
            self.fail_permanently(now, &format!("{reason}; the state could not be read for the rebuild: {second}"));
        } else if self.exceeds_rebuild_limit(now) {
            self.fail_permanently(now, &format!("{reason} (the limit of {LIMIT} rebuilds per minute was reached)"));
        } else if catch_unwind(AssertUnwindSafe(|| self.resume_after_rebuild(now))).is_err() {
            self.reset(now, RecoverySnapshot::default());
            // The panic came from the snapshot itself. Another attempt with it would panic again.
            self.fail_permanently(now, &format!("{reason}; the first step after the rebuild panicked too"));
        }
        error
    }

    /// Fails every call with this error and kills every process.
    pub(crate) fn fail_pending_calls(&mut self, error: &Error) {
        for (id, mut call) in std::mem::take(&mut self.calls) {
            self.end_trace_of(&mut call, id, Some(error), None);
            let error = self.record_failure(call.identity(id), error.clone());
            call.answer(Err(error));
        }
        // The exits of these processes are still reported later, by their actors or by the supervisor. The new core does not
        // know the processes and ignores their exits.
        for link in self.links.iter_mut() {
            if let Some(link) = link.take() {
                self.metrics.add_exited_cpu(link.worker.id, link.last_cpu());
                link.child.kill();
            }
        }
    }

    fn reset(&mut self, now: Timestamp, snapshot: RecoverySnapshot) {
        // What cannot be read is lost, but no count decreases.
        let counts =
            catch_unwind(AssertUnwindSafe(|| CoreCounts::of(&self.core.counters(), self.core.breaker(now).as_ref())));
        self.metrics.processes.keep(counts.unwrap_or_default());
        for (command, counts) in catch_unwind(AssertUnwindSafe(|| self.batch_status())).unwrap_or_default() {
            self.metrics.keep_batches(&command, &counts);
        }
        self.core = Core::resume(self.config.settings(), now.0, now, snapshot);
        // `launching` is kept: these launches still return, and their processes are killed then, because the new core does
        // not expect them.
        self.effects = Effects::new();
        self.current_frame = None;
    }

    fn exceeds_rebuild_limit(&mut self, now: Timestamp) -> bool {
        self.rebuilds.retain(|rebuild| now.since(*rebuild) < WINDOW);
        self.rebuilds.push_back(now);
        self.rebuilds.len() > LIMIT
    }

    /// Takes the first step of the rebuilt pool. A pool that was shutting down stops instead of restarting.
    fn resume_after_rebuild(&mut self, now: Timestamp) {
        if self.stopping_since().is_some() {
            return self.stop_at_once(now);
        }
        self.handle(Input::Tick);
        self.apply_effects();
    }

    /// Stops the pool permanently: nothing is started or admitted any more. The supervisor stays, so that it can report the
    /// reason.
    fn fail_permanently(&mut self, now: Timestamp, reason: &str) {
        self.failed_permanently = Some(reason.into());
        let _ = catch_unwind(AssertUnwindSafe(|| self.stop_at_once(now))); // after a panic here nothing is left to stop
        self.deferred.retain(|action| !matches!(action, Deferred::Start(_)));
    }

    /// Stops the rebuilt pool at once. The new core has already scheduled its first starts: they are reported as exited, so
    /// that no process is launched only to be killed.
    fn stop_at_once(&mut self, now: Timestamp) {
        self.handle(Input::Shutdown { until: now });
        self.apply_effects();
        let exit = ProcessExit { status: ExitStatus::Unknown, kill_reason: None };
        for action in self.deferred.extract_if(.., |action| matches!(action, Deferred::Start(_))).collect::<Vec<_>>() {
            if let Deferred::Start(worker) = action {
                self.handle(Input::Exited {
                    worker,
                    exit,
                    answers: Answers::Unknown,
                    unwritten: None,
                    suspects: Vec::new(),
                });
            }
        }
        self.apply_effects();
    }
}

/// Returns whether an action was deferred because of an event that has happened.
fn follows_past_event(action: &Deferred) -> bool {
    matches!(
        action,
        Deferred::Log(_)
            | Deferred::Exited(_)
            | Deferred::AffinityStopped
            | Deferred::CallAnswered(_)
            | Deferred::FailuresSuppressed
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PoolConfig, clock::Clock};

    fn started() -> State {
        let config = PoolConfig::enhanced("rebuilt").command(["scripted"]).pool_size(1).build().unwrap();
        let mut state = State::new(config, 1, Clock::default());
        state.handle(Input::Tick);
        state.apply_effects();
        state
    }

    /// R29: if the state cannot be read for the rebuild, the pool fails permanently, with both reasons, and starts nothing. With
    /// numbers that start again, an answer of an old process could reach a new call.
    #[test]
    fn r29_pool_whose_state_cannot_be_read_fails_permanently() {
        let mut state = started();
        state.take_deferred();
        state.rebuild_from(&"broken", |_| panic!("unreadable"));
        let reason = "panic: broken; the state could not be read for the rebuild: panic: unreadable";
        assert_eq!(state.last_start_error().as_deref(), Some(reason));
        assert!(!state.take_deferred().iter().any(|action| matches!(action, Deferred::Start(_))));
        assert_eq!(state.core().processes().next(), None);
        state.rebuild(&"again");
        assert_eq!(state.last_start_error().as_deref(), Some(reason), "it was reported");
    }

    /// R29: a rebuild keeps the actions that follow from past events and drops those that the old state wanted.
    #[test]
    fn r29_a_rebuild_keeps_actions_for_past_events() {
        let mut state = started();
        state.defer(Deferred::AffinityStopped);
        state.rebuild(&"broken");
        let deferred = state.take_deferred();
        assert!(matches!(
            deferred[..],
            [Deferred::AffinityStopped, Deferred::Rebuilt(_), Deferred::Start(worker)] if worker.generation.0 == 2
        ));
    }
}
