//! The supervisor's side of the affinity actor: start, restart, and its place in the status (R3, R4, R7).

use crate::{SessionAffinityActor, cell::Cell, clock, messages::GetStats, status::SessionAffinity};
use actix::{Actor, Addr};
use herder_core::Now;
use std::time::Duration;

/// A status does not wait longer than this for the affinity actor.
const PATIENCE: Duration = Duration::from_secs(1);
/// More restarts than this within [`WINDOW`] leave it down; the pool goes on without.
const LIMIT: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);

/// The affinity actor of a pool, if it has one.
pub(super) enum Affinity {
    /// The pool has none.
    Off,
    /// It runs, and was restarted at these moments.
    Running { actor: Addr<SessionAffinityActor>, restarts: Vec<Now> },
    /// It failed too often. Routing goes on; its messages and statistics don't.
    Unavailable,
}

impl Affinity {
    pub(super) fn start(cell: &Cell) -> Self {
        if !cell.borrow().core().features().session_affinity {
            return Self::Off;
        }
        Self::Running { actor: SessionAffinityActor::new(cell.clone()).start(), restarts: Vec::new() }
    }

    /// It ended: a new one goes on with the same bindings.
    pub(super) fn restart(&mut self, cell: &Cell) {
        let Self::Running { actor, restarts } = self else { return };
        let (pool, now) = (cell.borrow().config().name().clone(), clock::now());
        restarts.retain(|at| now.since(*at) < WINDOW);
        restarts.push(now);
        if restarts.len() > LIMIT {
            tracing::warn!(%pool, "session affinity actor failed too often and stays down; routing goes on");
            *self = Self::Unavailable;
            return;
        }
        tracing::warn!(%pool, "session affinity actor ended and is started anew; the bindings are still there");
        *actor = SessionAffinityActor::new(cell.clone()).start();
    }

    /// The actor, to ask it.
    pub(super) fn actor(&self) -> Option<Addr<SessionAffinityActor>> {
        match self {
            Self::Running { actor, .. } => Some(actor.clone()),
            Self::Off | Self::Unavailable => None,
        }
    }
}

/// What a status says of the affinity: nothing, with a warning in the log, if the actor fails or takes too long.
pub(super) async fn shown(pool: String, actor: Option<Addr<SessionAffinityActor>>) -> SessionAffinity {
    let Some(actor) = actor else { return SessionAffinity::default() };
    match tokio::time::timeout(PATIENCE, actor.send(GetStats)).await {
        Ok(Ok(Ok(stats))) => stats.into(),
        other => {
            tracing::warn!(pool, ?other, "session affinity statistics are not available");
            SessionAffinity::default()
        }
    }
}
