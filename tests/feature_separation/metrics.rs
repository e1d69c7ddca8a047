//! What pools of both types count and measure, and what only `worker_metrics` adds.

use serde_json::{Value, json};

/// The keys of each entry in `workers` of a status, in every pool.
pub(super) const COMMON_KEYS: [&str; 10] =
    ["pid", "id", "generation", "overflow", "state", "health", "in_flight", "window", "queued", "operations"];

/// The keys that `worker_metrics` adds to each entry in `workers` of a status, beside `metrics`.
pub(super) const ACTIVITY_KEYS: [&str; 6] = ["resident_bytes", "cpu_seconds", "cpu", "per_second", "run_us", "running"];

/// Checks the statuses of the pools of `feature_isolation_between_pool_types`: a pool counts its calls and knows what its
/// processes use, whatever its type.
pub(super) fn check_counts(plain: &Value, full: &Value) {
    let counted = &full["commands"]["count"];
    assert_eq!((&counted["calls"], &counted["errors"]), (&json!(9), &json!({ "session-worker-lost": 1 })));
    assert!(plain["commands"]["pid"]["run_us"]["p99"].is_u64(), "{plain}");
    for status in [plain, full] {
        // A worker may have been read just after its start, before it had used a hundredth of a second.
        let has_usage = status["memory_bytes"].as_u64() > Some(1 << 20) && status["cpu_seconds"].is_f64();
        assert!(has_usage, "{status}");
    }
}
