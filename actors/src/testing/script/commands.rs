//! The commands of a script. Plain data; `worker` runs them.

use super::{Fault, Invocation};
use serde_json::Value;
use std::{collections::BTreeMap, fmt, future::Future, pin::Pin, sync::Arc};

/// The commands of a pool's workers: a closure for each.
///
/// A closure gets an [`Invocation`] and returns the call's value or a [`Fault`]. It is async, so that it can wait for the
/// test (a `tokio::sync::Notify`, a channel). It runs on the pool's thread and must not block. A worker runs as many calls
/// concurrently as the pool's `concurrency` allows. A closure that panics answers with an error, like a handler that raises.
///
/// ```
/// # use herder_actors::testing::{Fault, Script};
/// use serde_json::json;
///
/// let script = Script::new()
///     .command("echo", async |call| Ok(call.arguments().clone()))
///     .command("refuse", async |_| Err(Fault::rejected("not today").code("today")))
///     .command("die", async |_| Err(Fault::exit(3)))
///     .idempotent("price", async |call| {
///         let item: String = call.argument("item")?;
///         Ok(json!(item.len()))
///     })
///     .command("count", async |call| {
///         let session = call.session().ok_or_else(|| Fault::rejected("only in a session"))?;
///         Ok(session.with(|state| {
///             let n = state["n"].as_u64().unwrap_or(0) + 1;
///             state["n"] = n.into();
///             n.into()
///         }))
///     });
/// # drop(script);
/// ```
#[derive(Clone, Default)]
pub struct Script {
    pub(super) commands: BTreeMap<String, Command>,
}

#[derive(Clone)]
pub(super) struct Command {
    pub(super) idempotent: bool,
    pub(super) handler: Handler,
}

pub(super) type Outcome = Result<Value, Fault>;
pub(super) type Handler = Arc<dyn Fn(Invocation) -> Pin<Box<dyn Future<Output = Outcome>>> + Send + Sync>;

impl Script {
    /// Creates a script without commands.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a command. A second command of the same name replaces the first.
    #[must_use]
    pub fn command<F>(self, name: &str, handler: F) -> Self
    where
        F: AsyncFn(Invocation) -> Result<Value, Fault> + Send + Sync + 'static,
    {
        self.with(name, false, handler)
    }

    /// Adds an idempotent command: its calls are retried when their worker dies.
    #[must_use]
    pub fn idempotent<F>(self, name: &str, handler: F) -> Self
    where
        F: AsyncFn(Invocation) -> Result<Value, Fault> + Send + Sync + 'static,
    {
        self.with(name, true, handler)
    }

    fn with<F>(mut self, name: &str, idempotent: bool, handler: F) -> Self
    where
        F: AsyncFn(Invocation) -> Outcome + Send + Sync + 'static,
    {
        let handler = Arc::new(handler);
        let handler: Handler = Arc::new(move |call| {
            let handler = handler.clone();
            Box::pin(async move { handler(call).await })
        });
        self.commands.insert(name.into(), Command { idempotent, handler });
        self
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.commands.keys()).finish()
    }
}
