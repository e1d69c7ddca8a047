//! Builds a configuration from the given settings: applies the defaults from the table and checks bounds and the rules
//! between keys.

use super::builder::Common;
use super::launch::ResolvedProgram;
use super::table::*;
use super::{
    Basic, Breaker, Cancel, Enhanced, Features, Health, InvalidConfig, Launch, Poison, PoolBuilder, PoolConfig, Queue,
    Restart, Retry, Routed, Sessions, StartMethod, Stop, StopSettings, batches, keys,
};
use herder_core::{
    AffinitySettings, Backoff, BreakerSettings, CancelSettings, CountedFailures, Expiry, HealthSettings,
    InvalidPoolName, OnExpired, Pipeline, PoisonSettings, PoolName, QueueSettings, RestartSettings, RetrySettings,
    SessionSettings, Settings, StreamSettings, WorkerTypeSettings,
};
use herder_wire::is_header_name;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZero;
use std::thread::available_parallelism;
use std::time::Duration;

/// The maximum number of workers of a pool that start at the same time.
const START_BATCH: u32 = 8;
/// The time from SIGKILL until a shutdown reports a worker as remaining. The process must be gone from the process table by
/// then; a process in uninterruptible sleep is not.
const KILL_TIMEOUT: Duration = Duration::from_secs(1);
/// Variables that only Herder sets.
const RESERVED_VARIABLES: [&str; 7] = [
    "HERDER_FD",
    "HERDER_CTL_FD",
    "HERDER_LOG_FD",
    "HERDER_SLAB_FD",
    "HERDER_BYTECODE",
    "HERDER_SLOT",
    "HERDER_TEMPLATE",
];

impl PoolBuilder<Basic> {
    /// Checks the configuration and looks for an interpreter: reads `VIRTUAL_ENV`, and checks whether a few paths exist.
    ///
    /// # Errors
    /// The first invalid key.
    pub fn build(self) -> Result<PoolConfig, InvalidConfig> {
        build(&self.name, self.common, &self.of.sessions, WorkerTypeSettings::Basic)
    }
}

impl PoolBuilder<Enhanced> {
    /// Checks the configuration and looks for an interpreter: reads `VIRTUAL_ENV`, and checks whether a few paths exist.
    ///
    /// # Errors
    /// The first invalid key.
    pub fn build(self) -> Result<PoolConfig, InvalidConfig> {
        let Enhanced { sessions, features } = self.of;
        let kind = enhanced(affinity(sessions.routed)?, features);
        build(&self.name, self.common, &sessions, kind)
    }
}

fn build<R>(
    name: &str,
    given: Common,
    sessions: &Sessions<R>,
    kind: WorkerTypeSettings,
) -> Result<PoolConfig, InvalidConfig> {
    let name = pool_name(name)?;
    check_env(&given.env)?;
    let pool_size = POOL_SIZE.take_u32(given.pool_size, || 2 * available_parallelism().map_or(1, NonZero::get))?;
    let stop = stop(given.stop)?;
    let timeout = TIMEOUT.take(given.timeout)?;
    let settings = Settings {
        pool_size,
        overflow: OVERFLOW.take_u32(given.overflow)?,
        overflow_delay: OVERFLOW_DELAY.take(given.overflow_delay)?,
        concurrency: CONCURRENCY.take_u32(given.concurrency)?,
        pipeline: pipeline(given.pipeline)?,
        queue: queue(given.queue)?,
        start_timeout: START_TIMEOUT.take(given.start_timeout)?,
        start_batch: START_BATCH,
        lazy: LAZY.take(given.lazy),
        overflow_idle_timeout: OVERFLOW_IDLE_TIMEOUT.take(given.overflow_idle_timeout)?,
        cancel: cancel(given.cancel, timeout)?,
        stream: StreamSettings { stall: STREAM_STALL.take(given.stream.stall)? },
        stop_timeout: stop.grace.saturating_add(stop.term).saturating_add(KILL_TIMEOUT),
        health: health(given.health)?,
        restart: restart(given.restart, pool_size)?,
        retry: retry(given.retry)?,
        breaker: breaker(given.breaker)?,
        poison: poison(given.poison)?,
        sessions: session_settings(sessions)?,
        worker_type: kind,
    };
    let max_frame = MAX_FRAME.take_u32(given.max_frame)?;
    let stream_window = STREAM_WINDOW.take_u32(given.stream.window)?;
    batches::check(&given.batches)?;
    let max_buffer_bytes = BUFFERS_MAX_BYTES.take(given.buffers.max_bytes)? as u64;
    let forward_headers = forward_headers(&given.forward_headers)?;
    let ResolvedProgram { launch, cwd, stale_venvs } = given.program.build()?;
    let Common { env, env_mode, numeric_threads, start, batches, .. } = given;
    if start == StartMethod::Template && matches!(launch, Launch::Command { .. }) {
        let allowed = "\"spawn\"; \"template\" requires `app`, because only Herder's Python workers can be forked";
        return Err(InvalidConfig::new(START.path, "\"template\"", allowed));
    }
    Ok(PoolConfig {
        name,
        settings,
        launch,
        stale_venvs,
        cwd,
        env,
        env_mode,
        numeric_threads,
        start,
        forward_headers,
        batches,
        timeout,
        stop,
        stream_window,
        max_buffer_bytes,
        max_frame,
    })
}

