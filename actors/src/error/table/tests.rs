//! Each row of the table, with what follows from it, written a second time (R32).

use super::*;

/// Slug, category, severity, strategy, maximum number of retries, retryable, HTTP status, `Retry-After`.
type ExpectedRow = (&'static str, &'static str, &'static str, &'static str, u32, bool, u16, &'static str);

const EXPECTED: [ExpectedRow; 36] = [
    ("unknown-command", "python", "minor", "abandon", 0, false, 404, "no"),
    ("bad-arguments", "python", "minor", "abandon", 0, false, 422, "no"),
    ("malformed", "python", "minor", "abandon", 0, false, 400, "no"),
    ("invalid-session", "session", "minor", "abandon", 0, false, 400, "no"),
    ("rejected", "python", "warning", "abandon", 0, false, 422, "no"),
    ("exception", "python", "minor", "abandon", 0, false, 500, "no"),
    ("unencodable", "python", "minor", "abandon", 0, false, 500, "no"),
    ("too-large", "python", "minor", "abandon", 0, false, 413, "no"),
    ("cancelled", "timeout", "warning", "abandon", 0, false, 500, "no"),
    ("queue-full", "resource", "minor", "backoff_retry", 5, true, 429, "1 s"),
    ("session-queue-full", "resource", "minor", "backoff_retry", 5, true, 429, "1 s"),
    ("overloaded", "resource", "minor", "backoff_retry", 5, true, 429, "error"),
    ("queue-timeout", "timeout", "minor", "backoff_retry", 5, true, 503, "1 s"),
    ("deadline-exceeded", "timeout", "minor", "backoff_retry", 5, true, 504, "no"),
    ("idle-timeout", "timeout", "minor", "backoff_retry", 5, true, 504, "no"),
    ("stream-stalled", "timeout", "warning", "abandon", 0, false, 408, "no"),
    ("worker-lost", "connection", "major", "immediate_retry", 3, true, 502, "no"),
    ("session-worker-lost", "session", "major", "immediate_retry", 3, true, 410, "no"),
    ("session-expired", "session", "warning", "abandon", 0, false, 410, "no"),
    ("session-not-found", "session", "warning", "abandon", 0, false, 404, "no"),
    ("session-quota", "resource", "minor", "backoff_retry", 5, true, 429, "1 s"),
    ("worker-busy", "resource", "minor", "backoff_retry", 5, true, 409, "no"),
    ("no-such-worker", "connection", "warning", "abandon", 0, false, 404, "no"),
    ("bind", "session", "minor", "abandon", 0, false, 409, "no"),
    ("pool-failed", "initialization", "critical", "circuit_break", 0, true, 503, "error"),
    ("breaker-open", "connection", "critical", "circuit_break", 0, true, 503, "error"),
    ("poison-call", "python", "major", "abandon", 0, false, 422, "no"),
    ("pool-closed", "connection", "minor", "failover", 1, false, 503, "no"),
    ("pool-name-taken", "initialization", "minor", "abandon", 0, false, 409, "no"),
    ("pool-ending", "resource", "minor", "backoff_retry", 5, true, 503, "1 s"),
    ("forked", "connection", "minor", "failover", 1, false, 503, "no"),
    ("unknown-pool", "initialization", "minor", "abandon", 0, false, 404, "no"),
    ("start-failed", "initialization", "major", "abandon", 0, false, 503, "no"),
    ("internal", "system", "critical", "backoff_retry", 5, true, 500, "no"),
    ("decode", "python", "minor", "abandon", 0, false, 500, "no"),
    ("config", "initialization", "minor", "abandon", 0, false, 500, "no"),
];

/// R32: each row. (The compiler checks that each kind has one.)
#[test]
fn r32_table_rows_match_their_expected_properties() {
    let slugs: Vec<_> = ROWS.iter().map(|row| row.slug).collect();
    assert_eq!(slugs, EXPECTED.map(|expected| expected.0), "the same kinds, each once, in the order of the enum");
    for (row, expected) in ROWS.iter().zip(EXPECTED) {
        let (slug, category, severity, strategy, retries, retryable, status, wait) = expected;
        let first = row.decide(1, false, true);
        let texts = [row.category.to_string(), row.severity.to_string(), first.strategy.to_string()];
        assert_eq!(texts, [category, severity, strategy], "{slug}");
        assert_eq!((first.retries, row.retryable(), row.status), (retries, retryable, status), "{slug}");
        let retry_after = match row.wait {
            RetryAfter::NotSent => "no",
            RetryAfter::OneSecond => "1 s",
            RetryAfter::FromError => "error",
        };
        assert_eq!(retry_after, wait, "{slug}");
    }
}

/// R32: a slug identifies one kind of error for programs.
#[test]
fn r32_slugs_are_unique() {
    let mut slugs: Vec<_> = ROWS.iter().map(|row| row.slug).collect();
    slugs.sort_unstable();
    slugs.dedup();
    assert_eq!(slugs.len(), ROWS.len());
}

/// R32: `Retry-After` is sent only where waiting helps, and always with status 429.
#[test]
fn r32_retry_after_is_set_only_for_retryable_errors() {
    for row in ROWS {
        assert!(row.wait == RetryAfter::NotSent || row.retryable(), "{}", row.slug);
        assert!(row.status != 429 || row.wait != RetryAfter::NotSent, "{}", row.slug);
    }
}
