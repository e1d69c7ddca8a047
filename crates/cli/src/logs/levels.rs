//! The filter of the log: that of `HERDER_LOG`, and for the events of single pools a level that can be changed while the
//! program runs. Holds these levels.

use herder::http::LogLevels;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};
use tracing::{
    Event, Metadata, Subscriber,
    callsite::rebuild_interest_cache,
    field::{Field, Visit},
    level_filters::LevelFilter,
    span,
    subscriber::Interest,
};
use tracing_subscriber::{EnvFilter, Layer, layer::Context, registry::LookupSpan};

/// The field of an event that names its pool.
const POOL: &str = "pool";

/// The levels that were set for pools.
#[derive(Debug)]
pub(crate) struct PoolLevels {
    levels: RwLock<BTreeMap<Box<str>, LevelFilter>>,
    /// Whether a level is set. Events are compared with the levels only then.
    is_set: AtomicBool,
    /// Held while `tracing` asks the filter again. The result of the last one counts, so it must have seen all levels.
    rebuild: Mutex<()>,
    /// The most detailed level that the filter shows of anything.
    of_filter: OnceLock<LevelFilter>,
}

impl PoolLevels {
    pub(super) const fn new() -> Self {
        Self {
            levels: RwLock::new(BTreeMap::new()),
            is_set: AtomicBool::new(false),
            rebuild: Mutex::new(()),
            of_filter: OnceLock::new(),
        }
    }

    fn get(&self, pool: &str) -> Option<LevelFilter> {
        self.levels.read().unwrap_or_else(PoisonError::into_inner).get(pool).copied()
    }

    /// Returns the most detailed of the levels.
    fn most_detailed(&self) -> Option<LevelFilter> {
        if !self.is_set.load(Ordering::Acquire) {
            return None;
        }
        self.levels.read().unwrap_or_else(PoisonError::into_inner).values().max().copied()
    }
}

impl LogLevels for &'static PoolLevels {
    fn level(&self, pool: &str) -> Option<LevelFilter> {
        self.get(pool)
    }

    fn set_level(&self, pool: &str, level: Option<LevelFilter>) {
        let mut levels = self.levels.write().unwrap_or_else(PoisonError::into_inner);
        match level {
            Some(level) => _ = levels.insert(pool.into(), level),
            None => _ = levels.remove(pool),
        }
        self.is_set.store(!levels.is_empty(), Ordering::Release);
        drop(levels); // the rebuild asks the filter, which reads the levels
        let _one_after_another = self.rebuild.lock().unwrap_or_else(PoisonError::into_inner);
        rebuild_interest_cache();
    }

    fn default_level(&self) -> Option<LevelFilter> {
        self.of_filter.get().copied()
    }
}

/// The filter of the log.
pub(super) struct PoolFilter {
    filter: EnvFilter,
    levels: &'static PoolLevels,
}

impl PoolFilter {
    pub(super) fn new(filter: EnvFilter, levels: &'static PoolLevels) -> Self {
        // A filter without a hint may show anything.
        let _ = levels.of_filter.set(filter.max_level_hint().unwrap_or(LevelFilter::TRACE));
        Self { filter, levels }
    }
}

fn is_of_a_pool(metadata: &Metadata<'_>) -> bool {
    metadata.is_event() && metadata.fields().field(POOL).is_some()
}

impl<S: Subscriber + for<'span> LookupSpan<'span>> Layer<S> for PoolFilter {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        let interest = Layer::<S>::register_callsite(&self.filter, metadata);
        match self.levels.most_detailed() {
            // The answer depends on the event.
            Some(_) if is_of_a_pool(metadata) => Interest::sometimes(),
            _ => interest,
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        let of_pool = || self.levels.most_detailed().filter(|_| is_of_a_pool(metadata));
        Layer::<S>::enabled(&self.filter, metadata, context)
            || of_pool().is_some_and(|level| *metadata.level() <= level)
    }

    fn event_enabled(&self, event: &Event<'_>, context: Context<'_, S>) -> bool {
        // Without levels, and for other events, `enabled` has decided.
        if !self.levels.is_set.load(Ordering::Acquire) || !is_of_a_pool(event.metadata()) {
            return true;
        }
        let mut pool = PoolName::default();
        event.record(&mut pool);
        match pool.0.and_then(|pool| self.levels.get(&pool)) {
            Some(level) => *event.metadata().level() <= level,
            None => Layer::<S>::enabled(&self.filter, event.metadata(), context),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let of_filter = Layer::<S>::max_level_hint(&self.filter)?;
        Some(self.levels.most_detailed().map_or(of_filter, |level| of_filter.max(level)))
    }

    // The rest is for filters with spans, such as `[request]=debug`.

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, context: Context<'_, S>) {
        Layer::<S>::on_new_span(&self.filter, attributes, id, context);
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, context: Context<'_, S>) {
        Layer::<S>::on_record(&self.filter, id, values, context);
    }

