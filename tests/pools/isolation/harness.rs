//! The harness of the isolation tests: performs the operations of the reference model on one pool. Holds the pool and the pids
//! of its workers.

use super::model::{Facts, Operation, ReferenceModel, Seen};
use crate::{
    pools::steps::{affinity_of, count, has_affinity_actor, pid, place},
    rng::Rng,
};
use actix::{Handler, Message};
use herder::{
    Call, Reply, Result,
    config::{Expiry, Sessions},
    messages::{
        BindSession, CleanupStaleSessions, GetSessionState, GetWorker, TrackSession, UnbindSession,
        UpdateSessionActivity,
    },
    session::{IfAbsent, SessionAffinityActor},
    status::WorkerRef,
    testing::{TestPool, pool, with_timeout},
};
use std::{collections::BTreeMap, time::Duration};

pub(super) const NEVER: Duration = Duration::from_secs(3600);

/// The expiry policy of an enhanced pool; `None` for a basic pool.
pub(super) type Kind = Option<Expiry>;

pub(super) const KINDS: [Kind; 3] = [None, Some(Expiry::Immediate), Some(Expiry::TwoPhase { grace: NEVER })];

pub(super) fn name(session: usize) -> String {
    format!("s{session}")
}

/// Starts a pool of this kind whose sweep never runs.
pub(super) async fn start(kind: Kind, timeout: Duration) -> TestPool {
    let sessions = Sessions::new().timeout(timeout).cleanup_interval(NEVER);
    pool("isolated", |context| match kind {
        None => context.basic().app("herder.demo:app").sessions(sessions).build(),
        Some(expiry) => context.enhanced().app("herder.demo:app").sessions(sessions.expiry(expiry)).build(),
    })
    .await
}

/// Drives one pool: performs operations on its sessions and compares each answer with the reference model.
pub(super) struct Harness {
    pub(super) pool: TestPool,
    /// The seed of the first session; each session has its own.
    first: u64,
    /// Whether sessions are bound to workers.
    pub(super) routed: bool,
    pub(super) pids: BTreeMap<WorkerRef, u32>,
}

impl Harness {
    pub(super) async fn start(kind: Kind, first: u64) -> Self {
        let pool = start(kind, NEVER).await;
        let pids = pool.base_workers().await.iter().map(|worker| (worker.process(), worker.pid.unwrap())).collect();
        Self { pool, first, routed: kind.is_some(), pids }
    }

    /// Runs the operations of one session and compares each answer with the model.
    pub(super) async fn run(&self, session: usize, operations: u64) -> ReferenceModel<'_> {
        let id = name(session);
        let mut rng = Rng::new(self.first.wrapping_add(session as u64));
        let mut model = ReferenceModel::new(&self.pids, self.routed);
        for step in 0..operations {
            let operation = Operation::draw(&mut rng);
            let seen = with_timeout("an operation", self.perform(operation, &id)).await;
            let expected = model.apply(operation, &seen);
            let pool = self.pool.name();
            assert_eq!(seen, expected, "{pool}, {id}, step {step}, {operation:?}: {model:?}");
        }
        model
    }

    async fn perform(&self, operation: Operation, session: &str) -> Seen {
        let (pool, supervisor, id) = (&self.pool, self.pool.supervisor(), session.to_owned());
        match operation {
            Operation::Count => seen_or_slug(run_call(count(pool, session)).await),
            Operation::Pid => seen_or_slug(run_call(pid(pool, session)).await),
            Operation::PidIfPresent => seen_or_slug(run_call(pid(pool, session).if_absent(IfAbsent::Reject)).await),
            Operation::End => Seen::Answered(pool.end_session(session).await.unwrap()),
            Operation::Bind(worker) => self.ask(BindSession::new(id, worker), Seen::BoundTo).await,
            Operation::Unbind => self.ask(UnbindSession::new(id), Seen::Answered).await,
            Operation::Track => {
                let info = supervisor.send(TrackSession::new(id)).await.unwrap();
                seen_or_slug(info.map(|info| Seen::Known(Some(Facts::from(&info)))))
            }
            Operation::Touch => {
                seen_or_slug(supervisor.send(UpdateSessionActivity::new(id)).await.unwrap().map(Seen::Answered))
            }
            Operation::Worker => self.ask(GetWorker::new(id), Seen::BoundTo).await,
            Operation::State => self.ask(GetSessionState::new(id), Seen::Is).await,
            Operation::Info => Seen::Known(pool.session(session).await.unwrap().as_ref().map(Facts::from)),
            Operation::List => Seen::Known(self.listed().await.remove(session)),
            Operation::Sweep => seen_or_slug(supervisor.send(CleanupStaleSessions).await.unwrap().map(Seen::Swept)),
            Operation::Status => Seen::Numbers(!pool.status().await.unwrap().session_affinity.is_empty()),
        }
    }

    /// Sends a message to the affinity actor, if the pool has one.
    pub(super) async fn ask<M, T>(&self, message: M, show: impl FnOnce(T) -> Seen) -> Seen
    where
        M: Message<Result = Result<T>> + Send + 'static,
        T: Send + 'static,
        SessionAffinityActor: Handler<M>,
    {
        if !has_affinity_actor(&self.pool) {
            return Seen::NoAffinityActor;
        }
        seen_or_slug(affinity_of(&self.pool).send(message).await.unwrap().map(show))
    }

    pub(super) async fn listed(&self) -> BTreeMap<String, Facts> {
        let page = self.pool.sessions(0, 1000).await.unwrap();
        let facts: BTreeMap<_, _> = page.sessions.iter().map(|info| (info.id.to_string(), Facts::from(info))).collect();
        assert_eq!(facts.len(), page.sessions.len(), "no session is listed twice");
        facts
    }
}

/// Returns the answer, or the slug of its error.
fn seen_or_slug(answer: Result<Seen>) -> Seen {
    answer.unwrap_or_else(|error| Seen::Refused(error.slug()))
}

/// Waits for a call and returns where it ran and its result.
async fn run_call<T>(call: Call<T>) -> Result<Seen> {
    let reply: Reply = call.reply().await?;
    Ok(Seen::Ran { worker: place(&reply), routing: reply.routing, value: reply.decode()? })
}
