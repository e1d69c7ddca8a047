//! The `Retry-After` of a call that a full queue refused: the estimated wait until the queue is empty. It is cached for
//! a second, so that a pool that refuses thousands of calls is not queried for each of them.

use crate::Pool;
use actix_web::rt;
use herder_actors::Error;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a cached wait counts as fresh. An older one is queried again.
const FRESH: Duration = Duration::from_secs(1);
/// How long a cached wait is used. An older one describes another backlog.
const KNOWN: Duration = Duration::from_secs(10);

/// The last known time that a call waits in the queue of each pool, by the name of the pool.
#[derive(Debug, Default)]
pub(super) struct BacklogCache(Mutex<HashMap<String, CachedWait>>);

#[derive(Clone, Copy, Debug)]
struct CachedWait {
    queried_at: Instant,
    wait: Option<Duration>,
}

/// Returns the estimated wait if a full queue refused the call and the wait is known. A pool estimates the wait
/// after 32 finished attempts, if `queue.shed` is on.
///
/// A wait that is older than a second is still returned, and the pool is queried in the background: a refusal must not
/// wait for the pool, which is overloaded at this moment.
pub(super) fn wait(waits: &Arc<BacklogCache>, pool: &Pool, error: &Error) -> Option<Duration> {
    if !matches!(error, Error::QueueFull { .. }) {
        return None;
    }
    let (known, is_fresh) = waits.lookup(pool.name().as_str());
    if !is_fresh {
        let (waits, pool) = (waits.clone(), pool.clone());
        rt::spawn(async move {
            if let Ok(status) = pool.status().await {
                waits.put(pool.name().as_str(), status.queue.estimated_wait_ms.map(Duration::from_millis));
            }
        });
    }
    known
}

impl BacklogCache {
    /// Returns the last known wait, and whether it is fresh. If it is not, the caller must query the pool.
    #[expect(clippy::disallowed_methods, reason = "a pool is asked once a second at most")]
    fn lookup(&self, name: &str) -> (Option<Duration>, bool) {
        let (now, mut all) = (Instant::now(), self.lock());
        match all.get_mut(name) {
            Some(entry) if now.duration_since(entry.queried_at) < FRESH => (entry.wait, true),
            Some(entry) => {
                // The time is updated before the pool is queried: of many refusals at the same moment, only the first
                // one finds the entry stale and queries the pool.
                let age = now.duration_since(std::mem::replace(&mut entry.queried_at, now));
                entry.wait.take_if(|_| age > KNOWN);
                (entry.wait, false)
            }
            None => {
                all.insert(name.into(), CachedWait { queried_at: now, wait: None });
                (None, false)
            }
        }
    }

    fn put(&self, name: &str, wait: Option<Duration>) {
        if let Some(entry) = self.lock().get_mut(name) {
            entry.wait = wait;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CachedWait>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
