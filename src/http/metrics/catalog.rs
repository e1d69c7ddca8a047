//! All metrics: one enum, from which the answers and `docs/metrics.md` follow.

use prometheus_client::metrics::MetricType;

/// What a metric belongs to: only such a server, pool or worker has series of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Server,
    Pool,
    /// Pools with `breaker`.
    Breaker,
    /// Pools, and commands, that have used the feature.
    FeatureUse,
    /// Pools with `features.session_affinity`.
    SessionAffinity,
    /// The workers of pools with `features.worker_metrics`.
    WorkerMetrics,
}

/// The name, the meaning and the labels of a metric.
#[derive(Clone, Copy, Debug)]
pub(super) struct Description {
    /// Without the unit, and without the `_total` of a counter or the `_info` of an info.
    pub(super) name: &'static str,
    pub(super) unit: Option<&'static str>,
    pub(super) kind: MetricType,
    pub(super) part: Part,
    /// The labels besides those of the [part](Part::labels).
    pub(super) labels: &'static [&'static str],
    pub(super) help: &'static str,
}

impl Part {
    /// Returns the labels of all series of the part.
    pub(super) fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Server => &[],
            Self::Pool | Self::Breaker | Self::FeatureUse | Self::SessionAffinity => &["pool", "worker_type"],
            Self::WorkerMetrics => &["pool", "worker_type", "slot"],
        }
    }
}

macro_rules! metrics {
    ($($metric:ident $kind:ident $part:ident $name:literal $unit:tt [$($label:literal),*] $help:literal;)*) => {
        /// A metric.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Metric {
            $($metric),*
        }

        impl Metric {
            /// All metrics, in the order of the answers.
            pub(super) const ALL: &[Self] = &[$(Self::$metric),*];

            pub(super) const fn description(self) -> Description {
                match self {
                    $(Self::$metric => Description {
                        name: $name,
                        unit: metrics!(unit $unit),
                        kind: MetricType::$kind,
                        part: Part::$part,
                        labels: &[$($label),*],
                        help: $help,
                    }),*
                }
            }
        }
    };
    (unit -) => { None };
    (unit $unit:literal) => { Some($unit) };
}