fn pipeline(given: Option<Pipeline>) -> Result<Pipeline, InvalidConfig> {
    let pipeline = given.unwrap_or_default();
    if let Pipeline::Fixed(calls) = pipeline {
        PIPELINE.take(calls as usize)?;
    }
    Ok(pipeline)
}

impl PoolConfig {
    /// Returns the configuration with this environment variable added or replaced.
    ///
    /// ```
    /// # use herder_actors::PoolConfig;
    /// let config = PoolConfig::basic("carts").app("carts.py:app").build()?;
    /// assert_eq!(config.clone().with_env("RUN", "7")?.env()["RUN"], "7");
    /// assert_eq!(config.with_env("HERDER_FD", "7").unwrap_err().key(), "env");
    /// # Ok::<(), herder_actors::InvalidConfig>(())
    /// ```
    ///
    /// # Errors
    /// Fails like the builder, if the name or the value is invalid.
    pub fn with_env(mut self, name: impl Into<String>, value: impl Into<String>) -> Result<Self, InvalidConfig> {
        self.env.insert(name.into(), value.into());
        check_env(&self.env)?;
        Ok(self)
    }

    /// Returns the configuration with this number of base workers: to measure a pool at several sizes. The limits of restarts
    /// are not changed.
    ///
    /// ```
    /// # use herder_actors::PoolConfig;
    /// let config = PoolConfig::basic("carts").app("carts.py:app").build()?;
    /// assert_eq!(config.clone().with_pool_size(3)?.pool_size(), 3);
    /// assert_eq!(config.with_pool_size(0).unwrap_err().key(), "pool_size");
    /// # Ok::<(), herder_actors::InvalidConfig>(())
    /// ```
    ///
    /// # Errors
    /// Fails like the builder, if the number is out of bounds.
    pub fn with_pool_size(mut self, workers: usize) -> Result<Self, InvalidConfig> {
        self.settings.pool_size = POOL_SIZE.take_u32(Some(workers), || workers)?;
        Ok(self)
    }

    /// Returns the configuration with this value of `lazy`: false to start the workers at once, because they are asked something
    /// else than a call.
    ///
    /// ```
    /// # use herder_actors::PoolConfig;
    /// let config = PoolConfig::basic("carts").app("carts.py:app").lazy(true).build()?;
    /// assert!(config.is_lazy() && !config.with_lazy(false).is_lazy());
    /// # Ok::<(), herder_actors::InvalidConfig>(())
    /// ```
    #[must_use]
    pub fn with_lazy(mut self, lazy: bool) -> Self {
        self.settings.lazy = lazy;
        self
    }

    /// Returns the configuration with this maximum number of overflow workers: 0 to measure the base workers alone.
    ///
    /// ```
    /// # use herder_actors::PoolConfig;
    /// let config = PoolConfig::basic("carts").app("carts.py:app").overflow(4).build()?;
    /// assert_eq!(config.clone().with_overflow(0)?.overflow(), 0);
    /// assert_eq!(config.with_overflow(2000).unwrap_err().to_string(), "`overflow` is 2000; allowed: 0 to 1024");
    /// # Ok::<(), herder_actors::InvalidConfig>(())
    /// ```
    ///
    /// # Errors
    /// Fails like the builder, if the number is out of bounds.
    pub fn with_overflow(mut self, workers: usize) -> Result<Self, InvalidConfig> {
        self.settings.overflow = OVERFLOW.take_u32(Some(workers))?;
        Ok(self)
    }

