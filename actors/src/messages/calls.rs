//! Calls: without a session, and in one.

use crate::{
    Affinity, Error, IfAbsent, Reply, Result,
    gate::Permit,
    shared_state::{Answer, Incoming},
};
use actix::Message;
use bytes::Bytes;
use herder_core::{CallId, SessionCall, SessionId, Timestamp};
use serde::Serialize;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// Runs a command on any worker. Sent to the pool's supervisor; answers with the worker's [`Reply`].
///
/// The caller that drops the request cancels the call. `Execute` stands where the original had `execute_anonymous`.
///
/// ```
/// use herder_actors::Execute;
/// use std::time::Duration;
/// let call = Execute::new("price", &serde_json::json!({ "item": "tea" })).timeout(Duration::from_secs(2));
/// ```
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Reply>")]
pub struct Execute(pub(crate) Request);

/// Runs a command in a session: in a pool with session affinity, on the worker that holds the session's state (R18).
///
/// Stands where the original had `execute_in_session`.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Reply>")]
pub struct ExecuteInSession(pub(crate) Request);

/// What both have: a call that is not submitted yet.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) command: Arc<str>,
    pub(crate) body: Result<Bytes>,
    pub(crate) session: Option<Result<SessionCall>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idempotent: Option<bool>,
}

impl Execute {
    /// A call of `command`; the arguments must encode as an object.
    ///
    /// Arguments that can't be encoded answer [`Error::Malformed`] when the message is sent.
    pub fn new<A: Serialize + ?Sized>(command: &str, arguments: &A) -> Self {
        Self(Request::typed(command, arguments))
    }

    /// The whole deadline of the call, from now on: queue, run and retries. The pool's `timeout` unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = Some(timeout);
        self
    }

    /// Whether it may run again when its worker dies in the middle. As the handler says unless set.
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.0.idempotent = Some(idempotent);
        self
    }
}

impl ExecuteInSession {
    /// A call of `command` in `session`; the arguments must encode as an object.
    ///
    /// Arguments that can't be encoded, or a text that can't be a session's id, are answered when the message is sent.
    pub fn new<A: Serialize + ?Sized>(session: &str, command: &str, arguments: &A) -> Self {
        let id = SessionId::new(session).map_err(Error::from);
        let session = id.map(|id| SessionCall { id, if_absent: IfAbsent::Create, affinity: None });
        Self(Request { session: Some(session), ..Request::typed(command, arguments) })
    }

    /// The whole deadline of the call, from now on. The pool's `timeout` unless set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = Some(timeout);
        self
    }

    /// What to do if there is no such session: begin it, unless set.
    #[must_use]
    pub fn if_absent(mut self, if_absent: IfAbsent) -> Self {
        if let Some(Ok(session)) = &mut self.0.session {
            session.if_absent = if_absent;
        }
        self
    }

    /// How strictly to keep to the session's worker. The pool's mode unless set.
    #[must_use]
    pub fn affinity(mut self, affinity: Affinity) -> Self {
        if let Some(Ok(session)) = &mut self.0.session {
            session.affinity = Some(affinity);
        }
        self
    }
}

impl Request {
    /// Creates a call of `command` and encodes its arguments.
    pub fn typed<A: Serialize + ?Sized>(command: &str, arguments: &A) -> Self {
        Self::new(command, encode(arguments))
    }

    /// Creates a call of `command` with arguments that are already JSON text. The text is not checked; if it is not an object, the
    /// worker answers `malformed`.
    pub fn encoded(command: &str, arguments: Bytes) -> Self {
        Self::new(command, Ok(arguments))
    }

    fn new(command: &str, body: Result<Bytes>) -> Self {
        Self { command: command.into(), body, session: None, timeout: None, idempotent: None }
    }

    pub(crate) fn command(&self) -> &Arc<str> {
        &self.command
    }

    /// The call's session; an id that can't be one is answered when the call is submitted.
    pub fn session(&mut self, session: Option<Result<SessionCall>>) {
        self.session = session;
    }

    /// The whole deadline.
    pub fn timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Whether it may run again.
    pub fn idempotent(&mut self, idempotent: Option<bool>) {
        self.idempotent = idempotent;
    }

    pub(crate) fn incoming(
        self,
        id: CallId,
        deadline: Timestamp,
        reply: oneshot::Sender<Answer>,
        permit: Option<Permit>,
    ) -> Result<Incoming> {
        let Self { command, body, session, idempotent, .. } = self;
        Ok(Incoming { id, command, session: session.transpose()?, body: body?, deadline, idempotent, reply, permit })
    }
}

fn encode<A: Serialize + ?Sized>(arguments: &A) -> Result<Bytes> {
    let bytes = serde_json::to_vec(arguments).map_err(Error::malformed)?;
    if bytes.first() == Some(&b'{') {
        return Ok(bytes.into());
    }
    Err(Error::Malformed { message: "the arguments must be encoded as a JSON object".into(), cause: None })
}
