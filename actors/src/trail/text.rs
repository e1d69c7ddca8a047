//! The sentences of a trail: for whoever looks for the reason at night. Pure.

use super::{Trail, TrailEntry, rounded};
use crate::cell::State;
use herder_core::{
    GONE_LIMIT, Happened, Now, RebindReason, Routing, SessionEnd, SessionInfo, SessionState, SessionTrail, TrailEvent,
    WorkerRef,
};
use std::{fmt, time::Duration};

/// How the session stands, in one sentence.
pub(super) fn summary(state: &State, now: Now, trail: &SessionTrail) -> String {
    if let Some(info) = &trail.present {
        return present(state, trail, info);
    }
    match trail.past.last() {
        Some(life) => {
            let ago = rounded(now.since(life.ended));
            let why = if life.why == SessionEnd::Expired { "it expired" } else { "it was ended" };
            format!("gone: {why} {ago} ago, after {} finished", calls(life.operations))
        }
        None => format!("never seen here, nor among the last {GONE_LIMIT} sessions that are gone"),
    }
}

fn present(state: &State, trail: &SessionTrail, info: &SessionInfo) -> String {
    let done = format!("{} finished", calls(info.operations));
    let idle = rounded(Duration::from_millis(info.idle_ms));
    if info.state == SessionState::Expired {
        let timeout = rounded(state.core().settings().sessions.timeout);
        return format!("expired: idle for {idle}, its timeout is {timeout}; {done}");
    }
    let place = match (info.worker.zip(info.generation), trail.lost) {
        (Some((worker, generation)), _) => format!("its state is on {}", WorkerRef { worker, generation }),
        (None, Some(at)) => format!("{at}, which had its state, is gone: the next strict call is told so"),
        (None, None) => "bound to no worker: its next call chooses one".into(),
    };
    let load = match info.pending {
        0 => format!("idle for {idle}"),
        pending => format!("{} queued or running", calls(pending.into())),
    };
    format!("active: {place}; {done}, {load}")
}

/// One event in words, or a run of them.
pub(super) fn of(state: &State, event: &TrailEvent) -> String {
    let text = once(state, event);
    match event.last.since(event.first) {
        Duration::ZERO => text,
        span => format!("{text} (within {})", rounded(span)),
    }
}

fn once(state: &State, event: &TrailEvent) -> String {
    let at = event.at.map(|at| at.to_string()).unwrap_or_default();
    let told = |error: &str| format!("{} answered {error}", calls(event.times.into()));
    match event.what {
        Happened::Sent(routing) => sent(event, routing, &at),
        Happened::Bound => format!("bound to {at} by hand: its next calls run there"),
        Happened::Unbound(SessionEnd::Moved) => "its state was ended, since it was bound elsewhere".into(),
        Happened::Unbound(SessionEnd::Ended) => {
            "unbound by hand: its state was ended, its next call chooses a worker".into()
        }
        Happened::Unbound(SessionEnd::Expired) => "it had expired and begins anew: its old state was ended".into(),
        Happened::Lost => {
            let how = event.at.and_then(|at| state.end_in_words(at)).map(|how| format!(": {how}")).unwrap_or_default();
            format!("{at}, which had its state, was found gone{how}")
        }
        Happened::ToldOfLoss => told(&format!("`session-worker-lost` for {at}")),
        Happened::Marked => {
            format!("expired: idle for its timeout of {}", rounded(state.core().settings().sessions.timeout))
        }
        Happened::RefusedExpired => told("`session-expired`"),
        Happened::RefusedBusy => told(&format!("`worker-busy`: its worker {at} was")),
        Happened::RefusedFull => told("`session-queue-full`"),
        Happened::GaveUp => {
            let who = calls(event.times.into());
            format!("{who} waited and was not sent: out of time, or its caller left{}", waited(event))
        }
        Happened::Gone(SessionEnd::Expired) => "removed: it had expired".into(),
        Happened::Gone(_) => "removed: it was ended by hand".into(),
    }
}

fn sent(event: &TrailEvent, routing: Routing, at: &str) -> String {
    let who = calls(event.times.into());
    let why = match routing {
        Routing::New => ", chosen for it; the state began empty (new)",
        Routing::Hit => ", which has its state (hit)",
        Routing::Rebound(RebindReason::WorkerLost) => {
            ", chosen anew; the state began empty, since it was lost with its worker (rebound: worker_lost)"
        }
        Routing::Rebound(RebindReason::Expired) => {
            ", chosen anew; the state began empty, since the session had expired (rebound: expired)"
        }
        Routing::Rebound(RebindReason::Busy) => {
            " for this once, since its own worker was busy; the binding stays (rebound: busy)"
        }
        Routing::Unrouted => " (unrouted)",
    };
    format!("{who} sent to {at}{why}{}", waited(event))
}

/// A wait worth telling of.
fn waited(event: &TrailEvent) -> String {
    if event.waited < Duration::from_millis(1) {
        return String::new();
    }
    let longest = if event.times > 1 { "the longest wait " } else { "after " };
    format!("; {longest}{} in the queue", rounded(event.waited))
}

fn calls(times: u64) -> String {
    format!("{times} {}", if times == 1 { "call" } else { "calls" })
}

impl fmt::Display for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "session `{}` of pool `{}`\n{}", self.session, self.pool, self.summary)?;
        if !self.complete {
            write!(f, "\n  what happened before is forgotten")?;
        }
        self.events.iter().try_for_each(|entry| write!(f, "\n  {entry}"))
    }
}

impl fmt::Display for TrailEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", humantime::format_rfc3339_millis(self.at), self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_as_precise_as_they_are_long() {
        let shown = |micros| rounded(Duration::from_micros(micros)).to_string();
        assert_eq!(shown(12), "12us");
        assert_eq!(shown(2_345), "2ms");
        assert_eq!(shown(61_234_567), "1m 1s");
    }
}
