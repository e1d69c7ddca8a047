//! Small random pools of every type. Their limits are so tight, and their times so short, that schedules reach all of
//! them.

use super::rng::Rng;
use herder_core::{
    Affinity, AffinitySettings, Backoff, BreakerSettings, CancelSettings, CountedFailures, Expiry, HealthSettings,
    OnExpired, Pipeline, PoisonSettings, QueueSettings, RestartSettings, RetrySettings, SessionSettings, Settings,
    StreamSettings, WorkerTypeSettings,
};
use std::time::Duration;

pub(crate) const MODES: [Affinity; 3] = [Affinity::StrictQueue, Affinity::Hint, Affinity::StrictFailFast];

/// The longest quarantine of these pools.
pub(crate) const MAX_QUARANTINE: Duration = Duration::from_millis(200);

pub(crate) fn random(rng: &mut Rng) -> Settings {
    let kind = kind(rng);
    let settings = Settings {
        pool_size: rng.range(1, 4),
        overflow: rng.range(0, 2),
        overflow_delay: Duration::ZERO,
        concurrency: rng.range(1, 2),
        pipeline: rng.range(1, 2).into(),
        queue: QueueSettings {
            limit: rng.below(9),
            per_session: 1 + rng.below(4),
            timeout: rng.millis(5, 200),
            shed: rng.chance(50),
        },
        start_timeout: rng.millis(50, 300),
        start_batch: rng.range(1, 4),
        lazy: false,
        overflow_idle_timeout: rng.millis(10, 200),
        cancel: CancelSettings {
            interrupt: rng.millis(1, 30),
            kill: rng.millis(31, 100),
            withdrawn: rng.millis(50, 200),
        },
        stream: StreamSettings { stall: Duration::from_millis(40) },
        stop_timeout: rng.millis(1, 200),
        health: {
            let (interval, timeout) = (rng.millis(20, 200), rng.millis(5, 50));
            HealthSettings { interval, timeout, examination: timeout, failures: rng.range(1, 3) }
        },
        restart: RestartSettings {
            max: rng.range(1, 8),
            window: rng.millis(100, 1000),
            min_uptime: rng.millis(1, 100),
            backoff: rng.millis(1, 20),
            max_backoff: rng.millis(20, 100),
            cooldown: rng.millis(20, 200),
        },
        retry: retry(rng),
        breaker: rng.chance(30).then(|| breaker(rng)),
        poison: rng
            .chance(50)
            .then(|| PoisonSettings { max_worker_deaths: rng.range(1, 3), quarantine: rng.millis(10, 200) }),
        sessions: SessionSettings {
            timeout: rng.millis(10, 500),
            cleanup_interval: rng.millis(50, 300),
            max: 1 + rng.below(6),
        },
        worker_type: kind,
    };
    // Every other pool decides by itself. This is not drawn, so that the schedules of the corpus stay the same.
    let is_adaptive = settings.cancel.withdrawn.as_millis().is_multiple_of(2);
    let pipeline = if is_adaptive { Pipeline::Auto } else { settings.pipeline };
    // Nor is this one: every other pool starts overflow workers at once.
    let is_delayed = settings.overflow_idle_timeout.as_millis().is_multiple_of(2);
    let overflow_delay = if is_delayed { settings.overflow_idle_timeout / 8 } else { Duration::ZERO };
    // Nor this one: one pool of three is lazy. Its first call must find room in the queue.
    let lazy = settings.queue.limit > 0 && settings.start_timeout.as_millis().is_multiple_of(3);
    Settings { pipeline, overflow_delay, lazy, ..settings }
}

fn retry(rng: &mut Rng) -> RetrySettings {
    let backoff = match rng.below(5) {
        0 => Backoff::Linear,
        1 => Backoff::Exponential,
        2 => Backoff::Fibonacci,
        3 => Backoff::Decorrelated,
        _ => Backoff::Custom((0..rng.below(3)).map(|_| rng.millis(0, 20)).collect()),
    };
    let (base, max) = (rng.millis(0, 20), rng.millis(20, 100));
    let (jitter, budget) = (rng.range(0, 1000), rng.range(0, 1000));
    RetrySettings { attempts: rng.range(1, 3), backoff, base, max, jitter, budget }
}

fn breaker(rng: &mut Rng) -> BreakerSettings {
    let (failures, successes, probes) = (rng.range(1, 5), rng.range(1, 3), rng.range(1, 3));
    let mut likely = || rng.chance(50);
    let counts = CountedFailures { timeout: likely(), connection: likely(), signal: likely(), python: likely() };
    BreakerSettings {
        failure_threshold: failures,
        success_threshold: successes,
        open_duration: rng.millis(5, 200),
        half_open_max_calls: probes,
        counts,
    }
}

fn kind(rng: &mut Rng) -> WorkerTypeSettings {
    if rng.chance(15) {
        return WorkerTypeSettings::Basic;
    }
    let expiry = match rng.below(2) {
        0 => Expiry::Immediate,
        _ => Expiry::TwoPhase { grace: rng.millis(0, 60) },
    };
    let mode = MODES[rng.below(3)];
    let reject = rng.chance(50) && expiry != Expiry::Immediate;
    let on_expired = if reject { OnExpired::Reject } else { OnExpired::Rebind };
    WorkerTypeSettings::Enhanced {
        session_affinity: rng.chance(90).then_some(AffinitySettings { expiry, mode, on_expired }),
        worker_metrics: rng.chance(50),
        state_machine: rng.chance(50),
    }
}
