//! Records what people watch: the calls that ended on workers, deaths, and changes of the pool's state, of its breaker and of its
//! quarantine. Changes are looked for only where something else than a successful call happened: such calls pay nothing.

use super::{State, call::Call, recent_calls::EndedRun};
use crate::{
    pool_events::PoolEventKind,
    timeline::{Timeline, TimelineCall},
};
use herder_core::{
    BreakerState, BreakerStatus, CallId, Delivery, Fingerprint, PoolState, ProcessExit, Timestamp, WireId, WorkerRef,
};
use std::collections::BTreeMap;
use tracing::Level;

impl State {
    /// Records a call whose final frame was delivered. `ran`: the time for which its handler ran; zero if its worker does not
    /// state it.
    pub(super) fn note_delivered(&mut self, id: CallId, call: &Call, delivery: &Delivery, outcome: &'static str) {
        let (to, ran) = (delivery.finished, self.current_ran);
        // A call that was sent in advance begins later than it is sent.
        let began = Timestamp(to.0.saturating_sub(u64::try_from(ran.as_nanos()).unwrap_or(u64::MAX)));
        let from = if ran.is_zero() { delivery.sent } else { began.max(delivery.sent) };
        self.recent_calls.ended(&EndedRun { worker: delivery.worker, id, call, from, to, outcome });
    }

    /// Records a call that ended for its caller while a worker was running it, such as at its deadline.
    pub(super) fn note_settled(&mut self, id: CallId, call: &Call, outcome: &'static str) {
        let Some((worker, wire)) = call.sent else { return };
        // Otherwise the process that it was sent to has ended, and the call waited for another attempt.
        if self.core.unfinished(worker).any(|attempt| attempt == (wire, None)) {
            let (from, to) = (call.sent_at, self.now);
            self.recent_calls.ended(&EndedRun { worker, id, call, from, to, outcome });
        }
    }

    /// Records the calls that a process was running when it exited. Called before the core handles the exit.
    pub(super) fn note_lost(&mut self, worker: WorkerRef) {
        let (now, concurrency) = (self.clock.now(), self.concurrency());
        let running: Vec<(WireId, Option<CallId>)> = self.core.unfinished(worker).take(concurrency).collect();
        for id in running.into_iter().filter_map(|(_, id)| id) {
            let Some(call) = self.calls.get(&id) else { continue };
            let run = EndedRun { worker, id, call, from: call.sent_at, to: now, outcome: "worker-lost" };
            self.recent_calls.ended(&run);
        }
    }

    /// Records a death, with the reason of the exit.
    pub(super) fn note_death(&mut self, worker: WorkerRef, exit: &ProcessExit) {
        let cause = self.death_reason(worker, exit);
        self.recent_calls.died(worker, self.now, cause);
    }

    /// Returns what the workers ran within the last minute, and what they run.
    pub(crate) fn timeline(&self, since: u64) -> Timeline {
        let now = self.clock.now();
        let mut timeline = self.recent_calls.timeline(now, since);
        for link in self.links() {
            timeline.calls.extend(self.running_of(link.worker));
        }
        timeline
    }

    /// Returns the calls that a process runs: the oldest of those that it was sent, since it runs them in this order. The others
    /// wait in the process.
    fn running_of(&self, worker: WorkerRef) -> impl Iterator<Item = TimelineCall> {
        let concurrency = self.concurrency();
        let last_end = self.recent_calls.last_end(worker).filter(|_| concurrency == 1).unwrap_or_default();
        let now = self.recent_calls.micros(self.clock.now());
        self.core.sent_calls(worker).take(concurrency).map(move |(id, sent)| {
            let call = id.and_then(|id| self.calls.get(&id));
            let from_us = self.recent_calls.micros(sent.max(last_end));
            TimelineCall {
                seq: None,
                worker: worker.id,
                generation: worker.generation,
                command: call.map(|call| call.command.clone()),
                session: call.and_then(|call| call.session.clone()),
                call: id.map(|id| id.0),
                count: 1,
                from_us,
                to_us: None,
                run_us: now.saturating_sub(from_us),
                outcome: None,
            }
        })
    }

