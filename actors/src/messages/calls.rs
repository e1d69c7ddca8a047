//! The messages that make calls, with and without a session.

use crate::{Affinity, Error, IfAbsent, Reply, Result};
use actix::Message;
use bytes::Bytes;
use herder_core::{SessionCall, SessionId, Timestamp};
use herder_wire::{Buffer, CallBuffers, CallHeaders};
use serde::Serialize;
use std::{sync::Arc, time::Duration};

/// Runs a command on any worker. Sent to the pool's supervisor, which answers with the worker's [`Reply`].
///
/// Dropping the request before the answer cancels the call. `Execute` replaces the original's `execute_anonymous`.
///
/// ```
/// # use herder_actors::Execute;
/// use std::time::Duration;
/// let call = Execute::new("price", &serde_json::json!({ "item": "tea" })).timeout(Duration::from_secs(2));
/// ```
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Reply>")]
pub struct Execute(pub(crate) Request);

/// Runs a command in a session; in a pool with session affinity, on the worker that holds the session's state.
///
/// Replaces the original's `execute_in_session`.
#[derive(Clone, Debug, Message)]
#[rtype(result = "Result<Reply>")]
pub struct ExecuteInSession(pub(crate) Request);

/// A call that was not submitted yet.
#[derive(Clone, Debug)]
pub struct Request {
    pub(crate) command: Arc<str>,
    pub(crate) body: Result<Bytes>,
    pub(crate) session: Option<Result<SessionCall>>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) idempotent: Option<bool>,
    /// The longest time between two items, if the call is submitted as a stream.
    pub(crate) idle: Option<Duration>,
    /// In a box, since most calls have none.
    pub(crate) headers: Option<Box<Result<CallHeaders>>>,
    /// In a box, since most calls have none.
    pub(crate) buffers: Option<Box<CallBuffers>>,
    /// When the request from elsewhere arrived that this call answers.
    pub(crate) served_since: Option<Timestamp>,
}

impl Execute {
    /// Creates a call of `command`. The arguments must encode as a JSON object.
    ///
    /// If the arguments cannot be encoded, the answer is [`Error::Malformed`].
    pub fn new<A: Serialize + ?Sized>(command: &str, arguments: &A) -> Self {
        Self(Request::typed(command, arguments))
    }

    /// Sets the deadline of the call, counted from its submission: it covers the queue, the run and all retries. Default: the
    /// pool's `timeout`.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = Some(timeout);
        self
    }

    /// Sets whether the call may run again if its worker dies during the call. Default: as the handler declares.
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.0.idempotent = Some(idempotent);
        self
    }

    /// Adds a header, which the handler can read, in lower case and without control characters.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.0.header(name, value);
        self
    }

    /// Adds an argument that is a buffer: bytes, or a [`Buffer`] with a shape or a media type.
    #[must_use]
    pub fn attach(mut self, name: &str, buffer: impl Into<Buffer>) -> Self {
        self.0.attach(name, buffer.into());
        self
    }

    /// Lets the result have buffers ([`Reply::buffers`]). Otherwise binary data in it has its form in JSON.
    #[must_use]
    pub fn take_buffers(mut self) -> Self {
        self.0.take_buffers();
        self
    }
}

impl ExecuteInSession {
    /// Creates a call of `command` in `session`. The arguments must encode as a JSON object.
    ///
    /// If the arguments cannot be encoded or the session id is invalid, the answer is that error.
    pub fn new<A: Serialize + ?Sized>(session: &str, command: &str, arguments: &A) -> Self {
        let id = SessionId::new(session).map_err(Error::from);
        let session = id.map(|id| SessionCall { id, if_absent: IfAbsent::Create, affinity: None });
        Self(Request { session: Some(session), ..Request::typed(command, arguments) })
    }

