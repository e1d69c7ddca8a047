//! The supervisor's side of the affinity actor: starting and restarting it, and its part of the status (R3, R4, R7).

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

/// The maximum time that a status waits for the affinity actor.
const STATS_TIMEOUT: Duration = if cfg!(test) { Duration::from_millis(50) } else { Duration::from_secs(1) };
/// The number of restarts allowed within [`WINDOW`]. After more the actor is not restarted; the pool continues without it.
const LIMIT: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// The affinity actor of a pool.
pub(super) enum AffinityActorState {
    /// The pool has no affinity actor.
    Off,
    /// The actor runs; `restarts` are the times of its recent restarts. The supervisor holds the registration and drops it
    /// with the pool. The actor itself is dropped a few polls later, but whoever starts a pool of the same name right after a
    /// shutdown must find the name free.
    Running { actor: Addr<SessionAffinityActor>, name: Option<Registration>, restarts: Vec<Timestamp> },
    /// The actor failed too often. Routing continues; the actor's messages and statistics are unavailable.
    Unavailable,
}

impl AffinityActorState {
    pub(super) fn start(shared_state: &SharedState) -> Self {
        if !shared_state.borrow().core().features().session_affinity {
            return Self::Off;
        }
        let (actor, name) = start_actor(shared_state);
        Self::Running { actor, name, restarts: Vec::new() }
    }

    /// Starts a new actor after the old one ended. The bindings are kept, since they are in the shared state.
    pub(super) fn restart(&mut self, shared_state: &SharedState) {
        let Self::Running { actor, name, restarts } = self else { return };
        let (pool, now) = (shared_state.borrow().config().name().clone(), shared_state.borrow().clock().now());
        restarts.retain(|restart| now.since(*restart) < WINDOW);
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
        (*actor, *name) = start_actor(shared_state);
    }

    /// Logs that the actor uses the rebuilt state of the pool.
    pub(super) fn log_rebuild(&self, pool: PoolName, events: &EventLog) {
        if let Self::Running { .. } = self {
            events.queue(Level::DEBUG, move || tracing::debug!(%pool, "session affinity actor uses the rebuilt state"));
        }
    }

    /// Returns the actor's address. An actor that is not registered counts as unavailable (R4).
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

fn start_actor(shared_state: &SharedState) -> (Addr<SessionAffinityActor>, Option<Registration>) {
    let pool = shared_state.borrow().config().name().clone();
    let name = pool.affinity_name();
    let actor = SessionAffinityActor::new(shared_state).start();
    match registry::register(&name, &actor) {
        Ok((registration, Registered::New)) => {
            events(shared_state).queue(Level::INFO, move || tracing::info!(%pool, name, "session affinity started"));
            (actor, Some(registration))
        }
        Ok((registration, Registered::ReplacedDead)) => {
            events(shared_state).queue(Level::DEBUG, move || {
                tracing::debug!(%pool, name, "session affinity started; replaced the registration of a stopped actor");
            });
            (actor, Some(registration))
        }
        Err(error) => {
            events(shared_state).queue(
                Level::WARN,
                move || tracing::warn!(%pool, %error, "session affinity actor is not registered: its name is taken"),
            );
            (actor, None)
        }
    }
}

/// Returns the affinity statistics for a status. If the actor fails or takes too long, logs a warning and returns empty
/// statistics.
#[expect(clippy::disallowed_methods, reason = "a status must be returned even if this actor hangs")]
pub(super) async fn affinity_for_status(
    pool: &PoolName,
    actor: Option<Addr<SessionAffinityActor>>,
    events: &EventLog,
) -> SessionAffinity {
    let Some(actor) = actor else { return SessionAffinity::default() };
    match tokio::time::timeout(STATS_TIMEOUT, actor.send(GetStats)).await {
        Ok(Ok(Ok(stats))) => stats.into(),
        failed => {
            let (pool, error) = (pool.clone(), format!("{failed:?}"));
            events.queue(Level::WARN, move || {
                tracing::warn!(%pool, %error, "session affinity statistics are unavailable");
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

    /// R7: a status waits for a hanging affinity actor only until the timeout.
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