    /// Returns the configuration with this value for each time limit that fails a call or kills its worker while code of the
    /// application runs: `timeout`, `queue.timeout`, `start_timeout`, `stream.stall`, `cancel.interrupt` and `cancel.kill`. For debuggers.
    ///
    /// ```
    /// # use herder_actors::PoolConfig;
    /// # use std::time::Duration;
    /// let config = PoolConfig::basic("carts").app("carts.py:app").build()?;
    /// let day = Duration::from_secs(24 * 60 * 60);
    /// assert_eq!(config.clone().with_time_limits(day)?.timeout(), day);
    /// assert_eq!(config.with_time_limits(400 * day).unwrap_err().key(), "timeout");
    /// # Ok::<(), herder_actors::InvalidConfig>(())
    /// ```
    ///
    /// # Errors
    /// Fails like the builder, if the value is out of bounds.
    pub fn with_time_limits(mut self, limit: Duration) -> Result<Self, InvalidConfig> {
        self.timeout = TIMEOUT.take(Some(limit))?;
        self.settings.queue.timeout = QUEUE_TIMEOUT.take(Some(limit))?;
        self.settings.start_timeout = START_TIMEOUT.take(Some(limit))?;
        self.settings.stream.stall = STREAM_STALL.take(Some(limit))?;
        let limits = Cancel::default().interrupt(limit).kill(limit);
        self.settings.cancel = cancel(limits, limit)?;
        Ok(self)
    }

    /// Returns the configuration with another name: two pools of the same name cannot run at the same time.
    ///
    /// ```
    /// # use herder_actors::PoolConfig;
    /// let config = PoolConfig::basic("carts").app("carts.py:app").build()?;
    /// assert_eq!(config.clone().with_name("carts-2")?.name().as_str(), "carts-2");
    /// assert_eq!(config.with_name("").unwrap_err().key(), "name");
    /// # Ok::<(), herder_actors::InvalidConfig>(())
    /// ```
    ///
    /// # Errors
    /// Fails like the builder, if the name is invalid.
    pub fn with_name(mut self, name: &str) -> Result<Self, InvalidConfig> {
        self.name = pool_name(name)?;
        Ok(self)
    }
}

fn pool_name(name: &str) -> Result<PoolName, InvalidConfig> {
    name.parse::<PoolName>().map_err(|InvalidPoolName(name)| {
        let allowed = "1 to 64 letters, digits, `_` or `-`, starting with a letter or digit";
        InvalidConfig::new("name", format_args!("`{}`", name.escape_debug()), allowed)
    })
}

