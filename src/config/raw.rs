//! A pool as serde reads it, with one field for each key of the table, and the conversion into the builder. Names,
//! types and bounds were checked before. Rules between keys are checked by the builder.

use super::duration;
use herder_actors::{
    Affinity, Backoff, BatchSettings, Breaker, Buffers, Cancel, CountedFailures, EnvMode, Expiry, Features, Health,
    InvalidConfig, NumericThreads, OnExpired, Pipeline, Poison, PoolBuilder, PoolConfig, Queue, Restart, Retry,
    Sessions, StartMethod, Stop, Streams, Tracked, WorkerType, schema,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::Path;
use std::time::Duration;

/// The keys of a pool, by their paths.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawPool {
    worker_type: WorkerType,
    app: Option<String>,
    command: Option<Vec<String>>,
    python: Option<String>,
    env: BTreeMap<String, String>,
    env_mode: Option<EnvMode>,
    numeric_threads: Option<RawThreads>,
    start: Option<StartMethod>,
    lazy: Option<bool>,
    cwd: Option<String>,
    pool_size: Option<usize>,
    overflow: Option<usize>,
    #[serde(deserialize_with = "duration::written")]
    overflow_delay: Option<Duration>,
    #[serde(deserialize_with = "duration::written")]
    overflow_idle_timeout: Option<Duration>,
    #[serde(deserialize_with = "duration::written")]
    timeout: Option<Duration>,
    #[serde(rename = "queue.limit")]
    queue_limit: Option<usize>,
    #[serde(rename = "queue.timeout", deserialize_with = "duration::written")]
    queue_timeout: Option<Duration>,
    #[serde(rename = "queue.per_session")]
    queue_per_session: Option<usize>,
    #[serde(rename = "queue.shed")]
    queue_shed: Option<bool>,
    concurrency: Option<usize>,
    pipeline: Option<RawPipeline>,
    forward_headers: Option<Vec<String>>,
    #[serde(deserialize_with = "duration::written")]
    start_timeout: Option<Duration>,
    #[serde(rename = "cancel.interrupt", deserialize_with = "duration::written")]
    cancel_interrupt: Option<Duration>,
    #[serde(rename = "cancel.kill", deserialize_with = "duration::written")]
    cancel_kill: Option<Duration>,
    #[serde(rename = "buffers.max_bytes")]
    buffers_max_bytes: Option<usize>,
    #[serde(rename = "stream.window")]
    stream_window: Option<usize>,
    #[serde(rename = "stream.stall", deserialize_with = "duration::written")]
    stream_stall: Option<Duration>,
    batch: BTreeMap<String, RawBatch>,
    #[serde(rename = "stop.grace", deserialize_with = "duration::written")]
    stop_grace: Option<Duration>,
    #[serde(rename = "stop.term", deserialize_with = "duration::written")]
    stop_term: Option<Duration>,
    #[serde(rename = "sessions.timeout", deserialize_with = "duration::written")]
    sessions_timeout: Option<Duration>,
    #[serde(rename = "sessions.cleanup_interval", deserialize_with = "duration::written")]
    sessions_cleanup: Option<Duration>,
    #[serde(rename = "sessions.max")]
    sessions_max: Option<usize>,
    #[serde(rename = "sessions.expiry")]
    sessions_expiry: Option<RawExpiry>,
    #[serde(rename = "sessions.grace", deserialize_with = "duration::written")]
    sessions_grace: Option<Duration>,
    #[serde(rename = "sessions.affinity")]
    sessions_affinity: Option<Affinity>,
    #[serde(rename = "sessions.on_expired")]
    sessions_on_expired: Option<OnExpired>,
    #[serde(rename = "health.interval", deserialize_with = "duration::written")]
    health_interval: Option<Duration>,
    #[serde(rename = "health.timeout", deserialize_with = "duration::written")]
    health_timeout: Option<Duration>,
    #[serde(rename = "health.failures")]
    health_failures: Option<usize>,
    #[serde(rename = "restart.max")]
    restart_max: Option<usize>,
    #[serde(rename = "restart.window", deserialize_with = "duration::written")]
    restart_window: Option<Duration>,
    #[serde(rename = "restart.min_uptime", deserialize_with = "duration::written")]
    restart_min_uptime: Option<Duration>,
    #[serde(rename = "restart.backoff", deserialize_with = "duration::written")]
    restart_backoff: Option<Duration>,
    #[serde(rename = "restart.max_backoff", deserialize_with = "duration::written")]
    restart_max_backoff: Option<Duration>,
    #[serde(rename = "restart.cooldown", deserialize_with = "duration::written")]
    restart_cooldown: Option<Duration>,
    #[serde(rename = "retry.attempts")]
    retry_attempts: Option<usize>,
    #[serde(rename = "retry.backoff")]
    retry_backoff: Option<RawBackoff>,
    #[serde(rename = "retry.base", deserialize_with = "duration::written")]
    retry_base: Option<Duration>,
    #[serde(rename = "retry.max", deserialize_with = "duration::written")]
    retry_max: Option<Duration>,
    #[serde(rename = "retry.waits", deserialize_with = "duration::all_written")]
    retry_waits: Option<Vec<Duration>>,
    #[serde(rename = "retry.jitter")]
    retry_jitter: Option<f64>,
    #[serde(rename = "retry.budget")]
    retry_budget: Option<f64>,
    #[serde(rename = "breaker.enabled")]
    breaker_enabled: Option<bool>,
    #[serde(rename = "breaker.failure_threshold")]
    breaker_failure_threshold: Option<usize>,
    #[serde(rename = "breaker.success_threshold")]
    breaker_success_threshold: Option<usize>,
    #[serde(rename = "breaker.open_duration", deserialize_with = "duration::written")]
    breaker_open_duration: Option<Duration>,
    #[serde(rename = "breaker.half_open_max_calls")]
    breaker_half_open_max_calls: Option<usize>,
    #[serde(rename = "breaker.counts")]
    breaker_counts: Option<Vec<String>>,
    #[serde(rename = "poison.enabled")]
    poison_enabled: Option<bool>,
    #[serde(rename = "poison.max_worker_deaths")]
    poison_max_worker_deaths: Option<usize>,
    #[serde(rename = "poison.quarantine", deserialize_with = "duration::written")]
    poison_quarantine: Option<Duration>,
    max_frame: Option<usize>,
    #[serde(rename = "features.session_affinity")]
    session_affinity: Option<bool>,
    #[serde(rename = "features.worker_metrics")]
    worker_metrics: Option<bool>,
    #[serde(rename = "features.state_machine")]
    state_machine: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawBatch {
    max_batch_size: Option<NonZero<u32>>,
    #[serde(deserialize_with = "duration::written")]
    max_wait: Option<Duration>,
}

impl From<RawBatch> for BatchSettings {
    fn from(RawBatch { max_batch_size, max_wait }: RawBatch) -> Self {
        Self { max_batch_size, max_wait }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum RawThreads {
    Number(NonZero<u16>),
    Word(RawThreadsWord),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawThreadsWord {
    Auto,
    Unset,
}

impl From<RawThreads> for NumericThreads {
    fn from(raw: RawThreads) -> Self {
        match raw {
            RawThreads::Number(threads) => Self::Fixed(threads),
            RawThreads::Word(RawThreadsWord::Auto) => Self::Auto,
            RawThreads::Word(RawThreadsWord::Unset) => Self::Unset,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum RawPipeline {
    Number(u32),
    Word(RawPipelineWord),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawPipelineWord {
    Auto,
}

impl From<RawPipeline> for Pipeline {
    fn from(raw: RawPipeline) -> Self {
        match raw {
            RawPipeline::Number(calls) => calls.into(),
            RawPipeline::Word(RawPipelineWord::Auto) => Self::Auto,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawExpiry {
    Immediate,
    TwoPhase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawBackoff {
    Exponential,
    Linear,
    Fibonacci,
    DecorrelatedJitter,
    Custom,
}

/// `set!(builder, method = value, ..)`: calls each method whose value is set.
macro_rules! set {
    ($start:expr, $($method:ident = $value:expr),* $(,)?) => {{
        let built = $start;
        $(let built = match $value {
            Some(value) => built.$method(value),
            None => built,
        };)*
        built
    }};
}

impl RawPool {
    /// Builds the pool with the builder of its worker type.
    pub(super) fn build(self, name: &str, folder: &Path) -> Result<PoolConfig, InvalidConfig> {
        self.check_waits()?;
        match self.worker_type {
            WorkerType::Basic => {
                self.common(PoolConfig::basic(name)).sessions(self.tracked()).relative_to(folder).build()
            }
            WorkerType::Enhanced => {
                let builder = self.common(PoolConfig::enhanced(name)).features(self.features());
                let sessions = set!(
                    self.tracked().expiry(self.expiry()),
                    affinity = self.sessions_affinity,
                    on_expired = self.sessions_on_expired,
                );
                builder.sessions(sessions).relative_to(folder).build()
            }
        }
    }

    fn common<T>(&self, builder: PoolBuilder<T>) -> PoolBuilder<T> {
        let groups = builder
            .queue(self.queue())
            .cancel(self.cancel())
            .stream(self.stream())
            .buffers(self.buffers())
            .stop(self.stop());
        let groups = groups.health(self.health()).restart(self.restart());
        let groups = groups.retry(self.retry()).breaker(self.breaker()).poison(self.poison());
        let groups = self.batch.iter().fold(groups, |builder, (name, limits)| builder.batch(name, (*limits).into()));
        let with_env = self.env.iter().fold(groups, |builder, (name, value)| builder.env(name, value));
        let with_command = match &self.command {
            Some(argv) => with_env.command(argv),
            None => with_env,
        };
        let with_program = set!(
            with_command,
            app = self.app.as_ref(),
            python = self.python.as_ref(),
            cwd = self.cwd.as_ref(),
            env_mode = self.env_mode,
            numeric_threads = self.numeric_threads.map(NumericThreads::from),
            start = self.start,
            lazy = self.lazy,
        );
        set!(
            with_program,
            pool_size = self.pool_size,
            overflow = self.overflow,
            overflow_delay = self.overflow_delay,
            overflow_idle_timeout = self.overflow_idle_timeout,
            timeout = self.timeout,
            concurrency = self.concurrency,
            pipeline = self.pipeline.map(Pipeline::from),
            forward_headers = self.forward_headers.as_ref(),
            start_timeout = self.start_timeout,
            max_frame = self.max_frame,
        )
    }

    fn queue(&self) -> Queue {
        let (limit, timeout, per_session) = (self.queue_limit, self.queue_timeout, self.queue_per_session);
        set!(Queue::new(), limit = limit, timeout = timeout, per_session = per_session, shed = self.queue_shed)
    }

    fn cancel(&self) -> Cancel {
        set!(Cancel::new(), interrupt = self.cancel_interrupt, kill = self.cancel_kill)
    }

    fn stream(&self) -> Streams {
        set!(Streams::new(), window = self.stream_window, stall = self.stream_stall)
    }

    fn buffers(&self) -> Buffers {
        set!(Buffers::new(), max_bytes = self.buffers_max_bytes)
    }

    fn stop(&self) -> Stop {
        set!(Stop::new(), grace = self.stop_grace, term = self.stop_term)
    }

    fn health(&self) -> Health {
        let (interval, timeout, failures) = (self.health_interval, self.health_timeout, self.health_failures);
        set!(Health::new(), interval = interval, timeout = timeout, failures = failures)
    }

    fn restart(&self) -> Restart {
        set!(
            Restart::new(),
            max = self.restart_max,
            window = self.restart_window,
            min_uptime = self.restart_min_uptime,
            backoff = self.restart_backoff,
            max_backoff = self.restart_max_backoff,
            cooldown = self.restart_cooldown,
        )
    }

    fn retry(&self) -> Retry {
        set!(
            Retry::new(),
            attempts = self.retry_attempts,
            backoff = self.backoff(),
            base = self.retry_base,
            max = self.retry_max,
            jitter = self.retry_jitter,
            budget = self.retry_budget,
        )
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(match self.retry_backoff? {
            RawBackoff::Exponential => Backoff::Exponential,
            RawBackoff::Linear => Backoff::Linear,
            RawBackoff::Fibonacci => Backoff::Fibonacci,
            RawBackoff::DecorrelatedJitter => Backoff::Decorrelated,
            RawBackoff::Custom => Backoff::Custom(self.retry_waits.clone().unwrap_or_default()),
        })
    }

    /// Checks that `retry.waits` is set exactly if `retry.backoff` is `custom`.
    fn check_waits(&self) -> Result<(), InvalidConfig> {
        match (self.retry_backoff, &self.retry_waits) {
            (Some(RawBackoff::Custom), None) => Err(InvalidConfig::new(
                "retry.backoff",
                "\"custom\"",
                "\"custom\" only together with `retry.waits`, such as [\"0s\", \"1s\"]",
            )),
            (None | Some(RawBackoff::Custom), _) | (_, None) => Ok(()),
            (Some(_), Some(_)) => {
                Err(InvalidConfig::new("retry.waits", "set", "not set, or `retry.backoff = \"custom\"`"))
            }
        }
    }

    fn breaker(&self) -> Breaker {
        set!(
            Breaker::new(),
            enabled = self.breaker_enabled,
            failure_threshold = self.breaker_failure_threshold,
            success_threshold = self.breaker_success_threshold,
            open_duration = self.breaker_open_duration,
            half_open_max_calls = self.breaker_half_open_max_calls,
            counts = self.breaker_counts.as_deref().map(CountedFailures::of),
        )
    }

    fn poison(&self) -> Poison {
        let (enabled, deaths, quarantine) =
            (self.poison_enabled, self.poison_max_worker_deaths, self.poison_quarantine);
        set!(Poison::new(), enabled = enabled, max_worker_deaths = deaths, quarantine = quarantine)
    }

    fn tracked(&self) -> Sessions<Tracked> {
        set!(
            Sessions::new(),
            timeout = self.sessions_timeout,
            cleanup_interval = self.sessions_cleanup,
            max = self.sessions_max,
        )
    }

    fn expiry(&self) -> Expiry {
        match self.sessions_expiry.unwrap_or(RawExpiry::Immediate) {
            RawExpiry::Immediate => Expiry::Immediate,
            RawExpiry::TwoPhase => {
                Expiry::TwoPhase { grace: self.sessions_grace.unwrap_or(schema::SESSIONS_GRACE.default) }
            }
        }
    }

    fn features(&self) -> Features {
        set!(
            Features::new(),
            session_affinity = self.session_affinity,
            worker_metrics = self.worker_metrics,
            state_machine = self.state_machine,
        )
    }
}
