//! The supervisor's handlers for people who watch the pool: the timeline, the events, and the stack of a worker.

use super::{PoolSupervisor, RunningPool};
use crate::{
    Error, EventFeed, GetEvents, GetStack, GetTimeline, PoolEventKind, Result, Timeline, WorkerStack, error::counted,
    shared_state::State,
};
use actix::{Handler, ResponseFuture};
use herder_core::{LogEvent, ProcessExit, Reloaded, WorkerId, WorkerRef};
use herder_process::StackCapture;

impl Handler<GetTimeline> for PoolSupervisor {
    type Result = Result<Timeline>;

    fn handle(&mut self, GetTimeline { since }: GetTimeline, _: &mut Self::Context) -> Self::Result {
        self.active(|active| Ok(active.shared_state.borrow().timeline(since)))
    }
}

impl Handler<GetEvents> for PoolSupervisor {
    type Result = Result<EventFeed>;

    fn handle(&mut self, _: GetEvents, _: &mut Self::Context) -> Self::Result {
        self.active(|active| Ok(active.shared_state.borrow().event_feed()))
    }
}

impl Handler<GetStack> for PoolSupervisor {
    type Result = ResponseFuture<Result<WorkerStack>>;

    fn handle(&mut self, GetStack { worker }: GetStack, _: &mut Self::Context) -> Self::Result {
        let capture = self.active(|active| capture_stack(&active.shared_state.borrow(), worker));
        Box::pin(async move {
            let (WorkerRef { id: worker, generation }, capture) = capture?;
            match printed(capture).await {
                Some(stack) => Ok(WorkerStack { worker, generation, stack }),
                None => Err(no_stack(worker, "has not printed its stacks within a second")),
            }
        })
    }
}

/// Asks the present process of a slot for its stacks.
fn capture_stack(state: &State, worker: WorkerId) -> Result<(WorkerRef, StackCapture)> {
    let Some(link) = state.links().find(|link| link.worker.id == worker) else {
        return Err(no_stack(worker, "has no process"));
    };
    let capture = link.stack_signal.and_then(|ask| link.child.capture_stack(ask));
    let none = "does not print its stacks: only Python workers do, after their hello";
    Ok((link.worker, capture.ok_or_else(|| no_stack(worker, none))?))
}

fn no_stack(worker: WorkerId, why: &str) -> Error {
    Error::NoSuchWorker { message: format!("no stack of worker {worker}: it {why}") }
}

/// Waits until the stacks are complete. Cancel safe: a capture that is not finished ends with the next one.
#[expect(clippy::disallowed_methods, reason = "the end of the stacks is only known by a pause")]
async fn printed(capture: StackCapture) -> Option<String> {
    loop {
        let until = capture.complete_at();
        tokio::time::sleep_until(until.into()).await;
        if capture.complete_at() <= until {
            return capture.finish();
        }
    }
}

impl RunningPool {
    /// Reports an event of the core to the feed.
    pub(super) fn report_event(&self, event: &LogEvent) {
        use PoolEventKind as Kind;
        let (kind, worker, message) = match event {
            LogEvent::WorkerDied(worker, exit) => {
                let kind = if exit.kill_reason.is_some() { Kind::WorkerKilled } else { Kind::WorkerExited };
                (kind, worker, self.exit_reason(*worker, exit))
            }
            LogEvent::StartFailed(worker, exit) => (Kind::StartFailed, worker, self.exit_reason(*worker, exit)),
            LogEvent::WorkerStopped(worker, exit) => (Kind::WorkerStopped, worker, self.exit_reason(*worker, exit)),
            LogEvent::PingMissed(worker, missed, activity) => {
                (Kind::PingMissed, worker, format!("{missed} consecutive pings were not answered: {activity}"))
            }
            LogEvent::GilHeld(worker) => (Kind::PingMissed, worker, "the worker is busy: C code holds the GIL".into()),
            // A change of the pool's state is reported where it happens; the others concern single frames.
            LogEvent::PoolFailed(_)
            | LogEvent::PoolRecovered
            | LogEvent::LateAnswer(..)
            | LogEvent::UnknownAnswer(..) => return,
        };
        self.shared_state.borrow().event_feed().add(kind, Some(*worker), &message);
    }

    fn exit_reason(&self, worker: WorkerRef, exit: &ProcessExit) -> String {
        self.shared_state.borrow().death_reason(worker, exit).into()
    }

    /// Reports the end of a reload that replaced workers.
    pub(super) fn report_reload(&self, Reloaded { workers, sessions }: Reloaded) {
        let workers = counted(workers as u64, "worker");
        let sessions = if sessions == 1 { "1 session was".into() } else { format!("{sessions} sessions were") };
        let message = format!("a reload replaced {workers}; {sessions} lost");
        self.shared_state.borrow().event_feed().add(PoolEventKind::Reload, None, &message);
    }
}
