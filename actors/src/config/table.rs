//! The one table of a pool's keys: path, scope, type, default and bounds. The builder takes defaults and bounds from here,
//! the TOML file is checked against it, and the snapshot of the schema prints it. A default stands nowhere else.

use super::schema::{Choice, Count, CountOr, Derived, Flag, Key, Kind, Scope, Share, Span, Text, Words};
use std::time::Duration;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

macro_rules! table {
    ($($name:ident: $kind:ident($row:ident) = $scope:ident $path:literal { $($field:ident: $value:expr),* }, $about:literal;)*) => {
        $(#[doc = $about] pub(super) const $name: $row = $row { path: $path, $($field: $value),* };)*

        /// Every key of a pool, in the order they are best read.
        pub const TABLE: &[Key] =
            &[$(Key { path: $path, scope: Scope::$scope, kind: Kind::$kind($name), about: $about }),*];
    };
}

table! {
    WORKER_TYPE: Choice(Choice) = Any "worker_type" { default: "basic", words: &["basic", "enhanced"] },
        "which worker type the pool has";
    APP: Text(Text) = Own "app" { default: "none", allowed: "`module:app` or `path/to/file.py:app`" },
        "the Python app a worker runs; a path starts at `cwd`";
    COMMAND: List(Text) = Own "command" { default: "none", allowed: "a program and its arguments, such as [\"./worker\", \"--flag\"], without NUL bytes" },
        "any executable that speaks the protocol, instead of `app`";
    PYTHON: Text(Text) = Any "python" { default: "$VIRTUAL_ENV, .venv beside the file, python3", allowed: "a program's name or path" },
        "the interpreter of `app`";
    ENV: Map(Text) = Any "env" { default: "none", allowed: "names without `=` or NUL bytes, values without NUL bytes, not HERDER_FD, HERDER_CTL_FD or HERDER_BYTECODE" },
        "environment variables of a worker";
    ENV_MODE: Choice(Choice) = Any "env_mode" { default: "inherit", words: &["inherit", "clean"] },
        "whether a worker also gets the host's environment";
    NUMERIC_THREADS: CountOr(CountOr) = Any "numeric_threads" { default: "auto", words: &["auto", "unset"], min: 1, max: 65_535 },
        "threads of numeric libraries in each worker; `auto`: its share of the cores, `unset`: as they decide";
    CWD: Text(Text) = Any "cwd" { default: "the file's folder", allowed: "a folder that exists" },
        "a worker's working directory";
    POOL_SIZE: Derived(Derived) = Any "pool_size" { rule: "2 x cores", min: 1, max: 1024 },
        "base workers";
    OVERFLOW: Count(Count) = Any "overflow" { default: 2, min: 0, max: 1024 },
        "workers beyond those, started when all are busy";
    OVERFLOW_LINGER: Span(Span) = Any "overflow_linger" { default: seconds(30) },
        "how long an idle overflow worker stays";
    TIMEOUT: Span(Span) = Any "timeout" { default: seconds(30) },
        "the whole deadline of a call: queue, run and retries";
    QUEUE_LIMIT: Count(Count) = Any "queue.limit" { default: 1000, min: 1, max: 1_000_000 },
        "calls waiting in the pool";
    QUEUE_TIMEOUT: Span(Span) = Any "queue.timeout" { default: seconds(5) },
        "the wait for any free worker";
    QUEUE_PER_SESSION: Derived(Derived) = Any "queue.per_session" { rule: "queue.limit / 4", min: 1, max: 1_000_000 },
        "calls waiting in one session, at most `queue.limit`";
    QUEUE_SHED: Flag(Flag) = Any "queue.shed" { default: true },
        "whether a call is refused at once whose turn, by what recent calls took, can't come in time";
    CONCURRENCY: Count(Count) = Any "concurrency" { default: 1, min: 1, max: 1024 },
        "calls a worker runs at once: 1 for sync handlers, more for async ones";
    PIPELINE: Count(Count) = Any "pipeline" { default: 1, min: 1, max: 1024 },
        "calls held per running slot";
    START_TIMEOUT: Span(Span) = Any "start_timeout" { default: seconds(60) },
        "from spawn to ready";
    CANCEL_INTERRUPT: Span(Span) = Any "cancel.interrupt" { default: seconds(1) },
        "from the worker's answer that a cancelled call runs to the interrupt, at most `cancel.kill`";
    CANCEL_KILL: Span(Span) = Any "cancel.kill" { default: seconds(5) },
        "from the worker's answer that a cancelled call runs to the kill";
    STOP_GRACE: Span(Span) = Any "stop.grace" { default: seconds(5) },
        "from the shutdown message to SIGTERM";
    STOP_TERM: Span(Span) = Any "stop.term" { default: seconds(2) },
        "from SIGTERM to SIGKILL";
    SESSIONS_TIMEOUT: Span(Span) = Any "sessions.timeout" { default: seconds(300) },
        "a session without calls is stale after this";
    SESSIONS_CLEANUP: Span(Span) = Any "sessions.cleanup_interval" { default: seconds(60) },
        "between two sweeps of stale sessions";
    SESSIONS_MAX: Count(Count) = Any "sessions.max" { default: 10_000, min: 1, max: 10_000_000 },
        "sessions at most";
    SESSIONS_EXPIRY: Choice(Choice) = Enhanced "sessions.expiry" { default: "immediate", words: &["immediate", "two_phase"] },
        "whether a stale session is gone at once, or known as expired for a while";
    SESSIONS_GRACE: Span(Span) = Enhanced "sessions.grace" { default: seconds(1) },
        "how long `two_phase` knows an expired session, from its marking";
    SESSIONS_AFFINITY: Choice(Choice) = Enhanced "sessions.affinity" { default: "strict_queue", words: &["strict_queue", "hint", "strict_fail_fast"] },
        "how strictly a session's calls keep to its worker";
    SESSIONS_ON_EXPIRED: Choice(Choice) = Enhanced "sessions.on_expired" { default: "reject with two_phase, else rebind", words: &["rebind", "reject"] },
        "what a call of an expired session gets; `reject` needs `two_phase`";
    HEALTH_INTERVAL: Span(Span) = Any "health.interval" { default: seconds(30) },
        "between two probes of a worker";
    HEALTH_TIMEOUT: Span(Span) = Any "health.timeout" { default: seconds(5) },
        "until a probe counts as missed";
    HEALTH_FAILURES: Count(Count) = Any "health.failures" { default: 3, min: 1, max: 1000 },
        "missed probes in a row that end a worker";
    RESTART_MAX: Derived(Derived) = Any "restart.max" { rule: "max(5, 2 x pool_size)", min: 1, max: 1_000_000 },
        "how many failed starts of base workers, and early deaths without a call, are allowed within the window; one more and the pool has failed";
    RESTART_WITHIN: Span(Span) = Any "restart.within" { default: seconds(60) },
        "that window";
    RESTART_MIN_UPTIME: Span(Span) = Any "restart.min_uptime" { default: seconds(10) },
        "a death before this age is early: it delays the next start";
    RESTART_BACKOFF: Span(Span) = Any "restart.backoff" { default: millis(100) },
        "the first wait before another start, at most `restart.max_backoff`; doubles";
    RESTART_MAX_BACKOFF: Span(Span) = Any "restart.max_backoff" { default: seconds(10) },
        "the longest such wait";
    RESTART_COOLDOWN: Span(Span) = Any "restart.cooldown" { default: seconds(30) },
        "how long a failed pool rests before its probe; doubles to 10 minutes";
    RETRY_ATTEMPTS: Count(Count) = Any "retry.attempts" { default: 3, min: 1, max: 100 },
        "how often an idempotent call is sent at most; 1: never again";
    RETRY_BACKOFF: Choice(Choice) = Any "retry.backoff" { default: "exponential", words: &["exponential", "linear", "fibonacci", "decorrelated_jitter", "custom"] },
        "how the wait before an attempt grows; `custom` takes `retry.waits`";
    RETRY_BASE: Span(Span) = Any "retry.base" { default: millis(100) },
        "the first wait, at most `retry.max`";
    RETRY_MAX: Span(Span) = Any "retry.max" { default: seconds(5) },
        "the longest wait";
    RETRY_WAITS: Spans(Text) = Any "retry.waits" { default: "none", allowed: "durations such as [\"0s\", \"50ms\", \"1s\"], with `retry.backoff = \"custom\"`" },
        "the waits of `custom`, the last one again and again";
    RETRY_JITTER: Share(Share) = Any "retry.jitter" { default: 250, max: 1000 },
        "how far a wait may be from its backoff, as a share of it";
    RETRY_BUDGET: Share(Share) = Any "retry.budget" { default: 200, max: 1000 },
        "retries of the whole pool, as a share of its successes of the last ten seconds; ten are always allowed";
    BREAKER_ENABLED: Flag(Flag) = Any "breaker.enabled" { default: false },
        "whether the pool has a circuit breaker";
    BREAKER_FAILURES: Count(Count) = Any "breaker.failures" { default: 5, min: 1, max: 1_000_000 },
        "failures in a row that open it";
    BREAKER_SUCCESSES: Count(Count) = Any "breaker.successes" { default: 3, min: 1, max: 1_000_000 },
        "trials that must succeed to close it";
    BREAKER_OPEN: Span(Span) = Any "breaker.open" { default: seconds(60) },
        "how long it is open before it lets a trial through";
    BREAKER_PROBES: Count(Count) = Any "breaker.probes" { default: 3, min: 1, max: 1_000_000 },
        "trials under way at once";
    BREAKER_COUNTS: Words(Words) = Any "breaker.counts" { default: &["timeout", "connection"], words: &["timeout", "connection", "signal", "python"] },
        "what counts as a failure: time run out, a lost worker, one ended by a signal from elsewhere, an error that was answered";
    POISON_ENABLED: Flag(Flag) = Any "poison.enabled" { default: true },
        "whether a command with arguments that end worker after worker is quarantined";
    POISON_DEATHS: Count(Count) = Any "poison.deaths" { default: 3, min: 1, max: 1000 },
        "workers that must end in the middle of it, without one that lives between";
    POISON_QUARANTINE: Span(Span) = Any "poison.quarantine" { default: seconds(600) },
        "for how long, from the last of them";
    MAX_FRAME: Count(Count) = Any "max_frame" { default: 64 * 1024 * 1024, min: 1024, max: (1 << 30) - 1 },
        "the longest frame, in bytes";
    FEATURES_SESSION_AFFINITY: Flag(Flag) = Enhanced "features.session_affinity" { default: true },
        "the affinity table, its actor, routing by session";
    FEATURES_WORKER_METRICS: Flag(Flag) = Enhanced "features.worker_metrics" { default: true },
        "metrics for each worker";
    FEATURES_STATE_MACHINE: Flag(Flag) = Enhanced "features.state_machine" { default: true },
        "degraded state, health-gated work, history of transitions";
}
