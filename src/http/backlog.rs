//! How long a caller that a full queue refused should wait: until the queue is expected to be empty. Cached for a second, so that a pool that
//! refuses thousands of calls is not asked for each of them.

use super::pools::Pools;
use crate::{Error, Pool};
use actix_web::{rt, web};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// For how long a pool is not asked again.
const FRESH: Duration = Duration::from_secs(1);
/// For how long its answer is used: an older one is about another backlog.
const KNOWN: Duration = Duration::from_secs(10);

/// The last answer of each pool, by name.
#[derive(Debug, Default)]
pub(super) struct BacklogCache(Mutex<HashMap<String, CachedWait>>);

#[derive(Clone, Copy, Debug)]
struct CachedWait {
    asked: Instant,
    wait: Option<Duration>,
}

/// Returns the expected wait, if a full queue refused the call and the wait is known. If it is older than a second, the pool is asked again in the
/// background: a refusal never waits. A pool knows it after 32 finished attempts, with `queue.shed` on.
pub(super) fn wait(pools: &web::Data<Pools>, pool: &Pool, error: &Error) -> Option<Duration> {
    if !matches!(error, Error::QueueFull { .. }) {
        return None;
    }
    let (known, is_fresh) = pools.1.lookup(pool.name().as_str());
    if !is_fresh {
        let (pools, pool) = (pools.clone(), pool.clone());
        rt::spawn(async move {
            if let Ok(status) = pool.status().await {
                pools.1.put(pool.name().as_str(), status.queue.expected_wait_ms.map(Duration::from_millis));
            }
        });
    }
    known
}

impl BacklogCache {
    /// What was said last, and whether that is fresh. If not, the caller is the one who asks.
    #[expect(clippy::disallowed_methods, reason = "a pool is asked once a second at most")]
    fn lookup(&self, name: &str) -> (Option<Duration>, bool) {
        let (now, mut all) = (Instant::now(), self.lock());
        match all.get_mut(name) {
            Some(seen) if now.duration_since(seen.asked) < FRESH => (seen.wait, true),
            Some(seen) => {
                let age = now.duration_since(std::mem::replace(&mut seen.asked, now));
                seen.wait.take_if(|_| age > KNOWN);
                (seen.wait, false)
            }
            None => {
                all.insert(name.into(), CachedWait { asked: now, wait: None });
                (None, false)
            }
        }
    }

    fn put(&self, name: &str, wait: Option<Duration>) {
        if let Some(seen) = self.lock().get_mut(name) {
            seen.wait = wait;
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, CachedWait>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
