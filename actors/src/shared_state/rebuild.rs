//! What follows a panic inside a step, or inside the supervisor: every pending call is answered, every worker's group is
//! killed, and the state is built anew from names and numbers. Beyond an intensity the pool stays down, and says why.

use super::state::{Deferred, State};
use crate::Error;
use herder_core::{Core, Effects, ExitStatus, Input, ProcessExit, RecoverySnapshot, Timestamp};
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// More rebuilds than this within [`WINDOW`] are a bug that rebuilding does not cure.
const LIMIT: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);

impl State {
    /// Builds the state anew. Gives the error that stands for the panic. Never panics itself: nobody would catch that.
    pub(crate) fn rebuild(&mut self, panic: &(dyn Any + Send)) -> Error {
        let (now, reason) = (self.clock.now(), panic_text(panic));
        let error = Error::Internal { reason: reason.as_str().into() };
        self.fail_pending_calls(&error);
        if self.failed_permanently.is_some() {
            return error; // it is down already, and was reported
        }
        let snapshot = catch_unwind(AssertUnwindSafe(|| self.core.recovery_snapshot()))
            .unwrap_or_else(|_| RecoverySnapshot::default());
        self.reset(now, snapshot);
        // What is known of the past stays; what the torn state wanted started or stopped is void.
        self.deferred.retain(follows_past_event);
        self.defer(Deferred::Rebuilt(reason.as_str().into()));
        if self.exceeds_rebuild_limit(now) {
            self.fail_permanently(now, &format!("{reason} (the limit of {LIMIT} rebuilds per minute was reached)"));
        } else if catch_unwind(AssertUnwindSafe(|| self.resume_after_rebuild(now))).is_err() {
            self.reset(now, RecoverySnapshot::default());
            self.fail_permanently(now, &format!("{reason}; the first step after the rebuild panicked too"));
        }
        error
    }

    /// Answers every call with this error and kills every process.
    pub(crate) fn fail_pending_calls(&mut self, error: &Error) {
        for (id, call) in std::mem::take(&mut self.calls) {
            let error = self.failed(id, &call.command, call.session.as_ref(), error.clone());
            call.answer(Err(error));
        }
        for link in self.links.iter_mut() {
            if let Some(link) = link.take() {
                link.child.kill();
            }
        }
    }

    fn reset(&mut self, now: Timestamp, snapshot: RecoverySnapshot) {
        self.core = Core::resume(self.config.settings(), now.0, now, snapshot);
        self.effects = Effects::new();
        self.current_frame = None;
    }

    fn exceeds_rebuild_limit(&mut self, now: Timestamp) -> bool {
        self.rebuilds.retain(|at| now.since(*at) < WINDOW);
        self.rebuilds.push_back(now);
        self.rebuilds.len() > LIMIT
    }

    /// A pool that was told to end does not come back.
    fn resume_after_rebuild(&mut self, now: Timestamp) {
        if self.stopping_since().is_some() {
            return self.stop_at_once(now);
        }
        self.handle(Input::Tick);
        self.apply_effects();
    }

    /// Nothing is started or admitted any more. The supervisor lives on to say why.
    fn fail_permanently(&mut self, now: Timestamp, reason: &str) {
        self.failed_permanently = Some(reason.into());
        let _ = catch_unwind(AssertUnwindSafe(|| self.stop_at_once(now))); // there is nothing left to save
        self.deferred.retain(|post| !matches!(post, Deferred::Start(_)));
    }

    /// The new core has scheduled its first starts: none of them is launched only to be killed.
    fn stop_at_once(&mut self, now: Timestamp) {
        self.handle(Input::Shutdown { until: now });
        self.apply_effects();
        let end = ProcessExit { status: ExitStatus::Unknown, kill_reason: None };
        for post in self.deferred.extract_if(.., |post| matches!(post, Deferred::Start(_))).collect::<Vec<_>>() {
            if let Deferred::Start(worker) = post {
                self.handle(Input::Exited { worker, end, suspects: Vec::new() });
            }
        }
        self.apply_effects();
    }
}

/// What was posted because of something that has happened.
fn follows_past_event(post: &Deferred) -> bool {
    matches!(
        post,
        Deferred::Log(_)
            | Deferred::Gone(_)
            | Deferred::AffinityGone
            | Deferred::Answered(_)
            | Deferred::FailuresSuppressed
    )
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("panic: {}", text.unwrap_or("the panic has no text"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PoolConfig, clock::Clock};

    /// R29: what the supervisor has not heard yet of the past survives a rebuild; what the torn state wanted does not.
    #[test]
    fn r29_a_rebuild_forgets_no_end() {
        let config = PoolConfig::enhanced("rebuilt").command(["scripted"]).pool_size(1).build().unwrap();
        let mut state = State::new(config, 1, Clock::default());
        state.handle(Input::Tick);
        state.apply_effects();
        state.defer(Deferred::AffinityGone);
        state.rebuild(&"torn");
        let deferred = state.take_deferred();
        assert!(matches!(
            deferred[..],
            [Deferred::AffinityGone, Deferred::Rebuilt(_), Deferred::Start(worker)] if worker.generation.0 == 2
        ));
    }
}
