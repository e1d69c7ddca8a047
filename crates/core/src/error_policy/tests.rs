//! The decision table, written down a second time, and the rules that modify it (R32).

use super::*;

fn at(category: Category, severity: Severity, attempt: u32) -> Decision {
    decide(Incident { category, severity, attempt, all_workers: false, repeatable: true })
}

fn of_all(category: Category, severity: Severity, attempt: u32) -> Decision {
    decide(Incident { category, severity, attempt, all_workers: true, repeatable: true })
}

/// The strategy for a first attempt, by category and severity.
#[test]
fn r32_each_row_of_the_decision_table() {
    let rows = [
        ("initialization", ["abandon", "abandon", "abandon", "circuit_break"]),
        ("connection", ["abandon", "failover", "immediate_retry", "circuit_break"]),
        ("communication", ["immediate_retry", "immediate_retry", "immediate_retry", "circuit_break"]),
        ("timeout", ["abandon", "backoff_retry", "backoff_retry", "circuit_break"]),
        ("resource", ["backoff_retry", "backoff_retry", "backoff_retry", "circuit_break"]),
        ("health_check", ["backoff_retry", "backoff_retry", "immediate_retry", "circuit_break"]),
        ("session", ["abandon", "abandon", "immediate_retry", "backoff_retry"]),
        ("python", ["abandon", "abandon", "abandon", "abandon"]),
        ("system", ["backoff_retry", "backoff_retry", "backoff_retry", "backoff_retry"]),
    ];
    assert_eq!(rows.len(), Category::ALL.len());
    for (category, (name, strategies)) in Category::ALL.into_iter().zip(rows) {
        assert_eq!(category.to_string(), name);
        for (severity, expected) in Severity::ALL.into_iter().zip(strategies) {
            let decision = at(category, severity, 1);
            assert_eq!((decision.severity, decision.strategy.to_string().as_str()), (severity, expected), "{category}");
        }
    }
}

#[test]
fn r32_the_retry_limit_of_each_strategy() {
    let limits = [("immediate_retry", 3), ("backoff_retry", 5), ("circuit_break", 0), ("failover", 1), ("abandon", 0)];
    for (strategy, (name, limit)) in Strategy::ALL.into_iter().zip(limits) {
        assert_eq!((strategy.to_string().as_str(), strategy.retries()), (name, limit));
    }
    assert_eq!(at(Category::Resource, Severity::Minor, 1).retries, 5);
}

/// The severity rises one step from the fourth attempt on, and not before.
#[test]
fn r32_severity_rises_after_the_third_attempt() {
    let steps = [("warning", "minor"), ("minor", "major"), ("major", "critical"), ("critical", "critical")];
    for category in Category::ALL {
        for (severity, (before, after)) in Severity::ALL.into_iter().zip(steps) {
            for attempt in 1..=3 {
                assert_eq!(at(category, severity, attempt).severity.to_string(), before, "attempt {attempt}");
            }
            for attempt in [4, 5, u32::MAX] {
                assert_eq!(at(category, severity, attempt).severity.to_string(), after, "attempt {attempt}");
            }
        }
    }
    assert_eq!(at(Category::Connection, Severity::Minor, 3).strategy, Strategy::Failover);
    assert_eq!(
        at(Category::Connection, Severity::Minor, 4).strategy,
        Strategy::ImmediateRetry,
        "decided by the raised severity"
    );
}

#[test]
fn r32_errors_of_all_workers_are_critical() {
    for category in Category::ALL {
        for severity in Severity::ALL {
            for attempt in [1, 2, 3, 4] {
                assert_eq!(of_all(category, severity, attempt).severity, Severity::Critical);
                assert_eq!(of_all(category, severity, attempt), at(category, Severity::Critical, attempt));
            }
        }
    }
}

/// A critical error is abandoned from the third attempt on; nothing less severe is, and no earlier attempt.
#[test]
fn r32_critical_error_at_the_third_attempt_is_abandoned() {
    for category in Category::ALL {
        for attempt in [3, 4, u32::MAX] {
            let given_up = at(category, Severity::Critical, attempt);
            assert_eq!((given_up.strategy, given_up.retries), (Strategy::Abandon, 0), "{category}, {attempt}");
        }
        assert_eq!(at(category, Severity::Critical, 2), at(category, Severity::Critical, 1));
        assert_eq!(at(category, Severity::Major, 3), at(category, Severity::Major, 1), "not critical");
        assert_eq!(
            at(category, Severity::Major, 4).strategy,
            Strategy::Abandon,
            "raised to critical, after the third attempt"
        );
    }
}

/// For a call that may not be repeated, each strategy that repeats it becomes `Abandon`. `CircuitBreak` stays, since it
/// repeats no call.
#[test]
fn r32_unrepeatable_calls_are_abandoned() {
    for category in Category::ALL {
        for severity in Severity::ALL {
            for attempt in 1..=4 {
                let repeatable = at(category, severity, attempt);
                let decision = decide(Incident { category, severity, attempt, all_workers: false, repeatable: false });
                let expected = match repeatable.strategy {
                    Strategy::CircuitBreak => Strategy::CircuitBreak,
                    _ => Strategy::Abandon,
                };
                assert_eq!((decision.strategy, decision.retries), (expected, 0), "{category}, {severity}, {attempt}");
                assert_eq!(decision.severity, repeatable.severity);
            }
        }
    }
}