    /// Returns how many calls a worker runs at once.
    fn concurrency(&self) -> usize {
        self.core.settings().concurrency as usize
    }
}

/// Changes.
impl State {
    /// Reports changes that a step made.
    pub(super) fn report_changes(&mut self) {
        let now = self.pool_state();
        if now != self.reported.pool {
            self.reported.pool = now;
            self.event_feed.add(PoolEventKind::PoolState, None, &format!("the pool is {}", name_of_pool_state(now)));
        }
        self.report_breaker();
    }

    /// Reports a change of the breaker.
    pub(super) fn report_breaker(&mut self) {
        if self.reported.breaker.is_none() {
            return;
        }
        let status = self.core.breaker(self.now);
        let now = status.as_ref().map(|status| status.state);
        if now != self.reported.breaker {
            self.reported.breaker = now;
            self.event_feed.add(PoolEventKind::Breaker, None, &format!("the breaker is {}", name_of_breaker(now)));
            status.iter().for_each(|status| self.log_breaker(status));
        }
    }

    fn log_breaker(&self, status: &BreakerStatus) {
        let (pool, state, retry_after_ms) = (self.config().name().clone(), status.state, status.retry_after_ms);
        let level = if state == BreakerState::Open { Level::WARN } else { Level::INFO };
        self.call_log.events().queue(level, move || match state {
            BreakerState::Open => tracing::warn!(%pool, retry_after_ms, "circuit breaker opened: calls are refused"),
            BreakerState::HalfOpen => tracing::info!(%pool, "circuit breaker half-open: a few calls are tried"),
            _ => tracing::info!(%pool, "circuit breaker closed: calls are admitted"),
        });
    }

    /// Reports calls that are in quarantine since a death, and those that no longer are.
    pub(crate) fn report_quarantine(&mut self) {
        let entries = self.core.quarantine_entries(self.now).into_iter().filter(|entry| entry.quarantined);
        let now: BTreeMap<u64, String> =
            entries.map(|entry| (entry.fingerprint.0, entry.command.to_string())).collect();
        for (is_released, these, others) in
            [(false, &now, &self.reported.quarantined), (true, &self.reported.quarantined, &now)]
        {
            let verb = if is_released { "released from" } else { "put into" };
            for (fingerprint, command) in these.iter().filter(|(fingerprint, _)| !others.contains_key(fingerprint)) {
                let message = format!("a call of `{command}` was {verb} quarantine: {}", Fingerprint(*fingerprint));
                self.event_feed.add(PoolEventKind::Quarantine, None, &message);
                self.log_quarantine(command, Fingerprint(*fingerprint), is_released);
            }
        }
        self.reported.quarantined = now;
    }

    fn log_quarantine(&self, command: &str, fingerprint: Fingerprint, is_released: bool) {
        let (pool, command) = (self.config().name().clone(), command.to_owned());
        let level = if is_released { Level::INFO } else { Level::WARN };
        self.call_log.events().queue(level, move || match is_released {
            true => tracing::info!(%pool, command, %fingerprint, "call released from quarantine"),
            false => tracing::warn!(%pool, command, %fingerprint, "call quarantined: workers died in a row while they ran it; calls of the command with these arguments are refused"),
        });
    }
}

fn name_of_pool_state(state: PoolState) -> &'static str {
    match state {
        PoolState::Idle => "idle",
        PoolState::Starting => "starting: not every base worker is ready",
        PoolState::Running => "running: every base worker is ready",
        PoolState::Failed => "failed: too many deaths and failed starts of workers",
        PoolState::Draining => "draining",
        PoolState::Stopped => "stopped",
        _ => "in another state",
    }
}

fn name_of_breaker(state: Option<BreakerState>) -> &'static str {
    match state {
        Some(BreakerState::Open) => "open: calls are refused",
        Some(BreakerState::HalfOpen) => "half-open: a few calls are tried",
        _ => "closed: calls are admitted",
    }
}
