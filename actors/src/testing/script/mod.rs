//! Workers that are closures: no process, no Python, and the whole of the pool otherwise. Holds what a script says; a worker that
//! follows it is in `worker`.

mod fault;
mod invocation;
mod worker;
mod workers;

pub use fault::Fault;
pub use invocation::{Invocation, Session};
pub use workers::{ScriptedWorkers, StartBehavior};

use super::VirtualClock;
use serde_json::Value;
use std::{collections::BTreeMap, fmt, future::Future, pin::Pin, sync::Arc};

/// What the workers of a pool do: a closure for each command.
///
/// A closure gets an [`Invocation`] and gives the call's value or a [`Fault`]. It is async, so that it may wait for what the test
/// decides (a `tokio::sync::Notify`, a channel); it runs on the pool's thread, so it must not block. A worker runs as many at once as
/// the pool's `concurrency` says. One that panics answers with an error, as a handler that raises does.
///
/// ```
/// use herder_actors::testing::{Fault, Script};
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
    commands: BTreeMap<String, Command>,
}

#[derive(Clone)]
struct Command {
    idempotent: bool,
    handler: Handler,
}

type Outcome = Result<Value, Fault>;
type Handler = Arc<dyn Fn(Invocation) -> Pin<Box<dyn Future<Output = Outcome>>> + Send + Sync>;

impl Script {
    /// Workers without a command.
    pub fn new() -> Self {
        Self::default()
    }

    /// A command, with what it does. Of two of one name the later counts.
    #[must_use]
    pub fn command<F>(self, name: &str, handler: F) -> Self
    where
        F: AsyncFn(Invocation) -> Result<Value, Fault> + Send + Sync + 'static,
    {
        self.with(name, false, handler)
    }

    /// The same for one that may run twice: its calls survive their worker.
    #[must_use]
    pub fn idempotent<F>(self, name: &str, handler: F) -> Self
    where
        F: AsyncFn(Invocation) -> Result<Value, Fault> + Send + Sync + 'static,
    {
        self.with(name, true, handler)
    }

    /// A launcher whose workers follow this script: for `PoolSupervisor::with_launcher`.
    pub fn workers(self) -> ScriptedWorkers {
        ScriptedWorkers::new(self, crate::clock::Clock::default())
    }

    /// The same for a pool that goes by this clock.
    pub fn workers_on(self, clock: &VirtualClock) -> ScriptedWorkers {
        ScriptedWorkers::new(self, crate::clock::Clock::virtual_clock(clock.clone()))
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
