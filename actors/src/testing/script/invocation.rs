//! A call as a scripted command sees it. Holds the arguments and a reference to the session's state.

use super::Fault;
use herder_core::{SessionId, WorkerRef};
use herder_wire::{CallFrame, CallHeaders};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{cell::RefCell, rc::Rc};

/// One invocation of a command.
///
/// ```
/// # use herder_actors::testing::{Fault, Script};
///
/// #[derive(serde::Deserialize)]
/// struct Add {
///     item: String,
///     count: u64,
/// }
///
/// let script = Script::new().command("add", async |call| {
///     let Add { item, count } = call.parse()?; // wrong arguments are Error::BadArguments
///     let cart = call.session().ok_or_else(|| Fault::rejected("a session is required"))?;
///     Ok(cart.with(|state| {
///         state[&item] = (state[&item].as_u64().unwrap_or(0) + count).into();
///         state.clone()
///     }))
/// });
/// # drop(script);
/// ```
#[derive(Clone, Debug)]
pub struct Invocation {
    worker: WorkerRef,
    command: Box<str>,
    arguments: Value,
    session: Option<Session>,
    headers: CallHeaders,
}

/// The session of a call, with the state that its worker keeps: `Null` at first. The state is dropped when the session ends
/// or the worker exits.
#[derive(Clone, Debug)]
pub struct Session {
    id: SessionId,
    state: Rc<RefCell<Value>>,
}

impl Invocation {
    pub(super) fn new(
        worker: WorkerRef,
        call: &CallFrame,
        session: Option<Session>,
        headers: CallHeaders,
    ) -> Result<Self, Fault> {
        let arguments = serde_json::from_slice(&call.payload).map_err(|error| bad_arguments(&error))?;
        Ok(Self { worker, command: call.command.clone(), arguments, session, headers })
    }

    /// Returns the process that runs the call.
    pub fn worker(&self) -> WorkerRef {
        self.worker
    }

    /// Returns the name of the command.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Returns the arguments: an object.
    pub fn arguments(&self) -> &Value {
        &self.arguments
    }

    /// Deserializes all arguments.
    ///
    /// # Errors
    /// If they do not match: the caller gets `Error::BadArguments`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        T::deserialize(&self.arguments).map_err(|error| bad_arguments(&error))
    }

    /// Deserializes one argument; `Null` if it is missing.
    ///
    /// # Errors
    /// If it does not match: the caller gets `Error::BadArguments`.
    pub fn argument<T: DeserializeOwned>(&self, name: &str) -> Result<T, Fault> {
        let one = &self.arguments[name];
        T::deserialize(one).map_err(|error| Fault::bad_arguments(&format!("{name}: {error}")))
    }

    /// Returns the value of a header of the call, whose name is given in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)
    }

    /// Returns the call's session.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }
}

impl Session {
    pub(super) fn new(id: SessionId, state: Rc<RefCell<Value>>) -> Self {
        Self { id, state }
    }

    /// Returns the session id.
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Reads or changes the session's state.
    ///
    /// # Panics
    /// If it is called inside `change`.
    pub fn with<T>(&self, change: impl FnOnce(&mut Value) -> T) -> T {
        change(&mut self.state.borrow_mut())
    }
}

fn bad_arguments(error: &serde_json::Error) -> Fault {
    Fault::bad_arguments(&error.to_string())
}
