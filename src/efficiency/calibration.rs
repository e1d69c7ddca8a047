//! [`Calibration`]: a measured environment. Keeps the most recent calibrations of this process, one for each pool,
//! command and arguments.

use super::{MeasureError, samples};
use crate::efficiency::legacy;
use herder_actors::PoolConfig;
use herder_efficiency::performance::{Environment, Expected, Plan, calculate_expected_performance};
use serde::Serialize;
use serde_json::Value;
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// The number of calibrations that are kept.
const KEPT: usize = 64;

static CACHE: Mutex<Vec<(Key, Calibration)>> = Mutex::new(Vec::new());

type Key = (PoolConfig, String, Value);

/// A measured environment: the cores, the start of the interpreter and of the app, the duration of a command alone and
/// next to others, the overhead of a call, and the load of other processes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// The measured environment.
    pub environment: Environment,
    /// The time of the measurement.
    pub at: SystemTime,
}

impl Calibration {
    /// Measures with a separate pool that has one worker per core. Takes some seconds, and more for commands over 100
    /// ms.
    ///
    /// # Errors
    /// Fails if the pool cannot be started, or the command fails.
    pub async fn measure(
        config: &PoolConfig,
        command: &str,
        arguments: &(impl Serialize + ?Sized),
    ) -> Result<Self, MeasureError> {
        let arguments = serde_json::to_value(arguments).map_err(|error| MeasureError::Arguments(error.to_string()))?;
        let calibration =
            Self { environment: samples::environment(config, command, &arguments).await?, at: SystemTime::now() };
        let mut cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (config.clone(), command.to_owned(), arguments);
        cache.retain(|(kept, _)| *kept != key);
        let old = cache.len().saturating_sub(KEPT - 1);
        cache.drain(..old);
        cache.push((key, calibration));
        Ok(calibration)
    }

    /// Returns the last calibration for this pool, command and arguments, if it is not older than `max_age`. Otherwise
    /// measures.
    ///
    /// # Errors
    /// See [`measure`](Self::measure).
    pub async fn cached(
        config: &PoolConfig,
        command: &str,
        arguments: &(impl Serialize + ?Sized),
        max_age: Duration,
    ) -> Result<Self, MeasureError> {
        let value = serde_json::to_value(arguments).map_err(|error| MeasureError::Arguments(error.to_string()))?;
        let kept = find(|(of, named, with)| (of, &**named, with) == (config, command, &value));
        match kept.filter(|kept| kept.age() <= max_age) {
            Some(kept) => Ok(kept),
            None => Self::measure(config, command, arguments).await,
        }
    }

    /// Returns the last calibration of this process, for any pool and command.
    pub fn last() -> Option<Self> {
        find(|_| true)
    }

    /// Returns the time since the measurement.
    #[expect(clippy::disallowed_methods, reason = "returns the age")]
    pub fn age(&self) -> Duration {
        self.at.elapsed().unwrap_or_default()
    }
}

fn find(matches: impl Fn(&Key) -> bool) -> Option<Calibration> {
    let cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    cache.iter().rev().find(|(key, _)| matches(key)).map(|(_, calibration)| *calibration)
}

/// Calculates how long a cold pool with this number of workers is expected to take for this number of calls: in the
/// environment of the last calibration of this process, or in [`legacy::ENVIRONMENT`] if there is none.
/// [`calculate_expected_performance`] accepts any environment and plan.
///
/// ```
/// use herder::efficiency::calculate_expected_time;
/// let expected = calculate_expected_time(2, 6); // without a calibration: 2 s and 0.5 s per worker, 100 ms per call
/// assert_eq!((expected.waves, expected.likely.as_millis()), (3, 5300));
/// ```
pub fn calculate_expected_time(workers: usize, operations: usize) -> Expected {
    let environment = Calibration::last().map_or(legacy::ENVIRONMENT, |last| last.environment);
    calculate_expected_performance(&environment).time(Plan::cold(workers, operations))
}
