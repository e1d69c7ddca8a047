//! The table of a pool's keys: path, scope, type, default and bounds. The builder takes defaults and bounds from it, a TOML
//! file is checked against it, and the snapshot of the schema prints it. Defaults are defined only here.

use super::keys::{Choice, Count, CountOr, Derived, Flag, Key, KeyType, Scope, Share, Span, Text, Words};
use std::time::Duration;

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// The largest `buffers.max_bytes`: 1 TiB where numbers are that large.
const MAX_BUFFER_BYTES: usize = if usize::BITS > 40 { 1 << 40 } else { usize::MAX };

const fn millis(n: u64) -> Duration {
    Duration::from_millis(n)
}

macro_rules! table {
    ($($name:ident: $kind:ident($row:ident) = $scope:ident $path:literal { $($field:ident: $value:expr),* }, $about:literal;)*) => {
        $(#[doc = $about] pub(super) const $name: $row = $row { path: $path, $($field: $value),* };)*

        /// All keys of a pool, in the order in which the documentation lists them.
        pub const TABLE: &[Key] =
            &[$(Key { path: $path, scope: Scope::$scope, kind: KeyType::$kind($name), about: $about }),*];
    };
}

table! {
    WORKER_TYPE: Choice(Choice) = Any "worker_type" { default: "basic", words: &["basic", "enhanced"] },
        "the pool's worker type";
    APP: Text(Text) = Own "app" { default: "none", allowed: "`module:app` or `path/to/file.py:app`" },
        "the Python app that each worker runs; a relative path is resolved against `cwd`";
    COMMAND: List(Text) = Own "command" { default: "none", allowed: "a program and its arguments, such as [\"./worker\", \"--flag\"], without NUL bytes" },
        "an executable that implements the worker protocol, used instead of `app`";
    PYTHON: Text(Text) = Any "python" { default: "$VIRTUAL_ENV, else .venv next to the file, else the environment of this program, else python3", allowed: "a program name, a path, or the folder of an environment or project" },
        "the Python interpreter that runs `app`";
    ENV: Map(Text) = Any "env" { default: "none", allowed: "names without `=` or NUL bytes, values without NUL bytes, not HERDER_FD, HERDER_CTL_FD, HERDER_LOG_FD, HERDER_SLAB_FD, HERDER_BYTECODE, HERDER_SLOT or HERDER_TEMPLATE" },
        "environment variables set for each worker; `{slot}` in a value is the number of its slot, from 0";
    ENV_MODE: Choice(Choice) = Any "env_mode" { default: "inherit", words: &["inherit", "clean"] },
        "whether workers inherit the host's environment";
    NUMERIC_THREADS: CountOr(CountOr) = Any "numeric_threads" { default: "auto", words: &["auto", "unset"], min: 1, max: 65_535 },
        "number of threads of numeric libraries in each worker; `auto`: the worker's share of the cores; `unset`: the library's own default";
    START: Choice(Choice) = Any "start" { default: "spawn", words: &["spawn", "template"] },
        "how a worker is started: as a new process that imports the app (`spawn`), or as a fork of a process that has imported it (`template`)";
    LAZY: Flag(Flag) = Any "lazy" { default: false },
        "whether the first call starts the workers, not the start of the pool";
    CWD: Text(Text) = Any "cwd" { default: "the configuration file's folder", allowed: "an existing folder" },
        "the workers' working directory";
    POOL_SIZE: Derived(Derived) = Any "pool_size" { rule: "2 x cores", min: 1, max: 1024 },
        "number of base workers";
    OVERFLOW: Count(Count) = Any "overflow" { default: 2, min: 0, max: 1024 },
        "maximum number of additional workers, started for calls without a session that have waited for `overflow_delay`";
    OVERFLOW_DELAY: Span(Span) = Any "overflow_delay" { default: Duration::from_millis(100) },
        "how long a call must have waited before an overflow worker is started for it";
    OVERFLOW_IDLE_TIMEOUT: Span(Span) = Any "overflow_idle_timeout" { default: seconds(30) },
        "how long an overflow worker may be idle before it is stopped";
    TIMEOUT: Span(Span) = Any "timeout" { default: seconds(30) },
        "deadline of a call, including time in the queue and retries";
    QUEUE_LIMIT: Count(Count) = Any "queue.limit" { default: 1000, min: 1, max: 1_000_000 },
        "maximum number of calls waiting in the pool";
    QUEUE_TIMEOUT: Span(Span) = Any "queue.timeout" { default: seconds(5) },
        "maximum time that a call waits for any free worker; the wait for its session's own worker is limited by the deadline only";
    QUEUE_PER_SESSION: Derived(Derived) = Any "queue.per_session" { rule: "queue.limit / 4", min: 1, max: 1_000_000 },
        "maximum number of calls waiting in one session; at most `queue.limit`";
    QUEUE_SHED: Flag(Flag) = Any "queue.shed" { default: true },
        "whether to refuse a call at once if its estimated wait is more than twice the time that it may wait, until `queue.timeout` or its deadline";
    CONCURRENCY: Count(Count) = Any "concurrency" { default: 1, min: 1, max: 1024 },
        "maximum number of calls that a worker runs concurrently; more than 1 helps only async handlers and those in threads";
    PIPELINE: CountOr(CountOr) = Any "pipeline" { default: "auto", words: &["auto"], min: 1, max: 1024 },
        "maximum number of unfinished calls of a worker, as a multiple of `concurrency`; with more than 1 the next calls wait in the worker; `auto`: more than 1 only while its calls are short";
    FORWARD_HEADERS: List(Text) = Any "forward_headers" { default: "none", allowed: "at most 32 names of headers, such as [\"x-tenant\"], not hop-by-hop, `content-length` or `herder-` headers" },
        "the headers of HTTP requests that handlers can read (`herder.Call.headers`)";
    START_TIMEOUT: Span(Span) = Any "start_timeout" { default: seconds(60) },
        "maximum time from starting a worker's process until the worker is ready";
    CANCEL_INTERRUPT: Span(Span) = Any "cancel.interrupt" { default: seconds(1) },
        "time until a cancelled call is interrupted, after the worker confirmed that the call runs; at most `cancel.kill`";
    CANCEL_KILL: Span(Span) = Any "cancel.kill" { default: seconds(5) },
        "time until the worker is killed, after it confirmed that a cancelled call runs";
    STREAM_WINDOW: Count(Count) = Any "stream.window" { default: 256 * 1024, min: 4096, max: 64 * 1024 * 1024 },
        "number of bytes of a stream that a worker sends before its consumer has taken some; an item that begins within them may exceed them";
    STREAM_STALL: Span(Span) = Any "stream.stall" { default: seconds(30) },
        "how long the consumer of a stream may take no item while the worker waits for it; the stream then fails";
    BATCH: Batches(Text) = Own "batch" { default: "none", allowed: "a table for each command, such as predict = { max_batch_size = 16, max_wait = \"5ms\" }; `max_batch_size`: 1 to 65536, `max_wait`: \"0s\" to \"1m\"" },
        "the limits of the batches of commands with `@app.batch`, instead of those that the app declares";
    BUFFERS_MAX_BYTES: Count(Count) = Any "buffers.max_bytes" { default: 512 << 20, min: 0, max: MAX_BUFFER_BYTES },
        "maximum size of the memory that all workers of the pool together share with the host, for buffers of 64 KiB and more, in bytes; what does not fit is sent through the workers' sockets; 0: no such memory";
    STOP_GRACE: Span(Span) = Any "stop.grace" { default: seconds(5) },
        "time from the shutdown message to SIGTERM; within it, a Python worker runs its `on_stop` hooks and leaves its lifespan";
    STOP_TERM: Span(Span) = Any "stop.term" { default: seconds(2) },
        "time from SIGTERM to SIGKILL";
    SESSIONS_TIMEOUT: Span(Span) = Any "sessions.timeout" { default: seconds(300) },
        "idle time after which a session expires";
    SESSIONS_CLEANUP: Span(Span) = Any "sessions.cleanup_interval" { default: seconds(60) },
        "time between two sweeps of expired sessions";
    SESSIONS_MAX: Count(Count) = Any "sessions.max" { default: 10_000, min: 1, max: 10_000_000 },
        "maximum number of sessions";
    SESSIONS_EXPIRY: Choice(Choice) = Enhanced "sessions.expiry" { default: "immediate", words: &["immediate", "two_phase"] },
        "whether an expired session is removed at once (`immediate`) or first reported as expired for `sessions.grace` (`two_phase`)";
    SESSIONS_GRACE: Span(Span) = Enhanced "sessions.grace" { default: seconds(1) },
        "how long `two_phase` reports a session as expired after marking it";
    SESSIONS_AFFINITY: Choice(Choice) = Enhanced "sessions.affinity" { default: "strict_queue", words: &["strict_queue", "hint", "strict_fail_fast"] },
        "what happens when a session's worker is busy: wait for it (`strict_queue`), run on another worker (`hint`), or fail (`strict_fail_fast`)";
    SESSIONS_ON_EXPIRED: Choice(Choice) = Enhanced "sessions.on_expired" { default: "reject with two_phase, else rebind", words: &["rebind", "reject"] },
        "whether a call of an expired session begins it again (`rebind`) or fails (`reject`, only with `two_phase`)";
    HEALTH_INTERVAL: Span(Span) = Any "health.interval" { default: seconds(30) },
        "time between two pings of a worker";
    HEALTH_TIMEOUT: Span(Span) = Any "health.timeout" { default: seconds(5) },
        "time after which an unanswered ping counts as missed";
    HEALTH_FAILURES: Count(Count) = Any "health.failures" { default: 3, min: 1, max: 1000 },
        "number of consecutive missed pings after which a worker is killed";
    RESTART_MAX: Derived(Derived) = Any "restart.max" { rule: "max(5, 2 x pool_size)", min: 1, max: 1_000_000 },
        "maximum number, in `restart.window`, of failed starts of base workers and of their deaths before `restart.min_uptime` with no unfinished call; one more makes the pool fail";
    RESTART_WINDOW: Span(Span) = Any "restart.window" { default: seconds(60) },
        "length of the window for `restart.max`";
    RESTART_MIN_UPTIME: Span(Span) = Any "restart.min_uptime" { default: seconds(10) },
        "age below which a worker's death counts as early; an early death delays the next start in its slot";
    RESTART_BACKOFF: Span(Span) = Any "restart.backoff" { default: millis(100) },
        "wait before the first restart, at most `restart.max_backoff`; doubles with each consecutive early death or failed start";
    RESTART_MAX_BACKOFF: Span(Span) = Any "restart.max_backoff" { default: seconds(10) },
        "maximum wait before a restart";
    RESTART_COOLDOWN: Span(Span) = Any "restart.cooldown" { default: seconds(30) },
        "how long a failed pool waits before it starts one worker as a trial; doubled after each failed trial, up to 10 minutes";
    RETRY_ATTEMPTS: Count(Count) = Any "retry.attempts" { default: 3, min: 1, max: 100 },
        "maximum number of attempts of an idempotent call, including the first; 1 disables retries. Calls of a session with strict affinity are never retried";
    RETRY_BACKOFF: Choice(Choice) = Any "retry.backoff" { default: "exponential", words: &["exponential", "linear", "fibonacci", "decorrelated_jitter", "custom"] },
        "how the wait between attempts grows; `custom` uses `retry.waits`";
    RETRY_BASE: Span(Span) = Any "retry.base" { default: millis(100) },
        "wait before the first retry, at most `retry.max`";
    RETRY_MAX: Span(Span) = Any "retry.max" { default: seconds(5) },
        "maximum wait before a retry";
    RETRY_WAITS: Spans(Text) = Any "retry.waits" { default: "none", allowed: "durations such as [\"0s\", \"50ms\", \"1s\"], with `retry.backoff = \"custom\"`" },
        "waits of the `custom` backoff; the last one is repeated";
    RETRY_JITTER: Share(Share) = Any "retry.jitter" { default: 250, max: 1000 },
        "maximum random deviation of a wait, as a fraction of the wait";
    RETRY_BUDGET: Share(Share) = Any "retry.budget" { default: 200, max: 1000 },
        "limit on retries of the pool in any 10 seconds: ten, plus this fraction of the calls that succeeded in that time";
    BREAKER_ENABLED: Flag(Flag) = Any "breaker.enabled" { default: false },
        "whether the pool has a circuit breaker";
    BREAKER_FAILURE_THRESHOLD: Count(Count) = Any "breaker.failure_threshold" { default: 5, min: 1, max: 1_000_000 },
        "number of consecutive failures that open the breaker";
    BREAKER_SUCCESS_THRESHOLD: Count(Count) = Any "breaker.success_threshold" { default: 3, min: 1, max: 1_000_000 },
        "number of successful trial calls that close the breaker";
    BREAKER_OPEN_DURATION: Span(Span) = Any "breaker.open_duration" { default: seconds(60) },
        "how long the breaker stays open before it admits trial calls";
    BREAKER_HALF_OPEN_MAX_CALLS: Count(Count) = Any "breaker.half_open_max_calls" { default: 3, min: 1, max: 1_000_000 },
        "maximum number of concurrent trial calls";
    BREAKER_COUNTS: Words(Words) = Any "breaker.counts" { default: &["timeout", "connection"], words: &["timeout", "connection", "signal", "python"] },
        "what counts as a failure: `timeout` (deadline or queue timeout), `connection` (worker exited, hung or broke the protocol), `signal` (worker ended by a signal that the pool did not send), `python` (any error that a worker returned)";
    POISON_ENABLED: Flag(Flag) = Any "poison.enabled" { default: true },
        "whether to quarantine a command whose arguments kill one worker after another";
    POISON_MAX_WORKER_DEATHS: Count(Count) = Any "poison.max_worker_deaths" { default: 3, min: 1, max: 1000 },
        "number of consecutive worker deaths during the same command with the same arguments that start a quarantine";
    POISON_QUARANTINE: Span(Span) = Any "poison.quarantine" { default: seconds(600) },
        "length of the quarantine, from the last of these deaths";
    MAX_FRAME: Count(Count) = Any "max_frame" { default: 64 * 1024 * 1024, min: 1024, max: (1 << 30) - 1 },
        "maximum length of a frame, in bytes";
    FEATURES_SESSION_AFFINITY: Flag(Flag) = Enhanced "features.session_affinity" { default: true },
        "session affinity: routing by session; its actor and session table";
    FEATURES_WORKER_METRICS: Flag(Flag) = Enhanced "features.worker_metrics" { default: true },
        "metrics of each worker";
    FEATURES_STATE_MACHINE: Flag(Flag) = Enhanced "features.state_machine" { default: true },
        "a degraded state, in which a worker gets no new calls, and a history of state transitions";
}

impl Key {
    /// Returns the row of this path.
    pub fn find(path: &str) -> Option<&'static Self> {
        TABLE.iter().find(|key| key.path == path)
    }
}
