//! The sessions of MCP clients. Holds a bounded table; the state of a session is in the worker to which its pool has
//! bound it, under the same id.

use super::rpc::{Id, RpcError};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio::sync::oneshot;

/// The largest number of sessions. A further one replaces that which was unused for the longest time.
const MAX: usize = 10_000;
/// How long an unused session is kept, unless a pool keeps its own longer. Clients are idle for hours, and many of them
/// do not begin a new session by themselves.
const IDLE: Duration = Duration::from_secs(24 * 60 * 60);

/// How a session began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By `initialize`. Requests name it in the header `Mcp-Session-Id`.
    Header,
    /// By a tool. Calls name it in an argument.
    Handle,
}

/// The table of sessions. All threads of a server share it.
#[derive(Debug)]
pub(crate) struct Sessions {
    all: Mutex<HashMap<String, Session>>,
    idle: Duration,
    max: usize,
}

#[derive(Debug)]
struct Session {
    kind: Kind,
    /// The endpoint at which it began: that of a pool, or that of all pools.
    endpoint: Option<String>,
    used: Instant,
    /// The calls that can be cancelled by a notification. Each has a connection of its own, so their number is bounded.
    running: HashMap<Id, oneshot::Sender<()>>,
    /// The pools in which a call of the session has succeeded.
    begun: Vec<String>,
}

/// A session that a request names.
#[derive(Debug)]
pub(super) struct SessionRef<'a> {
    pub(super) id: &'a str,
    pub(super) kind: Kind,
    pub(super) endpoint: Option<&'a str>,
}

impl Sessions {
    /// Creates the table. `longest` is the longest `sessions.timeout` of the pools.
    pub(crate) fn new(longest: Duration) -> Arc<Self> {
        Arc::new(Self { all: Mutex::default(), idle: longest.max(IDLE), max: MAX })
    }

    /// Begins a session and returns its id: 128 random bits.
    pub(super) fn begin(&self, kind: Kind, endpoint: Option<&str>) -> Result<String, RpcError> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| RpcError::internal(format_args!("cannot generate a session id: {error}")))?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let used = now();
        let mut all = self.lock();
        if all.len() >= self.max {
            self.make_room(&mut all, used);
        }
        let endpoint = endpoint.map(Into::into);
        all.insert(id.clone(), Session { kind, endpoint, used, running: HashMap::new(), begun: Vec::new() });
        Ok(id)
    }

    /// Removes the expired sessions, or else the one that was unused for the longest time.
    fn make_room(&self, all: &mut HashMap<String, Session>, now: Instant) {
        all.retain(|_, session| !session.is_expired(now, self.idle));
        if all.len() < self.max {
            return;
        }
        let idle = all.iter().filter(|(_, session)| session.running.is_empty());
        let oldest = idle.min_by_key(|(_, session)| session.used).map(|(id, _)| id.clone());
        oldest.map(|id| all.remove(&id));
    }

    /// Returns whether the session exists. It counts as used.
    pub(super) fn touch(&self, session: &SessionRef<'_>) -> bool {
        self.with(session, |_| ()).is_some()
    }

    /// Registers a call that can be cancelled until the returned value is dropped.
    pub(super) fn run(self: &Arc<Self>, session: &SessionRef<'_>, id: &Id) -> Result<RunningCall, RpcError> {
        let (cancel, cancelled) = oneshot::channel();
        let registered = self.with(session, |session| {
            let is_new = !session.running.contains_key(id);
            is_new.then(|| session.running.insert(id.clone(), cancel)).is_some()
        });
        match registered {
            Some(true) => {
                Ok(RunningCall { sessions: self.clone(), session: session.id.into(), id: id.clone(), cancelled })
            }
            Some(false) => Err(RpcError::invalid_request("a request with this `id` is still running in the session")),
            None => Err(RpcError::no_session()),
        }
    }

    /// Cancels a call, if it is running.
    pub(super) fn cancel(&self, session: &SessionRef<'_>, id: &Id) {
        let cancel = self.with(session, |session| session.running.remove(id));
        if let Some(Some(cancel)) = cancel {
            _ = cancel.send(());
        }
    }

    /// Returns whether a call of the session has succeeded in this pool.
    pub(super) fn has_begun(&self, session: &SessionRef<'_>, pool: &str) -> bool {
        self.with(session, |session| session.begun.iter().any(|begun| begun == pool)).unwrap_or_default()
    }

    /// Records that a call of the session has succeeded in this pool.
    pub(super) fn record_begun(&self, session: &SessionRef<'_>, pool: &str) {
        self.with(session, |session| {
            if !session.begun.iter().any(|begun| begun == pool) {
                session.begun.push(pool.into());
            }
        });
    }

    /// Ends a session and cancels its calls. Returns false if it does not exist.
    pub(super) fn end(&self, session: &SessionRef<'_>) -> bool {
        if !self.touch(session) {
            return false;
        }
        let ended = self.lock().remove(session.id);
        ended.map(|ended| ended.running.into_values().for_each(|cancel| _ = cancel.send(()))).is_some()
    }

    fn with<R>(&self, named: &SessionRef<'_>, change: impl FnOnce(&mut Session) -> R) -> Option<R> {
        let (now, mut all) = (now(), self.lock());
        let session = all.get_mut(named.id)?;
        if session.is_expired(now, self.idle) {
            all.remove(named.id);
            return None;
        }
        if session.kind != named.kind || session.endpoint.as_deref() != named.endpoint {
            return None;
        }
        session.used = now;
        Some(change(session))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Session>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    fn is_expired(&self, now: Instant, idle: Duration) -> bool {
        self.running.is_empty() && now.saturating_duration_since(self.used) >= idle
    }
}

