//! The supervisor's side of the affinity actor: start, restart, and its place in the status (R3, R4, R7).

use crate::{
    SessionAffinityActor,
    events::EventLog,
    messages::GetStats,
    registry::{self, Registered, Registration},
    shared_state::SharedState,
    status::SessionAffinity,
};
use actix::{Actor, Addr};
use herder_core::{PoolName, Timestamp};
use std::time::Duration;
use tracing::Level;

/// A status does not wait longer than this for the affinity actor.
const STATS_TIMEOUT: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(1) };
/// More restarts than this within [`WINDOW`] leave it down; the pool goes on without.
const LIMIT: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// The affinity actor of a pool, if it has one.
pub(super) enum AffinityActorState {
    /// The pool has none.
    Off,
    /// It runs, and was restarted at these moments. The name goes with the pool, not some polls later with the actor: who starts
    /// a pool of the same name right after a shutdown must find it free.
    Running { actor: Addr<SessionAffinityActor>, name: Option<Registration>, restarts: Vec<Timestamp> },
    /// It failed too often. Routing goes on; its messages and statistics don't.
    Unavailable,
}

impl AffinityActorState {
    pub(super) fn start(shared_state: &SharedState) -> Self {
        if !shared_state.borrow().core().features().session_affinity {
            return Self::Off;
        }
        let (actor, name) = begin(shared_state);
        Self::Running { actor, name, restarts: Vec::new() }
    }

    /// It ended: a new one goes on with the same bindings.
    pub(super) fn restart(&mut self, shared_state: &SharedState) {
        let Self::Running { actor, name, restarts } = self else { return };
        let (pool, now) = (shared_state.borrow().config().name().clone(), shared_state.borrow().clock().now());
        restarts.retain(|at| now.since(*at) < WINDOW);
        restarts.push(now);
        if restarts.len() > LIMIT {
            events(shared_state).queue(Level::WARN, move || {
                tracing::warn!(%pool, "session affinity actor failed too often and was not restarted; routing continues");
            });
            *self = Self::Unavailable;
            return;
        }
        events(shared_state).queue(Level::WARN, move || {
            tracing::warn!(%pool, "session affinity actor stopped unexpectedly and was restarted; the bindings are kept");
        });
        (*actor, *name) = begin(shared_state);
    }

    /// The pool's state was built anew under the same address: the actor goes on with it.
    pub(super) fn rebuilt(&self, pool: PoolName, events: &EventLog) {
        if let Self::Running { .. } = self {
            events.queue(Level::DEBUG, move || tracing::debug!(%pool, "session affinity actor uses the rebuilt state"));
        }
    }

    /// The actor, to ask it: one that nobody can find by its name is not available (R4).
    pub(super) fn actor(&self) -> Option<Addr<SessionAffinityActor>> {
        match self {
            Self::Running { actor, name: Some(_), .. } => Some(actor.clone()),
            Self::Running { name: None, .. } | Self::Off | Self::Unavailable => None,
        }
    }
}

fn events(shared_state: &SharedState) -> EventLog {
    shared_state.borrow().call_log().events().clone()
}

fn begin(shared_state: &SharedState) -> (Addr<SessionAffinityActor>, Option<Registration>) {
    let name = shared_state.borrow().config().name().affinity_name();
    let actor = SessionAffinityActor::new(shared_state).start();
    match registry::register(&name, &actor) {
        Ok((registration, Registered::New)) => {
            events(shared_state).queue(Level::INFO, move || tracing::info!(name, "session affinity started"));
            (actor, Some(registration))
        }
        Ok((registration, Registered::ReplacedDead)) => {
            events(shared_state).queue(Level::DEBUG, move || {
                tracing::debug!(name, "session affinity started; replaced the registration of a stopped actor");
            });
            (actor, Some(registration))
        }
        Err(taken) => {
            events(shared_state).queue(
                Level::WARN,
                move || tracing::warn!(%taken, "session affinity actor is not registered: its name is taken"),
            );
            (actor, None)
        }
    }
}

/// What a status says of the affinity: nothing, with a warning in the log, if the actor fails or takes too long.
#[expect(clippy::disallowed_methods, reason = "a status must be returned even if this actor hangs")]
pub(super) async fn affinity_for_status(
    pool: &PoolName,
    actor: Option<Addr<SessionAffinityActor>>,
    events: &EventLog,
) -> SessionAffinity {
    let Some(actor) = actor else { return SessionAffinity::default() };
    match tokio::time::timeout(STATS_TIMEOUT, actor.send(GetStats)).await {
        Ok(Ok(Ok(stats))) => stats.into(),
        other => {
            let (pool, other) = (pool.clone(), format!("{other:?}"));
            events.queue(Level::WARN, move || {
                tracing::warn!(%pool, %other, "session affinity statistics are unavailable");
            });
            SessionAffinity::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PoolConfig, clock::Clock, shared_state::State};
    use actix::{AsyncContext, Handler, Message, fut::wrap_future};
    use std::{cell::RefCell, rc::Rc};

    #[derive(Message)]
    #[rtype(result = "()")]
    struct Hang;

    impl Handler<Hang> for SessionAffinityActor {
        type Result = ();

        fn handle(&mut self, _: Hang, ctx: &mut Self::Context) {
            ctx.wait(wrap_future(std::future::pending()));
        }
    }

    /// R7: an affinity actor that hangs costs a status its patience, and nothing else.
    #[actix::test]
    async fn r7_status_answers_while_the_affinity_actor_hangs() {
        let config = PoolConfig::enhanced("hanging").command(["scripted"]).build().unwrap();
        let pool = config.name().clone();
        let shared_state: SharedState = Rc::new(RefCell::new(State::new(config, 1, Clock::default())));
        let actor = AffinityActorState::start(&shared_state).actor();
        let events = EventLog::new("hanging");
        assert!(!affinity_for_status(&pool, actor.clone(), &events).await.is_empty());
        actor.iter().for_each(|actor| actor.do_send(Hang));
        assert!(affinity_for_status(&pool, actor, &events).await.is_empty());
    }
}