// The last sentence of a help text has no full stop: the format adds it.
metrics! {
    Build Info Server "herder" - ["version"] "The version of Herder";
    Pools Gauge Server "herder_pools" - ["worker_type"] "The pools of the server by worker type";
    BufferedBytes Gauge Server "herder_http_buffered" "bytes" [] "Bodies of requests and large results that are held";
    BufferLimit Gauge Server "herder_http_buffer_limit" "bytes" [] "The limit of what is held";
    LogLinesDropped Counter Server "herder_log_lines_dropped" - [] "Lines of the server's log that were dropped, because the log is read too slowly or cannot be written";
    SpansDropped Counter Server "herder_trace_spans_dropped" - [] "Spans that were not exported: no space was left, or the collector did not accept them";

    Up Gauge Pool "herder_pool_up" - [] "1 if the pool has answered, 0 if it has ended. Without an answer it has no other series";
    State Gauge Pool "herder_pool_state" - ["state"] "1 for the state of the pool, 0 for the others";
    Features Gauge Pool "herder_pool_feature_enabled" - ["feature"] "1 for each feature that the pool uses";
    BaseWorkers Gauge Pool "herder_pool_base_workers" - [] "The configured number of base workers";
    Workers Gauge Pool "herder_workers" - ["state"] "Workers by state, without those that have no process";
    Starts Counter Pool "herder_worker_starts" - [] "Processes that were started";
    Restarts Counter Pool "herder_worker_restarts" - [] "Processes that were started in the place of one that had ended unexpectedly: not by a request, a reload or the idle timeout of overflow workers";
    Exits Counter Pool "herder_worker_exits" - ["cause"] "Processes that have exited, and starts that have failed, by cause";
    Memory Gauge Pool "herder_pool_memory" "bytes" [] "Resident memory of the workers. Pages that several workers share count for each of them";
    Cpu Counter Pool "herder_pool_cpu" "seconds" [] "CPU time of the workers, without what they used between the last reading and their exit";

    Calls Counter Pool "herder_calls" - ["command", "outcome"] "Calls by outcome: `ok`, or the name of the error. `_OTHER` stands for commands that do not exist";
    QueueWait Histogram Pool "herder_call_queue" "seconds" ["command"] "Time from the admission to the last send, of calls that a worker answered";
    RunTime Histogram Pool "herder_call_run" "seconds" ["command"] "Time from the last send to the answer, of calls that a worker answered";
    ArgumentBytes Histogram Pool "herder_call_arguments" "bytes" ["command"] "Sizes of the arguments with their buffers, of calls that a worker answered";
    ResultBytes Histogram Pool "herder_call_result" "bytes" ["command"] "Sizes of the results with their buffers, without those of streams";
    Retries Counter Pool "herder_call_retries" - [] "Calls that were sent again after their worker was lost";
    Shed Counter Pool "herder_calls_shed" - [] "Calls that were refused because their estimated wait was too long. They are also among the calls with the outcome `overloaded`";
    LateAnswers Counter Pool "herder_late_answers" - [] "Answers that arrived after their call had ended, such as at its deadline";
    Running Gauge Pool "herder_calls_running" - [] "Calls in flight: those that workers run";
    Waiting Gauge Pool "herder_calls_waiting" - [] "Calls that wait, including those that workers were sent in advance";
    QueueLimit Gauge Pool "herder_queue_limit" - [] "The maximum number of waiting calls";
    Capacity Gauge Pool "herder_call_capacity" - [] "The number of calls that the workers that are ready can run at once";
    Quarantined Gauge Pool "herder_calls_quarantined" - [] "Commands with arguments that are refused because they killed workers";
    BreakerState Gauge Breaker "herder_breaker_state" - ["state"] "1 for the state of the circuit breaker, 0 for the others";
    BreakerOpened Counter Breaker "herder_breaker_opened" - [] "The number of times that the circuit breaker has opened";
    Lag Histogram Pool "herder_event_loop_lag" "seconds" [] "How late the timer of the pool ran, because its thread was busy. The timer itself has steps of a millisecond";
    Rebuilds Counter Pool "herder_state_rebuilds" - [] "Rebuilds of the pool's state after a panic in Herder";

    Streamed Counter FeatureUse "herder_calls_streamed" - ["command"] "Answered calls whose callers took the result item by item";
    Batches Counter FeatureUse "herder_batches" - ["command"] "Batches that were sent, of commands that run in batches";
    BatchedCalls Counter FeatureUse "herder_batched_calls" - ["command"] "The calls in these batches";
    WithBuffers Counter FeatureUse "herder_calls_with_buffers" - ["command"] "Answered calls with buffers in their arguments or results, without those in the items of streams";
    BufferBytes Counter FeatureUse "herder_call_buffer" "bytes" ["command"] "The bytes of these buffers";
    SlabBytes Gauge FeatureUse "herder_slab" "bytes" [] "Memory that is shared with the workers for large buffers, with what replies keep";
    SlabLimit Gauge FeatureUse "herder_slab_limit" "bytes" [] "The maximum of this memory (`buffers.max_bytes`). What does not fit is sent through the sockets";

    Sessions Gauge SessionAffinity "herder_sessions" - [] "Sessions that have not expired";
    SessionEvents Counter SessionAffinity "herder_session_events" - ["event"] "Events of sessions. Answered calls that were the first of their session (`bound`), ran on its worker (`hit`) or elsewhere (`rebound_worker_lost`, `rebound_expired`, `rebound_busy`); sessions that were removed because they had expired (`expired`); calls that were answered with the loss of the session's state (`lost`)";

    WorkerMemory Gauge WorkerMetrics "herder_worker_memory" "bytes" [] "Resident memory of the process; 0 while the slot has none";
    WorkerCpu Counter WorkerMetrics "herder_worker_cpu" "seconds" [] "CPU time of the processes of the slot, without what each used between the last reading and its exit";
}
