//! The errors as people and programs see them (R38).

use super::*;
use herder_core::{BindError, Generation, SessionId, WorkerId, WorkerRef};
use serde_json::{Value, json};
use std::{error::Error as _, sync::Arc, time::Duration};

fn lost(worker: u32, printed: &str) -> Attempt {
    let stderr_tail = if printed.is_empty() { vec![] } else { vec![printed.into()] };
    let report = ExitReport { signal: Some(9), stderr_tail, ..ExitReport::default() };
    let (worker, generation, reason) = (WorkerId(worker), Generation(2), "signal 9 (SIGKILL)".into());
    Attempt { worker, generation, reason, report: Arc::new(report) }
}

fn worker_lost(earlier: Vec<Attempt>) -> Error {
    let Attempt { worker, generation, reason, report } = lost(7, "last output");
    let attempts = Attempts::default();
    Error::WorkerLost { worker, generation, reason, may_have_run: true, report, attempts }.with_attempts(earlier)
}

fn problem(error: &Error) -> Value {
    serde_json::to_value(error.problem()).unwrap()
}

#[test]
fn r38_verbose_form_contains_every_field() {
    let text = worker_lost(vec![lost(5, "a line"), lost(6, "")]).verbose().to_string();
    let expected = "\
worker w7 (generation 2) died: signal 9 (SIGKILL); the call may have run
  worker-lost: connection, major; immediate_retry; the call may have run
  worker w7.2
  attempt 1: worker w5 (generation 2) died: signal 9 (SIGKILL)
  last output:
  | a line
  attempt 2: worker w6 (generation 2) died: signal 9 (SIGKILL)
  last output:
  | last output";
    assert_eq!(text, expected);
}

/// R38: the long form contains the stack of a hanging process, as the problem document does, for the last attempt and for
/// each earlier one.
#[test]
fn r38_verbose_form_contains_the_stacks() {
    let hung = |worker, stack: &str| {
        let mut attempt = lost(worker, "a line");
        Arc::make_mut(&mut attempt.report).stack = Some(stack.into());
        attempt
    };
    let Attempt { worker, generation, reason, report } = hung(7, "Thread 1:\n  in wait");
    let attempts = Attempts::default();
    let error = Error::WorkerLost { worker, generation, reason, may_have_run: true, report, attempts };
    let text = error.with_attempts(vec![hung(5, "in hang")]).verbose().to_string();
    assert!(
        text.contains(
            "(SIGKILL)\n  stack:\n  | in hang\n  last output:\n  | a line\n  stack:\n  | Thread 1:\n  |   in wait\n"
        ),
        "{text}"
    );
}

/// R38, R13: a start that fails for lack of descriptors names the limit, and does not blame a directory.
#[test]
fn r38_a_start_without_descriptors_names_the_limit() {
    let without = || std::io::Error::from_raw_os_error(24);
    let error = crate::LaunchError::from(herder_process::SpawnError::Infrastructure {
        what: "watchdog process",
        source: without(),
    });
    assert!(error.is_out_of_descriptors());
    let limit = herder_process::descriptor_limit().unwrap();
    let expected = format!(
        "this process has no file descriptors left; its limit is {limit} (`ulimit -n`): raise it, or use fewer"
    );
    assert!(error.to_string().ends_with(&expected), "{error}");
    assert!(!crate::LaunchError::from("it is broken").is_out_of_descriptors());
}

#[test]
fn r38_problem_contains_the_error_of_each_attempt() {
    let details = problem(&worker_lost(vec![lost(5, "a line"), lost(6, "")]));
    assert_eq!((&details["strategy"], &details["attempts"]), (&json!("immediate_retry"), &json!(3)));
    let detail = |worker| format!("worker w{worker} (generation 2) died: signal 9 (SIGKILL)");
    let first = json!({ "detail": detail(5), "worker": "w5", "generation": 2, "signal": 9, "stderr_tail": ["a line"] });
    let second = json!({ "detail": detail(6), "worker": "w6", "generation": 2, "signal": 9 });
    assert_eq!(details["attempt_errors"], json!([first, second]));

    let alone = problem(&worker_lost(vec![]));
    assert_eq!((&alone["attempts"], alone.get("attempt_errors")), (&json!(1), None));
    let refused = problem(&Error::QueueFull { limit: 1 });
    assert_eq!((refused.get("attempts"), &refused["strategy"]), (None, &json!("backoff_retry")));
}

