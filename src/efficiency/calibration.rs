//! [`Calibration`]: an environment measured here. Keeps the last of each pool and command, and the very last of all.

use super::{MeasureError, samples};
use crate::{
    PoolConfig, legacy,
    performance::{Environment, Expected, Plan, calculate_expected_performance},
};
use serde::Serialize;
use serde_json::Value;
use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// So many calibrations are kept.
const KEPT: usize = 64;

static CACHE: Mutex<Vec<(Key, Calibration)>> = Mutex::new(Vec::new());

type Key = (PoolConfig, String, Value);

/// An environment, as it was measured here: cores, the start of the interpreter and of the application, a command alone and beside
/// others, the way to the worker and back, and the load.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Calibration {
    /// What was measured.
    pub environment: Environment,
    /// When.
    pub at: SystemTime,
}

impl Calibration {
    /// Measures with a pool of its own, of as many workers as there are cores; takes some seconds, more for commands over 100 ms.
    ///
    /// # Errors
    /// When the pool can't be started, or the command fails.
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

    /// The last of this pool and command if it is no older than that, or a new one.
    ///
    /// # Errors
    /// As [`measure`](Self::measure).
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

    /// The last one of this process, of whatever pool and command.
    pub fn last() -> Option<Self> {
        find(|_| true)
    }

    /// How long ago it was.
    #[expect(clippy::disallowed_methods, reason = "returns the age")]
    pub fn age(&self) -> Duration {
        self.at.elapsed().unwrap_or_default()
    }
}

fn find(is_it: impl Fn(&Key) -> bool) -> Option<Calibration> {
    let cache = CACHE.lock().unwrap_or_else(PoisonError::into_inner);
    cache.iter().rev().find(|(key, _)| is_it(key)).map(|(_, calibration)| *calibration)
}

/// How long a cold pool of so many workers is expected to take for so many calls: in the environment that this process calibrated last,
/// or in [`legacy::ENVIRONMENT`] if it did not. [`calculate_expected_performance`] takes an environment and any plan.
///
/// ```
/// use herder::efficiency::calculate_expected_time;
/// let expected = calculate_expected_time(2, 6); // nothing was calibrated here: 2 s and 0.5 s a worker, 100 ms a call
/// assert_eq!((expected.waves, expected.likely.as_millis()), (3, 5300));
/// ```
pub fn calculate_expected_time(workers: usize, operations: usize) -> Expected {
    let environment = Calibration::last().map_or(legacy::ENVIRONMENT, |last| last.environment);
    calculate_expected_performance(&environment).time(Plan::cold(workers, operations))
}
