//! Logs what happens to the pool: worker deaths, failed starts, missed pings, and the calls that remain at the end. Holds no
//! state; every event is queued, because the subscriber may block.

use super::RunningPool;
use crate::{
    Error,
    call_log::{CallLog, WINDOW},
    error::{ExitRecord, whole_seconds},
    events::EventLog,
    shared_state::Deferred,
};
use herder_core::{KillReason, LogEvent, PoolName, ProcessExit, Reloaded, WorkerRef};
use std::sync::Arc;
use tracing::Level;

impl RunningPool {
    pub(super) fn call_log(&self) -> Arc<CallLog> {
        self.shared_state.borrow().call_log()
    }

    pub(super) fn events(&self) -> EventLog {
        self.call_log().events().clone()
    }

    /// Logs the calls that failed because the last owner dropped the pool.
    pub(super) fn log_remaining_calls(&self) {
        let deferred = self.shared_state.borrow_mut().take_deferred();
        let call_log = self.call_log();
        for action in deferred {
            if let Deferred::CallAnswered(call) = action {
                call_log.log(*call);
            }
        }
        call_log.log_suppressed(None);
    }

    /// Logs the number of suppressed failures when the window ends, since maybe no further failure follows that would report
    /// it.
    pub(super) fn log_suppressed_failures(&self) {
        let (call_log, clock) = (self.call_log(), self.shared_state.borrow().clock().clone());
        actix_rt::spawn(async move {
            clock.sleep(WINDOW).await;
            call_log.log_suppressed(Some(clock.now()));
        });
    }

    pub(super) fn pool(&self) -> PoolName {
        self.shared_state.borrow().config().name().clone()
    }

    pub(super) fn log_event(&self, event: LogEvent) {
        let (pool, events) = (self.pool(), self.events());
        if !self.is_repeated(&event) {
            self.report_event(&event);
        }
        match event {
            LogEvent::WorkerDied(worker_ref, exit) => {
                self.log_exit("worker lost", crate::shared_state::exit_error, worker_ref, &exit);
            }
            // Logged once until descriptors are available again, although starts are retried all the time.
            LogEvent::StartFailed(_, ProcessExit { kill_reason: Some(KillReason::NoDescriptors), .. })
                if self.out_of_descriptors.replace(true) => {}
            LogEvent::StartFailed(worker_ref, exit) => self.log_failed_start(worker_ref, &exit),
            LogEvent::WorkerStopped(worker_ref, ProcessExit { kill_reason: Some(reason @ KillReason::Idle), .. }) => {
                events.queue(Level::INFO, move || {
                    tracing::info!(%pool, worker = %worker_ref, %reason, "worker stopped");
                });
            }
            LogEvent::WorkerStopped(..) => {} // a reload is logged when it ends
            LogEvent::PingMissed(worker_ref, missed_pings, activity) => events.queue(Level::WARN, move || {
                tracing::warn!(%pool, worker = %worker_ref, missed_pings, %activity, "worker missed a ping");
            }),
            LogEvent::GilHeld(worker_ref) => events.queue(Level::WARN, move || {
                tracing::warn!(%pool, worker = %worker_ref, "worker is busy and does not answer pings: C code holds the GIL; it is killed only if its calls exceed their deadlines");
            }),
            LogEvent::PoolFailed(retry_at) => {
                let retry_in = whole_seconds(retry_at.since(self.shared_state.borrow().clock().now()));
                events.queue(Level::ERROR, move || {
                    let retry_in = humantime::format_duration(retry_in);
                    tracing::error!(%pool, %retry_in, "pool failed: too many deaths and failed starts of workers");
                });
            }
            LogEvent::PoolRecovered => events.queue(Level::INFO, move || tracing::info!(%pool, "pool recovered")),
            LogEvent::LateAnswer(worker_ref, wire_id) => events.queue(Level::DEBUG, move || {
                tracing::debug!(%pool, worker = %worker_ref, %wire_id, "dropped a late answer");
            }),
            LogEvent::UnknownAnswer(worker_ref, wire_id) => events.queue(Level::WARN, move || {
                tracing::warn!(%pool, worker = %worker_ref, %wire_id, "dropped an answer to an unknown call");
            }),
        }
    }

    /// Returns whether the event is one of the failed starts that follow each other while the host has no descriptors.
    fn is_repeated(&self, event: &LogEvent) -> bool {
        let has_none =
            matches!(event, LogEvent::StartFailed(_, ProcessExit { kill_reason: Some(KillReason::NoDescriptors), .. }));
        has_none && self.out_of_descriptors.get()
    }

    /// Logs what a reload replaced.
    pub(super) fn log_reload(&self, reloaded: Reloaded) {
        let Reloaded { workers, sessions } = reloaded;
        if workers > 0 {
            self.report_reload(reloaded);
            let pool = self.pool();
            self.events()
                .queue(Level::INFO, move || tracing::info!(%pool, workers, sessions, "workers replaced by a reload"));
        }
    }

    /// Logs a lost process or a failed start with all fields of its error. If no worker is ready, the error concerns all
    /// workers, unless somebody asked for the end of the process.
    fn log_exit(
        &self,
        message: &'static str,
        error: fn(WorkerRef, &ProcessExit, Option<&ExitRecord>) -> Error,
        worker: WorkerRef,
        exit: &ProcessExit,
    ) {
        let (error, none_ready) = {
            let state = self.shared_state.borrow();
            (error(worker, exit, state.exit_record(worker)), state.core().ready_workers() == 0)
        };
        let (pool, is_requested) = (self.pool(), exit.kill_reason == Some(KillReason::Requested));
        self.events().queue(Level::ERROR, move || error.log_exit(&pool, message, none_ready, is_requested));
    }

    /// Logs a failed start. If the previous one had the same reason, logs only the reason and how often it occurred.
    fn log_failed_start(&self, worker: WorkerRef, exit: &ProcessExit) {
        let (error, none_ready, now) = {
            let state = self.shared_state.borrow();
            let error = crate::shared_state::start_failed(worker, exit, state.exit_record(worker));
            (error, state.core().ready_workers() == 0, state.clock().now())
        };
        let (pool, times) = (self.pool(), self.start_errors.borrow_mut().note(&error.reason(), now));
        let is_requested = exit.kill_reason == Some(KillReason::Requested);
        self.events().queue(Level::ERROR, move || match times {
            1 => error.log_exit(&pool, "worker failed to start", none_ready, is_requested),
            _ => error.log_repeated_start(&pool, times, none_ready && !is_requested),
        });
    }

    pub(super) fn log_descriptors_available(&self) {
        if self.out_of_descriptors.replace(false) {
            let pool = self.pool();
            self.events().queue(Level::INFO, move || {
                tracing::info!(%pool, "the host has file descriptors again: workers start");
            });
        }
    }
}