    fn on_enter(&self, id: &span::Id, context: Context<'_, S>) {
        Layer::<S>::on_enter(&self.filter, id, context);
    }

    fn on_exit(&self, id: &span::Id, context: Context<'_, S>) {
        Layer::<S>::on_exit(&self.filter, id, context);
    }

    fn on_close(&self, id: span::Id, context: Context<'_, S>) {
        Layer::<S>::on_close(&self.filter, id, context);
    }
}

/// Reads the name of an event's pool.
#[derive(Default)]
struct PoolName(Option<String>);

impl Visit for PoolName {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == POOL {
            self.0 = Some(value.to_owned());
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == POOL {
            self.0 = Some(format!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::Arc, thread};
    use tracing_subscriber::layer::SubscriberExt;

    /// Counts the events that pass the filter, by their pools.
    #[derive(Clone, Default)]
    struct Passed(Arc<Mutex<Vec<String>>>);

    impl<S: Subscriber> Layer<S> for Passed {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut pool = PoolName::default();
            event.record(&mut pool);
            self.0.lock().unwrap().push(format!("{} {}", event.metadata().level(), pool.0.unwrap_or_default()));
        }
    }

    fn log() {
        for pool in ["a", "b"] {
            tracing::debug!(%pool, "detail");
            tracing::info!(pool, "news");
        }
        tracing::debug!("detail of no pool");
        tracing::info!("news of no pool");
    }

    #[test]
    fn a_level_of_a_pool_changes_its_events_only() {
        static LEVELS: PoolLevels = PoolLevels::new();
        let passed = Passed::default();
        let filter = PoolFilter::new(EnvFilter::new("info"), &LEVELS);
        let subscriber = tracing_subscriber::registry().with(passed.clone()).with(filter);
        let logged = || {
            log();
            std::mem::take(&mut *passed.0.lock().unwrap())
        };
        tracing::subscriber::with_default(subscriber, || {
            let levels = &&LEVELS;
            assert_eq!(logged(), ["INFO a", "INFO b", "INFO "]);
            levels.set_level("a", Some(LevelFilter::DEBUG));
            assert_eq!(logged(), ["DEBUG a", "INFO a", "INFO b", "INFO "]);
            levels.set_level("b", Some(LevelFilter::WARN));
            assert_eq!((levels.level("a"), levels.level("b")), (Some(LevelFilter::DEBUG), Some(LevelFilter::WARN)));
            assert_eq!(logged(), ["DEBUG a", "INFO a", "INFO "]);
            levels.set_level("a", None);
            assert_eq!(logged(), ["INFO a", "INFO "]);
            levels.set_level("b", None);
            assert_eq!(logged(), ["INFO a", "INFO b", "INFO "]);
        });
    }

    /// Notes whether the lock is held when this thread asks for the most detailed level.
    struct Asked {
        levels: &'static PoolLevels,
        by: thread::ThreadId,
        is_locked: Arc<Mutex<Vec<bool>>>,
    }

    impl<S: Subscriber> Layer<S> for Asked {
        fn max_level_hint(&self) -> Option<LevelFilter> {
            if thread::current().id() == self.by {
                self.is_locked.lock().unwrap().push(self.levels.rebuild.try_lock().is_err());
            }
            None
        }
    }

    /// Levels of several pools that are set at the same time: what `tracing` computes last follows from all of them.
    #[test]
    fn the_filter_is_asked_about_one_change_after_another() {
        static LEVELS: PoolLevels = PoolLevels::new();
        let is_locked = Arc::<Mutex<Vec<bool>>>::default();
        let asked = Asked { levels: &LEVELS, by: thread::current().id(), is_locked: is_locked.clone() };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(asked), || {
            is_locked.lock().unwrap().clear();
            (&LEVELS).set_level("a", Some(LevelFilter::DEBUG));
        });
        assert_eq!(is_locked.lock().unwrap().first(), Some(&true));
    }
}