/// A call with a lost attempt may have run, whatever ended it afterwards.
#[test]
fn r38_a_call_that_was_sent_may_have_run() {
    let attempts = Attempts::default;
    let (reason, retry_after) = (|| "x".into(), Duration::from_secs(5));
    let unsent = [
        Error::QueueTimeout { waited: retry_after, starting: None, last_start_error: None, attempts: attempts() },
        Error::PoolFailed { reason: reason(), retry_after, attempts: attempts() },
        Error::PoisonCall { fingerprint: "1f".into(), deaths: 3, retry_after, attempts: attempts() },
    ];
    for error in unsent {
        assert!(!error.may_have_run() && error.send_count() == 0, "{error}");
        let error = error.with_attempts(vec![lost(1, "")]);
        assert!(error.may_have_run() && error.send_count() == 1, "{error}");
    }
}

/// R32: severity and strategy depend on the number of attempts.
#[test]
fn r32_repeated_losses_raise_the_severity() {
    let after = |earlier: usize| worker_lost((0..earlier).map(|_| lost(1, "")).collect());
    let properties = |error: Error| (error.severity(), error.strategy(), error.is_retryable());
    assert_eq!(properties(after(2)), (Severity::Major, Strategy::ImmediateRetry, true));
    assert_eq!(
        properties(after(3)),
        (Severity::Critical, Strategy::Abandon, true),
        "retryable depends on the kind alone"
    );
    assert_eq!(after(0).decision(true).strategy, Strategy::CircuitBreak, "all workers are concerned");
}

/// R32: a retry is recommended for a call that may have run only if it is idempotent, as each call is that the pool retried.
/// A caller that knows more asks for `strategy_if_idempotent`.
#[test]
fn r32_calls_that_may_have_run_are_retried_only_if_idempotent() {
    let (session, worker, generation) = (SessionId::new("ann").unwrap(), WorkerId(1), Generation(1));
    let lost_with = |may_have_run| Error::SessionWorkerLost {
        session: session.clone(),
        worker,
        generation,
        reason: "x".into(),
        may_have_run,
        report: Arc::default(),
        attempts: Attempts::default(),
    };
    let late =
        |may_have_run| Error::DeadlineExceeded { may_have_run, command_timeout: None, attempts: Attempts::default() };
    let internal = Error::Internal { reason: "x".into() };
    for (error, if_idempotent) in [
        (worker_lost(vec![]), "immediate_retry"),
        (lost_with(true), "immediate_retry"),
        (late(true), "backoff_retry"),
        (Error::closed(true), "failover"),
        (internal, "backoff_retry"),
    ] {
        assert_eq!((error.strategy(), error.decision(false).retries), (Strategy::Abandon, 0), "{error}");
        assert_eq!(error.strategy_if_idempotent().to_string(), if_idempotent, "{error}");
        let details = problem(&error);
        assert_eq!(
            (&details["strategy"], &details["strategy_if_idempotent"]),
            (&json!("abandon"), &json!(if_idempotent))
        );
    }
    for (error, strategy) in
        [(lost_with(false), "immediate_retry"), (late(false), "backoff_retry"), (Error::closed(false), "failover")]
    {
        assert_eq!(error.strategy().to_string(), strategy, "{error}");
        assert_eq!(problem(&error).get("strategy_if_idempotent"), None);
    }
    let again = |error: Error| error.with_attempts(vec![lost(1, "")]).strategy();
    assert_eq!(again(worker_lost(vec![])), Strategy::ImmediateRetry);
    assert_eq!(again(late(true)), Strategy::BackoffRetry);
}

