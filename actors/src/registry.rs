//! Names of live actors, process-wide: an actor finds another by name and type, whatever arbiter it runs on (R3, R4).
//!
//! Holds weak addresses only: a registration does not keep its actor alive. An entry belongs to one instance of an actor and
//! is removed by name *and* instance, so that a stopped actor's registration cannot remove its successor's entry.

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
static RELEASED: Notify = Notify::const_new();

struct Entry {
    instance: u64,
    /// The process in which the actor runs. A forked copy of that process has this entry, too, but not the actor.
    process: ProcessMark,
    address: Box<dyn Any + Send>,
    is_live: Box<dyn Fn() -> bool + Send>,
}

impl Entry {
    /// Returns the entry of a name if its actor runs in this process. In a forked copy the address must not be used: it
    /// belongs to the runtime of the other process.
    fn here<'a>(names: &'a HashMap<String, Self>, name: &str) -> Option<&'a Self> {
        names.get(name).filter(|entry| entry.process.is_here())
    }
}

/// The name is registered by a live actor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name `{0}` is already registered by a running actor")]
pub struct NameTaken(pub String);

/// The registration of a name. Dropping it releases the name.
#[derive(Debug)]
pub struct Registration {
    name: String,
    instance: u64,
}

/// Whether a registration replaced another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registered {
    /// The name was free.
    New,
    /// The entry of a stopped actor was replaced.
    ReplacedDead,
}

/// Registers an actor under a name. O(1); never waits for an actor.
///
/// # Errors
/// [`NameTaken`] while a live actor has the name.
pub fn register<A>(name: impl Into<String>, address: &Addr<A>) -> Result<(Registration, Registered), NameTaken>
where
    A: Actor<Context = actix::Context<A>>,
{
    let name = name.into();
    // The lock is held from the check to the insertion: of two actors that register the same free name, one must fail.
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let before = Entry::here(&names, &name).map(|entry| (entry.is_live)());
    if before == Some(true) {
        return Err(NameTaken(name));
    }
    let (weak, instance) = (address.downgrade(), INSTANCES.fetch_add(1, Ordering::Relaxed));
    let weak_clone = weak.clone();
    let is_live = Box::new(move || upgrade_live(&weak_clone).is_some());
    let process = ProcessMark::here();
    names.insert(name.clone(), Entry { instance, process, address: Box::new(weak), is_live });
    let outcome = if before.is_some() { Registered::ReplacedDead } else { Registered::New };
    Ok((Registration { name, instance }, outcome))
}

/// Returns the live actor of this name and type.
///
/// ```
/// # use herder_actors::{PoolSupervisor, registry};
/// assert!(registry::lookup::<PoolSupervisor>("nobody").is_none());
/// ```
pub fn lookup<A>(name: &str) -> Option<Addr<A>>
where
    A: Actor<Context = actix::Context<A>>,
{
    let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    upgrade_live(Entry::here(&names, name)?.address.downcast_ref::<WeakAddr<A>>()?)
}

/// The actor that has a name, as seen by code that expects one actor type.
pub(crate) enum Holder<T> {
    /// No live actor has the name.
    Free,
    /// An actor of the expected type, and the result of the closure.
    Known(T),
    /// An actor of another type.
    Other,
}

/// Runs a closure with the address of the actor that has a name. The address is dropped before the registry is unlocked: a
/// pool that asks whether it has addresses left (see [`while_locked`]) must not count this one.
pub(crate) fn with_holder<A, T>(name: &str, query: impl FnOnce(&Addr<A>) -> T) -> Holder<T>
where
    A: Actor<Context = actix::Context<A>>,
{
    let names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(entry) = Entry::here(&names, name).filter(|entry| (entry.is_live)()) else { return Holder::Free };
    let Some(weak) = entry.address.downcast_ref::<WeakAddr<A>>() else { return Holder::Other };
    upgrade_live(weak).map_or(Holder::Free, |address| Holder::Known(query(&address)))
}

/// Returns a future that is ready when any name is released after the future was enabled or polled.
pub(crate) fn name_released() -> Notified<'static> {
    RELEASED.notified()
}

/// Runs a closure while the registry is locked, so that it creates no temporary addresses: an actor counts those as its own.
pub(crate) fn while_locked<T>(query: impl FnOnce() -> T) -> T {
    let _names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    query()
}

/// Returns the address if its actor can be reached. After a panic addresses may be left, but the actor does not answer.
fn upgrade_live<A>(weak: &WeakAddr<A>) -> Option<Addr<A>>
where
    A: Actor<Context = actix::Context<A>>,
{
    weak.upgrade().filter(Addr::connected)
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        // If this actor died and its entry was replaced, the entry belongs to the successor.
        if names.get(&self.name).is_some_and(|entry| entry.instance == self.instance) {
            names.remove(&self.name);
        }
        // Notified after the removal and without the lock: a woken task looks the name up at once.
        drop(names);
        RELEASED.notify_waiters();
    }
}
