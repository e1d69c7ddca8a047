//! A call as a scripted command sees it. Holds its arguments, and a way to its session's state.

use super::Fault;
use crate::{SessionId, WorkerRef, testing::wire::CallFrame};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::{cell::RefCell, rc::Rc};

/// One run of a command.
///
/// ```
/// use herder_actors::testing::{Fault, Script};
///
/// #[derive(serde::Deserialize)]
/// struct Add {
///     item: String,
///     count: u64,
/// }
///
/// let script = Script::new().command("add", async |call| {
///     let Add { item, count } = call.parse()?; // what does not fit is Error::BadArguments
///     let cart = call.session().ok_or_else(|| Fault::rejected("whose cart?"))?;
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
}

/// The session of a call, with the state that its worker keeps for it: `Null` when it begins. It is gone with the session's life,
/// and with the worker.
#[derive(Clone, Debug)]
pub struct Session {
    id: SessionId,
    state: Rc<RefCell<Value>>,
}

impl Invocation {
    pub(super) fn new(worker: WorkerRef, call: &CallFrame, session: Option<Session>) -> Result<Self, Fault> {
        let arguments = serde_json::from_slice(&call.payload).map_err(|error| misfit(&error))?;
        Ok(Self { worker, command: call.command.clone(), arguments, session })
    }

    /// The process that runs it.
    pub fn worker(&self) -> WorkerRef {
        self.worker
    }

    /// The command's name.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// Its arguments: an object.
    pub fn arguments(&self) -> &Value {
        &self.arguments
    }

    /// All arguments, as a type of yours.
    ///
    /// # Errors
    /// When they do not fit: the caller's `Error::BadArguments`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        T::deserialize(&self.arguments).map_err(|error| misfit(&error))
    }

    /// One argument, `Null` if it is not there, as a type of yours.
    ///
    /// # Errors
    /// When it does not fit: the caller's `Error::BadArguments`.
    pub fn argument<T: DeserializeOwned>(&self, name: &str) -> Result<T, Fault> {
        let one = &self.arguments[name];
        T::deserialize(one).map_err(|error| Fault::bad_arguments(&format!("{name}: {error}")))
    }

    /// The session it belongs to, if it has one.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }
}

impl Session {
    pub(super) fn new(id: SessionId, state: Rc<RefCell<Value>>) -> Self {
        Self { id, state }
    }

    /// Its id.
    pub fn id(&self) -> &str {
        self.id.as_str()
    }

    /// Looks at its state and may change it.
    ///
    /// # Panics
    /// When it is called from within itself.
    pub fn with<T>(&self, change: impl FnOnce(&mut Value) -> T) -> T {
        change(&mut self.state.borrow_mut())
    }
}

fn misfit(error: &serde_json::Error) -> Fault {
    Fault::bad_arguments(&error.to_string())
}