    /// Sets the deadline of the call, counted from its submission: it covers the queue, the run and all retries. Default: the
    /// pool's `timeout`.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = Some(timeout);
        self
    }

    /// Sets whether the call may run again if its worker dies during the call. Default: as the handler declares.
    #[must_use]
    pub fn idempotent(mut self, idempotent: bool) -> Self {
        self.0.idempotent = Some(idempotent);
        self
    }

    /// Adds a header, which the handler can read, in lower case and without control characters.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.0.header(name, value);
        self
    }

    /// Adds an argument that is a buffer: bytes, or a [`Buffer`] with a shape or a media type.
    #[must_use]
    pub fn attach(mut self, name: &str, buffer: impl Into<Buffer>) -> Self {
        self.0.attach(name, buffer.into());
        self
    }

    /// Lets the result have buffers ([`Reply::buffers`]). Otherwise binary data in it has its form in JSON.
    #[must_use]
    pub fn take_buffers(mut self) -> Self {
        self.0.take_buffers();
        self
    }

    /// Sets what happens if there is no such session. Default: it is created.
    #[must_use]
    pub fn if_absent(mut self, if_absent: IfAbsent) -> Self {
        if let Some(Ok(session)) = &mut self.0.session {
            session.if_absent = if_absent;
        }
        self
    }

    /// Sets how strictly the call keeps to the session's worker. Default: the pool's mode.
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

    /// Creates a call of `command` with arguments that are already JSON text. The text is not checked; if it is not an
    /// object, the worker answers `malformed`.
    pub fn encoded(command: &str, arguments: Bytes) -> Self {
        Self::new(command, Ok(arguments))
    }

    fn new(command: &str, body: Result<Bytes>) -> Self {
        Self {
            command: command.into(),
            body,
            session: None,
            timeout: None,
            idempotent: None,
            idle: None,
            headers: None,
            buffers: None,
            served_since: None,
        }
    }

    pub(crate) fn command(&self) -> &Arc<str> {
        &self.command
    }

    /// Sets the session. An error is returned when the call is submitted.
    pub fn session(&mut self, session: Option<Result<SessionCall>>) {
        self.session = session;
    }

    /// Sets the deadline, counted from the submission.
    pub fn timeout(&mut self, timeout: Option<Duration>) {
        self.timeout = timeout;
    }

    /// Sets whether the call may run again.
    pub fn idempotent(&mut self, idempotent: Option<bool>) {
        self.idempotent = idempotent;
    }

    /// Sets the longest time between two items. Has an effect only if the call is submitted as a stream.
    pub fn idle(&mut self, idle: Option<Duration>) {
        self.idle = idle;
    }

    /// Adds an argument that is a buffer. It is sent beside the JSON.
    ///
    /// A buffer of a result in shared memory is copied now: the thread that submits the call can be that of the pool.
    pub fn attach(&mut self, name: &str, buffer: Buffer) {
        let _ = buffer.bytes();
        self.buffers.get_or_insert_default().buffers.push(buffer.named(name));
    }

    /// Lets the result have buffers. Has no effect if the call is submitted as a stream.
    pub fn take_buffers(&mut self) {
        self.buffers.get_or_insert_default().take = true;
    }

    /// Makes the call the answer to a request that has arrived at this time. In its trace, it begins then.
    pub fn served_since(&mut self, arrived: Timestamp) {
        self.served_since = Some(arrived);
    }

    /// Adds a header, which the handler can read. An invalid one is an error when the call is submitted.
    pub fn header(&mut self, name: &str, value: &str) {
        let headers = self.headers.get_or_insert_with(|| Box::new(Ok(CallHeaders::default())));
        let added = headers.as_mut().as_mut().map_or(Ok(()), |headers| headers.add(name, value));
        if let Err(invalid) = added {
            **headers = Err(Error::malformed(invalid));
        }
    }
}

fn encode<A: Serialize + ?Sized>(arguments: &A) -> Result<Bytes> {
    let bytes = serde_json::to_vec(arguments).map_err(Error::malformed)?;
    if bytes.first() == Some(&b'{') {
        return Ok(bytes.into());
    }
    Err(Error::Malformed { message: "the arguments must be encoded as a JSON object".into(), cause: None })
}
