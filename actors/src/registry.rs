//! Names of live actors, process-wide: any actor finds another by name and type, whatever arbiter it runs on (R3, R4).
//!
//! Holds weak addresses only: a name keeps nobody alive. A name belongs to an instance; removal is by name *and* instance,
//! so that what is left of a dead one can't take its successor's name away.

use actix::{Actor, Addr, WeakAddr};
use herder_process::ProcessMark;
use std::{
    any::Any,
    collections::HashMap,
    sync::{
        LazyLock, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::{Notify, futures::Notified};

static NAMES: LazyLock<Mutex<HashMap<String, Entry>>> = LazyLock::new(Mutex::default);
static INSTANCES: AtomicU64 = AtomicU64::new(1);
static RETURNED: Notify = Notify::const_new();

struct Entry {
    instance: u64,
    /// The process that the actor runs in. It does not run in copies of that process, which have this entry too.
    process: ProcessMark,
    address: Box<dyn Any + Send>,
    is_live: Box<dyn Fn() -> bool + Send>,
}

impl Entry {
    /// The entry of a name, if its actor runs in this process. In a forked copy nothing is asked of the address, which belongs to the
    /// runtime of the other process.
    fn here<'a>(names: &'a HashMap<String, Self>, name: &str) -> Option<&'a Self> {
        names.get(name).filter(|entry| entry.process.is_here())
    }
}

/// The name belongs to a live actor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name `{0}` is already registered by a running actor")]
pub struct NameTaken(pub String);

/// A name held. Dropping it gives the name back.
#[derive(Debug)]
pub struct Registration {
    name: String,
    instance: u64,
}

/// How a name came to its holder (R4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// Nobody had it.
    New,
    /// A dead actor's entry was in the way and was evicted.
    ReplacedDead,
}

/// Gives an actor a name. O(1); never waits for an actor.
///
/// # Errors
/// [`NameTaken`] while a live actor holds it.
pub fn register<A>(name: impl Into<String>, address: &Addr<A>) -> Result<(Registration, Registered), NameTaken>
where
    A: Actor<Context = actix::Context<A>>,
{
    let name = name.into();
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let before = Entry::here(&names, &name).map(|entry| (entry.is_live)());
    if before == Some(true) {
        return Err(NameTaken(name));
    }
    let (weak, instance) = (address.downgrade(), INSTANCES.fetch_add(1, Ordering::Relaxed));
    let watched = weak.clone();
    let is_live = Box::new(move || live(&watched).is_some());
    let process = ProcessMark::here();
    names.insert(name.clone(), Entry { instance, process, address: Box::new(weak), is_live });
    let outcome = if before.is_some() { Registered::ReplacedDead } else { Registered::New };
    Ok((Registration { name, instance }, outcome))
}

/// The live actor of this name and type.
///
/// ```
/// use herder_actors::{PoolSupervisor, registry};
/// assert!(registry::lookup::<PoolSupervisor>("nobody").is_none());
/// ```
pub fn lookup<A>(name: &str) -> Option<Addr<A>>
where
    A: Actor<Context = actix::Context<A>>,
{
    let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    live(Entry::here(&names, name)?.address.downcast_ref::<WeakAddr<A>>()?)
}

/// The holder of a name, as seen by code that expects one actor type.
pub(crate) enum Holder<T> {
    /// Nobody who lives.
    Nobody,
    /// One of that type, and what was found out of it.
    Known(T),
    /// An actor of another type.
    Other,
}

/// Looks at the actor that has a name. Its address is dropped before the names are unlocked: it is kept alive no longer.
pub(crate) fn with_holder<A, T>(name: &str, look: impl FnOnce(&Addr<A>) -> T) -> Holder<T>
where
    A: Actor<Context = actix::Context<A>>,
{
    let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(entry) = Entry::here(&names, name).filter(|entry| (entry.is_live)()) else { return Holder::Nobody };
    let Some(weak) = entry.address.downcast_ref::<WeakAddr<A>>() else { return Holder::Other };
    live(weak).map_or(Holder::Nobody, |address| Holder::Known(look(&address)))
}

/// Returns a future that is ready when any name is released after the future was enabled or polled.
pub(crate) fn name_returned() -> Notified<'static> {
    RETURNED.notified()
}

/// Looks at an actor while the registry makes no address of it: an actor counts those as well.
pub(crate) fn undisturbed<T>(look: impl FnOnce() -> T) -> T {
    let _names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    look()
}

/// A weak address whose actor can still be reached: after a panic it can't, though addresses may be left.
fn live<A>(weak: &WeakAddr<A>) -> Option<Addr<A>>
where
    A: Actor<Context = actix::Context<A>>,
{
    weak.upgrade().filter(Addr::connected)
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        if names.get(&self.name).is_some_and(|entry| entry.instance == self.instance) {
            names.remove(&self.name);
        }
        drop(names);
        RETURNED.notify_waiters();
    }
}