#[test]
fn r38_error_sources_are_kept() {
    let cause = |error: &Error| error.source().map(ToString::to_string);
    let cause_error = serde_json::from_str::<u8>("x").unwrap_err();
    let text = cause_error.to_string();
    let decode = Error::decode(cause_error);
    assert_eq!((cause(&decode), cause(&decode.clone())), (Some(text.clone()), Some(text)), "clones share it");
    assert!(decode.source().is_some_and(|cause| cause.is::<Cause>()));
    assert!(!decode.verbose().to_string().contains("caused by"), "the first line contains it: {decode}");
    let behind = Error::Malformed { message: "no".into(), cause: Some(Arc::new(Error::decode(std::fmt::Error))) };
    assert!(behind.verbose().to_string().contains("\n  caused by: the result does not have the requested type: "));
    assert!(cause(&Error::Bind(BindError::NoAffinity)).is_some());
    assert_eq!(
        Error::from(SessionId::new("").unwrap_err()).to_string(),
        "invalid session id: it is empty; allowed: 1 to 256 bytes without control characters"
    );
}

#[test]
fn r32_refusals_have_exact_texts() {
    let seconds = Duration::from_millis;
    let overloaded = Error::Overloaded { estimated_wait: seconds(11_200), max_wait: seconds(5000) };
    assert_eq!(
        overloaded.to_string(),
        "the pool is overloaded: the estimated wait is 12s, but the call may wait only 5s; retry later"
    );
    assert_eq!(overloaded.retry_after(), Some(seconds(12_000)));
    let without_wait = Error::Overloaded { estimated_wait: Duration::ZERO, max_wait: Duration::ZERO };
    assert_eq!(without_wait.retry_after(), Some(seconds(1000)), "at least one second");
    assert!(overloaded.is_retryable() && !overloaded.may_have_run());
    let open = Error::BreakerOpen { retry_after: seconds(30_000) };
    assert_eq!(open.to_string(), "the pool's circuit breaker is open; retry in 30s");
    assert_eq!((open.retry_after(), open.http_status()), (Some(seconds(30_000)), 503));
    let attempts = Attempts::default();
    let poison = Error::PoisonCall { fingerprint: "1f".into(), deaths: 3, retry_after: seconds(600_000), attempts };
    let text = "this command with these arguments killed 3 workers and is quarantined for 10m (fingerprint 1f)";
    assert_eq!((poison.to_string().as_str(), poison.http_status(), poison.is_retryable()), (text, 422, false));
    assert_eq!(poison.retry_after(), None, "waiting does not help: the next call may kill the next worker");
}

#[cfg(feature = "http")]
#[test]
fn r38_http_responses_have_retry_after_where_waiting_helps() {
    use actix_web::ResponseError;
    let response = |error: &Error| {
        let response = error.error_response();
        let value = response.headers().get("Retry-After").map(|value| value.to_str().unwrap().to_owned());
        (response.status().as_u16(), value)
    };
    let wait = Duration::from_millis(2001);
    assert_eq!(response(&Error::BreakerOpen { retry_after: wait }), (503, Some("3".into())));
    assert_eq!(response(&Error::Overloaded { estimated_wait: wait, max_wait: wait }), (429, Some("3".into())));
    assert_eq!(response(&Error::QueueFull { limit: 1 }), (429, Some("1".into())));
    assert_eq!(response(&worker_lost(vec![])), (502, None));
}