/// The maximum number of headers that are forwarded.
const MAX_FORWARDED: usize = 32;
/// Headers that say something about the connection or the framing of the request, not about the call.
const NOT_FORWARDED: [&str; 11] = [
    "connection",
    "content-length",
    "expect",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Returns the names in lower case, each once.
fn forward_headers(given: &[String]) -> Result<Box<[Box<str>]>, InvalidConfig> {
    let names: BTreeSet<_> = given.iter().map(|name| name.to_ascii_lowercase()).collect();
    let is_valid = |name: &str| is_header_name(name) && !name.starts_with("herder-") && !NOT_FORWARDED.contains(&name);
    if let Some(name) = names.iter().find(|name| !is_valid(name)) {
        let found = format_args!("a list with {name:?}");
        return Err(InvalidConfig::new(FORWARD_HEADERS.path, found, FORWARD_HEADERS.allowed));
    }
    if names.len() > MAX_FORWARDED {
        let found = format_args!("a list of {} names", names.len());
        return Err(InvalidConfig::new(FORWARD_HEADERS.path, found, FORWARD_HEADERS.allowed));
    }
    Ok(names.into_iter().map(Into::into).collect())
}

fn check_env(env: &BTreeMap<String, String>) -> Result<(), InvalidConfig> {
    let is_valid = |name: &str, value: &str| {
        !name.is_empty() && !name.contains(['=', '\0']) && !value.contains('\0') && !RESERVED_VARIABLES.contains(&name)
    };
    // Only the name is shown: the value may be a secret.
    if let Some((name, _)) = env.iter().find(|(name, value)| !is_valid(name, value)) {
        return Err(InvalidConfig::new(ENV.path, format_args!("{name:?} = .."), ENV.allowed));
    }
    match env.iter().find_map(|(name, value)| Some((name, misspelled_slot(value)?))) {
        Some((name, found)) => Err(InvalidConfig::new(
            ENV.path,
            format_args!("{name:?} = .., which contains `{found}`"),
            "`{slot}` for the number of the worker's slot",
        )),
        None => Ok(()),
    }
}

/// Returns a placeholder that was probably meant to be `{slot}`: it has `slot` in its name, or differs by one letter. Others
/// are left alone, since values such as the formats of logs have braces of their own.
fn misspelled_slot(value: &str) -> Option<&str> {
    let names = value.match_indices('{').filter_map(|(start, _)| {
        let end = start + value[start..].find('}')?;
        Some((&value[start..=end], &value[start + 1..end]))
    });
    let is_misspelled = |name: &str| {
        let lower = name.to_ascii_lowercase();
        let is_word = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_- ".contains(&byte));
        name != "slot"
            && is_word
            && (lower.contains("slot") || ["slt", "sloot", "solt", "lsot"].contains(&lower.as_str()))
    };
    names.into_iter().find(|(_, name)| is_misspelled(name)).map(|(placeholder, _)| placeholder)
}

fn queue(given: Queue) -> Result<QueueSettings, InvalidConfig> {
    let limit = QUEUE_LIMIT.take(given.limit)?;
    let per_session = QUEUE_PER_SESSION.take(given.per_session, || limit / 4)?;
    if per_session > limit {
        let allowed = format!("1 to `{}`, which is {limit}", QUEUE_LIMIT.path);
        return Err(InvalidConfig::new(QUEUE_PER_SESSION.path, per_session, allowed));
    }
    Ok(QueueSettings {
        limit,
        per_session,
        timeout: QUEUE_TIMEOUT.take(given.timeout)?,
        shed: QUEUE_SHED.take(given.shed),
    })
}

fn cancel(given: Cancel, timeout: Duration) -> Result<CancelSettings, InvalidConfig> {
    let (interrupt, kill) = (CANCEL_INTERRUPT.take(given.interrupt)?, CANCEL_KILL.take(given.kill)?);
    check_order((CANCEL_INTERRUPT, interrupt), (CANCEL_KILL, kill))?;
    // An `on_session_end` hook may take one `timeout`, and its worker another one until it exits.
    let hooks = timeout.saturating_mul(2);
    Ok(CancelSettings { interrupt, kill, withdrawn: hooks.saturating_add(kill) })
}

fn stop(given: Stop) -> Result<StopSettings, InvalidConfig> {
    Ok(StopSettings { grace: STOP_GRACE.take(given.grace)?, term: STOP_TERM.take(given.term)? })
}

/// The least time that the host has to find out what a process does that has not answered.
const MIN_EXAMINATION: Duration = Duration::from_secs(1);

fn health(given: Health) -> Result<HealthSettings, InvalidConfig> {
    let timeout = HEALTH_TIMEOUT.take(given.timeout)?;
    Ok(HealthSettings {
        interval: HEALTH_INTERVAL.take(given.interval)?,
        timeout,
        // On an overloaded machine it may take longer than a short timeout to find out what a process does, and a worker that only
        // waits for a processor must not be stopped then.
        examination: timeout.max(MIN_EXAMINATION),
        failures: HEALTH_FAILURES.take_u32(given.failures)?,
    })
}

fn restart(given: Restart, pool_size: u32) -> Result<RestartSettings, InvalidConfig> {
    let (backoff, max_backoff) = (RESTART_BACKOFF.take(given.backoff)?, RESTART_MAX_BACKOFF.take(given.max_backoff)?);
    check_order((RESTART_BACKOFF, backoff), (RESTART_MAX_BACKOFF, max_backoff))?;
    Ok(RestartSettings {
        max: RESTART_MAX.take_u32(given.max, || usize::max(5, 2 * pool_size as usize))?,
        window: RESTART_WINDOW.take(given.window)?,
        min_uptime: RESTART_MIN_UPTIME.take(given.min_uptime)?,
        backoff,
        max_backoff,
        cooldown: RESTART_COOLDOWN.take(given.cooldown)?,
    })
}

fn retry(given: Retry) -> Result<RetrySettings, InvalidConfig> {
    let (base, max) = (RETRY_BASE.take(given.base)?, RETRY_MAX.take(given.max)?);
    check_order((RETRY_BASE, base), (RETRY_MAX, max))?;
    let backoff = given.backoff.unwrap_or_default();
    if let Backoff::Custom(waits) = &backoff
        && let Some(wait) = waits.iter().find(|wait| **wait > keys::LONGEST)
    {
        return Err(InvalidConfig::new(RETRY_WAITS.path, keys::shown(*wait), RETRY_WAITS.allowed));
    }
    let (jitter, budget) = (RETRY_JITTER.take(given.jitter)?, RETRY_BUDGET.take(given.budget)?);
    Ok(RetrySettings { attempts: RETRY_ATTEMPTS.take_u32(given.attempts)?, backoff, base, max, jitter, budget })
}

fn breaker(given: Breaker) -> Result<Option<BreakerSettings>, InvalidConfig> {
    let settings = BreakerSettings {
        failure_threshold: BREAKER_FAILURE_THRESHOLD.take_u32(given.failure_threshold)?,
        success_threshold: BREAKER_SUCCESS_THRESHOLD.take_u32(given.success_threshold)?,
        open_duration: BREAKER_OPEN_DURATION.take(given.open_duration)?,
        half_open_max_calls: BREAKER_HALF_OPEN_MAX_CALLS.take_u32(given.half_open_max_calls)?,
        counts: given.counts.unwrap_or_else(|| CountedFailures::of(BREAKER_COUNTS.default)),
    };
    Ok(BREAKER_ENABLED.take(given.enabled).then_some(settings))
}

fn poison(given: Poison) -> Result<Option<PoisonSettings>, InvalidConfig> {
    let (deaths, quarantine) =
        (POISON_MAX_WORKER_DEATHS.take_u32(given.max_worker_deaths)?, POISON_QUARANTINE.take(given.quarantine)?);
    Ok(POISON_ENABLED.take(given.enabled).then_some(PoisonSettings { max_worker_deaths: deaths, quarantine }))
}

fn session_settings<R>(given: &Sessions<R>) -> Result<SessionSettings, InvalidConfig> {
    Ok(SessionSettings {
        timeout: SESSIONS_TIMEOUT.take(given.timeout)?,
        cleanup_interval: SESSIONS_CLEANUP.take(given.cleanup_interval)?,
        max: SESSIONS_MAX.take(given.max)?,
    })
}

fn affinity(given: Routed) -> Result<AffinitySettings, InvalidConfig> {
    let Routed { expiry, affinity: mode, on_expired } = given;
    let on_expired = match (expiry, on_expired) {
        (Expiry::TwoPhase { grace }, on_expired) => {
            SESSIONS_GRACE.take(Some(grace))?;
            on_expired.unwrap_or(OnExpired::Reject)
        }
        (_, Some(OnExpired::Reject)) => {
            let allowed = "\"rebind\"; \"reject\" requires `sessions.expiry = \"two_phase\"`";
            return Err(InvalidConfig::new(SESSIONS_ON_EXPIRED.path, "\"reject\"", allowed));
        }
        (_, _) => OnExpired::Rebind,
    };
    Ok(AffinitySettings { expiry, mode, on_expired })
}

fn enhanced(affinity: AffinitySettings, flags: Features) -> WorkerTypeSettings {
    WorkerTypeSettings::Enhanced {
        session_affinity: FEATURES_SESSION_AFFINITY.take(flags.session_affinity).then_some(affinity),
        worker_metrics: FEATURES_WORKER_METRICS.take(flags.worker_metrics),
        state_machine: FEATURES_STATE_MACHINE.take(flags.state_machine),
    }
}

type KeyValue = (keys::Span, std::time::Duration);

fn check_order((first, smaller): KeyValue, (second, larger): KeyValue) -> Result<(), InvalidConfig> {
    if smaller <= larger {
        return Ok(());
    }
    let allowed = format!("at most `{}`, which is {}", second.path, keys::shown(larger));
    Err(InvalidConfig::new(first.path, keys::shown(smaller), allowed))
}
