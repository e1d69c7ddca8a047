//! The texts of a session's history. Pure functions.

use super::super::State;
use herder_core::{
    REMOVED_SESSION_LIMIT, RebindReason, Routing, SessionEndReason, SessionEvent, SessionEventKind, SessionEventLog,
    SessionInfo, SessionState, Timestamp, WorkerRef,
};
use std::time::Duration;

/// Returns the state of the session in one sentence.
pub(super) fn summary(state: &State, now: Timestamp, log: &SessionEventLog) -> String {
    if let Some(info) = &log.present {
        return present(state, log, info);
    }
    match log.past.last() {
        Some(life) => {
            let ago = rounded(now.since(life.ended));
            let why = if life.why == SessionEndReason::Expired { "expired" } else { "ended" };
            format!("{why} {ago} ago, after {} finished", calls(life.operations))
        }
        None => {
            format!("unknown: not an open session, and not among the last {REMOVED_SESSION_LIMIT} removed sessions")
        }
    }
}

fn present(state: &State, log: &SessionEventLog, info: &SessionInfo) -> String {
    let done = format!("{} finished", calls(info.operations));
    let idle = rounded(Duration::from_millis(info.idle_ms));
    if info.state == SessionState::Expired {
        let timeout = rounded(state.core().settings().sessions.timeout);
        return format!("expired: idle for {idle}, the timeout is {timeout}; {done}");
    }
    let place = match (info.worker.zip(info.generation), log.lost) {
        (Some((worker, generation)), _) => format!("state on {}", WorkerRef { id: worker, generation }),
        (None, Some(worker_ref)) => {
            format!("the state was lost with {worker_ref}: the next strict call fails with `session-worker-lost`")
        }
        (None, None) => "not bound: the next call selects a worker".into(),
    };
    let load = match info.pending {
        0 => format!("idle for {idle}"),
        pending => format!("{} queued or running", calls(pending.into())),
    };
    format!("active: {place}; {done}, {load}")
}

/// Returns the text of an event, or of several consecutive ones.
pub(super) fn describe(state: &State, event: &SessionEvent) -> String {
    let text = event_text(state, event);
    match event.last.since(event.first) {
        Duration::ZERO => text,
        span => format!("{text} (within {})", rounded(span)),
    }
}

fn event_text(state: &State, event: &SessionEvent) -> String {
    let worker = event.worker.map(|worker| worker.to_string()).unwrap_or_default();
    let failed_with = |error: &str| format!("{} failed with {error}", calls(event.times.into()));
    match event.kind {
        SessionEventKind::Sent(routing) => sent(event, routing, &worker),
        SessionEventKind::Bound => format!("bound to {worker} by request; later calls run there"),
        SessionEventKind::Unbound(SessionEndReason::Moved) => {
            "state discarded: the session was bound to another worker".into()
        }
        SessionEventKind::Unbound(SessionEndReason::Ended) => {
            "unbound by request: state discarded, the next call selects a worker".into()
        }
        SessionEventKind::Unbound(SessionEndReason::Expired) => {
            "started anew after expiry: the old state was discarded".into()
        }
        SessionEventKind::StateLost => {
            let reason = event
                .worker
                .and_then(|worker| state.exit_reason(worker))
                .map(|reason| format!(": {reason}"))
                .unwrap_or_default();
            format!("state lost: {worker} had ended{reason}")
        }
        SessionEventKind::LossReported => failed_with(&format!("`session-worker-lost` for {worker}")),
        SessionEventKind::MarkedExpired => {
            format!("expired: idle for its timeout of {}", rounded(state.core().settings().sessions.timeout))
        }
        SessionEventKind::RefusedExpired => failed_with("`session-expired`"),
        SessionEventKind::RefusedBusy => failed_with(&format!("`worker-busy`: {worker} was busy")),
        SessionEventKind::RefusedFull => failed_with("`session-queue-full`"),
        SessionEventKind::TakenBack => {
            format!("{} returned to the queue: {worker} had not begun, and was busy or died", calls(event.times.into()))
        }
        SessionEventKind::LeftQueue => {
            let count = calls(event.times.into());
            format!("{count} left the queue unsent: timed out or abandoned by the caller{}", waited(event))
        }
        SessionEventKind::Removed(SessionEndReason::Expired) => "removed after expiry".into(),
        SessionEventKind::Removed(_) => "ended by request".into(),
    }
}

fn sent(event: &SessionEvent, routing: Routing, worker: &str) -> String {
    let count = calls(event.times.into());
    let why = match routing {
        Routing::New => ", selected for the session; the state starts empty (new)",
        Routing::Hit => ", which holds the state (hit)",
        Routing::Rebound(RebindReason::WorkerLost) => {
            ", newly selected; the state starts empty, because it was lost with its worker (rebound: worker_lost)"
        }
        Routing::Rebound(RebindReason::Expired) => {
            ", newly selected; the state starts empty, because the session had expired (rebound: expired)"
        }
        Routing::Rebound(RebindReason::Busy) => {
            " for this call only, because the session's worker was busy; the binding is kept (rebound: busy)"
        }
        _ => " (unrouted)",
    };
    format!("{count} sent to {worker}{why}{}", waited(event))
}

/// Returns the text of the wait in the queue, unless it was shorter than a millisecond.
fn waited(event: &SessionEvent) -> String {
    if event.waited < Duration::from_millis(1) {
        return String::new();
    }
    let prefix = if event.times > 1 { "the longest wait " } else { "after " };
    format!("; {prefix}{} in the queue", rounded(event.waited))
}

fn calls(times: u64) -> String {
    format!("{times} {}", if times == 1 { "call" } else { "calls" })
}

/// Rounds a duration for texts: nanoseconds are dropped, and also microseconds of longer times.
fn rounded(span: Duration) -> humantime::FormattedDuration {
    let unit = match span.as_micros() {
        0..1_000 => 1_000,
        1_000..10_000_000 => 1_000_000,
        _ => 1_000_000_000,
    };
    let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
    humantime::format_duration(Duration::from_nanos(nanos / unit * unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded_by_magnitude() {
        let shown = |micros| rounded(Duration::from_micros(micros)).to_string();
        assert_eq!(shown(12), "12us");
        assert_eq!(shown(2_345), "2ms");
        assert_eq!(shown(61_234_567), "1m 1s");
    }
}
