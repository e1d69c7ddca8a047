//! What the supervisor answers about sessions, in any pool.

use super::PoolSupervisor;
use crate::{
    CleanupStaleSessions, EndSession, GetSessionHistory, GetSessionInfo, ListSessions, Result, SessionHistory,
    TrackSession, UpdateSessionActivity, cell::sweep, session_affinity::session_history,
};
use actix::{Handler, ResponseFuture};
use herder_core::{SessionId, SessionInfo, SessionPage};
use std::rc::Rc;

impl Handler<TrackSession> for PoolSupervisor {
    type Result = Result<SessionInfo>;

    fn handle(&mut self, message: TrackSession, _: &mut Self::Context) -> Self::Result {
        let session = parse(&message.0)?;
        self.active(|active| {
            active.with(|state| {
                let tracked = state.ask(|core, now, fx| core.track_session(now, session, fx));
                tracked.map_err(|failure| state.error(state.clock().now(), failure))
            })?
        })
    }
}

impl Handler<UpdateSessionActivity> for PoolSupervisor {
    type Result = Result<bool>;

    fn handle(&mut self, message: UpdateSessionActivity, _: &mut Self::Context) -> Self::Result {
        let session = parse(&message.0)?;
        self.active(|active| {
            active.with(|state| state.ask(|core, now, fx| core.update_session_activity(now, &session, fx)))
        })
    }
}

impl Handler<GetSessionInfo> for PoolSupervisor {
    type Result = Result<Option<SessionInfo>>;

    fn handle(&mut self, message: GetSessionInfo, _: &mut Self::Context) -> Self::Result {
        self.active(|active| {
            let state = active.cell.borrow();
            Ok(state.core().session_info(state.clock().now(), &message.0))
        })
    }
}

impl Handler<EndSession> for PoolSupervisor {
    type Result = Result<bool>;

    fn handle(&mut self, message: EndSession, _: &mut Self::Context) -> Self::Result {
        self.active(|active| active.with(|state| state.ask(|core, now, fx| core.end_session(now, &message.0, fx))))
    }
}

impl Handler<CleanupStaleSessions> for PoolSupervisor {
    type Result = ResponseFuture<Result<usize>>;

    fn handle(&mut self, _: CleanupStaleSessions, _: &mut Self::Context) -> Self::Result {
        let cell = self.active(|active| Ok(Rc::downgrade(&active.cell)));
        Box::pin(async move { sweep(&cell?).await })
    }
}

impl Handler<ListSessions> for PoolSupervisor {
    type Result = Result<SessionPage>;

    fn handle(&mut self, message: ListSessions, _: &mut Self::Context) -> Self::Result {
        let ListSessions { cursor, limit } = message;
        self.active(|active| {
            let state = active.cell.borrow();
            Ok(state.core().list_sessions(state.clock().now(), cursor, limit))
        })
    }
}

impl Handler<GetSessionHistory> for PoolSupervisor {
    type Result = Result<SessionHistory>;

    fn handle(&mut self, message: GetSessionHistory, _: &mut Self::Context) -> Self::Result {
        let session = parse(&message.0)?;
        self.active(|active| session_history(&active.cell.borrow(), session))
    }
}

fn parse(session: &str) -> Result<SessionId> {
    Ok(SessionId::new(session)?)
}