/// R38: a brief problem shows nothing that a worker printed or raised, except the exception itself. Both forms contain the
/// error's id.
#[test]
fn r38_brief_problem_hides_worker_output() {
    let worker = WorkerRef { id: WorkerId(1), generation: Generation(1) };
    let secret = || ExitReport {
        stderr_tail: vec!["secret".into()],
        traceback: Some("secret".into()),
        stack: Some("secret".into()),
        ..ExitReport::default()
    };
    let id = crate::PoolConfig::basic("ids").command(["x"]).build().map(|config| {
        crate::pool_supervisor::Shared::new(&config, crate::clock::Clock::default())
            .call_log()
            .error_id(herder_core::CallId(7))
    });
    let id = id.unwrap();
    let attempts = Attempts::from(vec![Attempt {
        worker: worker.id,
        generation: worker.generation,
        reason: "exit".into(),
        report: Arc::new(secret()),
    }]);
    let (message, kind) = ("m".to_owned(), "K".to_owned());
    let errors = [
        Error::Exception { kind, message, traceback: Some("secret".into()), worker, attempts: attempts.clone() },
        Error::StartFailed { worker: Some(worker), reason: "secret".into(), report: Arc::new(secret()) },
        Error::PoolFailed { reason: "secret".into(), retry_after: Duration::ZERO, attempts: attempts.clone() },
        Error::QueueTimeout {
            waited: Duration::ZERO,
            starting: None,
            last_start_error: Some("secret".into()),
            attempts,
        },
        Error::Internal { reason: "secret".into() },
    ];
    for error in errors {
        let error = error.with_id(id);
        let text = |detail| serde_json::to_string(&error.problem_in(detail)).unwrap();
        assert!(text(ErrorDetail::Full).contains("secret"), "{error:?}");
        assert!(!text(ErrorDetail::Brief).contains("secret"), "{error:?}");
        for detail in [ErrorDetail::Full, ErrorDetail::Brief] {
            assert_eq!(error.problem_in(detail).error_id, error.error_id());
        }
    }
    assert!(id.to_string().ends_with("-7"), "{id}");
}

/// `main` prints an error that it returns with `{:?}`: the variant, the text and the cause, and not the fields.
#[test]
fn debug_form_is_readable() {
    let full = Error::QueueFull { limit: 8 };
    assert_eq!(format!("{full:?}"), "QueueFull: the pool's queue is full (limit: 8); retry later");
    let decode = Error::decode(std::io::Error::other("disk"));
    assert_eq!(format!("{decode:?}").lines().next(), Some(format!("Decode: {decode}").as_str()));
    assert_eq!(format!("{full:#?}"), format!("QueueFull: {}", full.verbose()));
}

/// A call that waits while the workers start, and an end that the pool has planned, do not look like a busy pool and a crash.
#[test]
fn starts_and_planned_ends_are_named() {
    let timeout = |starting| {
        let waited = Duration::from_secs(5);
        Error::QueueTimeout { waited, starting, last_start_error: None, attempts: Attempts::default() }.to_string()
    };
    assert_eq!(timeout(None), "no worker was free within 5s");
    let starting = timeout(Some(Duration::from_millis(6100)));
    assert!(
        starting.starts_with("no worker was ready within 5s: the workers are still starting (for 7s so far)"),
        "{starting}"
    );

    let exit = |status, kill_reason| {
        let exit = herder_core::ProcessExit { status, kill_reason: Some(kill_reason) };
        let error =
            crate::shared_state::exit_error(WorkerRef { id: WorkerId(1), generation: Generation(2) }, &exit, None);
        error.to_string()
    };
    let (clean, killed) = (herder_core::ExitStatus::Code(0), herder_core::ExitStatus::Signal(9));
    let text = exit(clean, herder_core::KillReason::Reload);
    assert_eq!(text, "worker w1 (generation 2) was stopped: replaced by a reload; the call may have run");
    let text = exit(killed, herder_core::KillReason::Reload);
    assert!(text.contains("died: signal 9 (SIGKILL) (stopped: replaced by a reload)"), "{text}");
    let text = exit(clean, herder_core::KillReason::ProtocolViolation);
    assert!(text.contains("died: exit status 0 (killed: protocol violation)"), "{text}");
}