/// A call that a notification can cancel.
#[derive(Debug)]
pub(super) struct RunningCall {
    sessions: Arc<Sessions>,
    session: String,
    id: Id,
    cancelled: oneshot::Receiver<()>,
}

impl RunningCall {
    /// Completes when the client has cancelled the call, or ended its session.
    pub(super) async fn cancelled(&mut self) {
        if (&mut self.cancelled).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for RunningCall {
    fn drop(&mut self) {
        // After a cancellation the entry is gone, and the id may be that of a new call.
        self.cancelled.close();
        if let Some(session) = self.sessions.lock().get_mut(&self.session)
            && session.running.get(&self.id).is_some_and(oneshot::Sender::is_closed)
        {
            session.running.remove(&self.id);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "unused sessions are removed after a day")]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(max: usize, idle: Duration) -> Arc<Sessions> {
        Arc::new(Sessions { all: Mutex::default(), idle, max })
    }

    fn named<'a>(id: &'a str) -> SessionRef<'a> {
        SessionRef { id, kind: Kind::Header, endpoint: None }
    }

    #[test]
    fn the_least_recently_used_session_makes_room() {
        let sessions = table(2, IDLE);
        let [first, second] = [(), ()].map(|()| sessions.begin(Kind::Header, None).unwrap());
        assert!(first.len() == 32 && first != second);
        assert!(sessions.touch(&named(&first)));
        let third = sessions.begin(Kind::Header, None).unwrap();
        assert_eq!([&first, &second, &third].map(|id| sessions.touch(&named(id))), [true, false, true]);
    }

    #[test]
    fn unused_sessions_expire() {
        let sessions = table(10, Duration::ZERO);
        let id = sessions.begin(Kind::Header, None).unwrap();
        assert!(!sessions.touch(&named(&id)));
        assert_eq!(sessions.lock().len(), 0);
    }

    /// An id is valid only where it was given: at its endpoint, and either in the header or as an argument.
    #[test]
    fn a_session_belongs_to_its_endpoint_and_its_kind() {
        let sessions = table(10, IDLE);
        let id = sessions.begin(Kind::Handle, Some("carts")).unwrap();
        let found = |kind, endpoint| sessions.touch(&SessionRef { id: &id, kind, endpoint });
        assert!(found(Kind::Handle, Some("carts")));
        assert!(!found(Kind::Header, Some("carts")) && !found(Kind::Handle, None));
        assert!(!sessions.end(&named(&id)) && found(Kind::Handle, Some("carts")));
    }

    #[tokio::test]
    async fn a_call_is_cancelled_once_and_frees_its_id() {
        let sessions = table(10, IDLE);
        let id = sessions.begin(Kind::Header, None).unwrap();
        let (session, call) = (named(&id), Id::Number(1));
        let mut running = sessions.run(&session, &call).unwrap();
        assert!(sessions.run(&session, &call).is_err(), "the id is in use");
        sessions.cancel(&session, &Id::Number(2));
        sessions.cancel(&session, &call);
        running.cancelled().await;
        let mut next = sessions.run(&session, &call).unwrap();
        drop(running);
        assert!(sessions.end(&session), "the end cancels the next call, which the drop has not removed");
        next.cancelled().await;
        assert!(!sessions.end(&session));
    }
}
