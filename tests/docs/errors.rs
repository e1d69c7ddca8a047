//! The tables of errors in `docs/semantics.md` match the code: the name, HTTP type and status of each error, and what a caller
//! may do.

use super::pages::{read, table};
use herder::{
    Error, Pool, PoolConfig, SessionId,
    error::{Attempts, Category, ExitReport, Incident, Severity, Strategy, decide},
    status::{Generation, WorkerId, WorkerRef},
};
use std::{collections::BTreeSet, sync::Arc, time::Duration};

/// Returns one value of each error variant. `the_list_has_every_error_variant` compares this list with the source, so that no
/// variant is missing in the page.
pub(super) fn all() -> Vec<Error> {
    let (text, session) = (|| String::from("x"), || SessionId::new("ann").unwrap());
    let (worker, generation) = (WorkerId(1), Generation(1));
    let worker_ref = WorkerRef { id: worker, generation };
    let (report, reason) = (Arc::<ExitReport>::default, || Arc::from("x"));
    let (may_have_run, attempts) = (true, Attempts::default);
    let (code, data, status, retry_after) = (None, None, None, Duration::ZERO);
    let unbuilt = PoolConfig::basic("no name").app("m:app").build().unwrap_err();
    vec![
        Error::UnknownCommand { command: text(), hint: text() },
        Error::BadArguments { message: text(), errors: Vec::new() },
        Error::Malformed { message: text(), cause: None },
        Error::InvalidSession(SessionId::new("").unwrap_err()),
        Error::Rejected { message: text(), code, data, status, worker: worker_ref, attempts: attempts() },
        Error::Exception { kind: text(), message: text(), traceback: None, worker: worker_ref, attempts: attempts() },
        Error::Unencodable { message: text(), worker: worker_ref, attempts: attempts() },
        Error::TooLarge { message: text(), may_have_run, worker: None },
        Error::Cancelled { message: text(), worker: Some(worker_ref) },
        Error::QueueFull { limit: 1 },
        Error::SessionQueueFull { limit: 1 },
        Error::Overloaded { estimated_wait: Duration::ZERO, max_wait: Duration::ZERO },
        Error::QueueTimeout { waited: Duration::ZERO, starting: None, last_start_error: None, attempts: attempts() },
        Error::DeadlineExceeded { may_have_run, command_timeout: None, attempts: attempts() },
        Error::IdleTimeout { idle: Duration::ZERO, attempts: attempts() },
        Error::StreamStalled { stall: Duration::ZERO, attempts: attempts() },
        Error::WorkerLost {
            worker,
            generation,
            reason: reason(),
            may_have_run,
            report: report(),
            attempts: attempts(),
        },
        Error::SessionWorkerLost {
            session: session(),
            worker,
            generation,
            reason: reason(),
            may_have_run,
            report: report(),
            attempts: attempts(),
        },
        Error::SessionExpired { session: session() },
        Error::SessionNotFound { session: session() },
        Error::SessionQuota { max: 1 },
        Error::WorkerBusy { worker },
        Error::NoSuchWorker { message: text() },
        Error::Bind(herder::session::BindError::NoAffinity),
        Error::PoolFailed { reason: "x".into(), retry_after, attempts: attempts() },
        Error::BreakerOpen { retry_after },
        Error::PoisonCall { fingerprint: text(), deaths: 3, retry_after, attempts: attempts() },
        Error::PoolClosed { may_have_run, attempts: attempts() },
        Error::PoolNameTaken { pool: text() },
        Error::PoolEnding { pool: text() },
        Error::Forked { may_have_run },
        Error::UnknownPool { pool: text(), hint: text() },
        Error::StartFailed { worker: Some(worker_ref), reason: "x".into(), report: report() },
        Error::Internal { reason: "x".into() },
        Error::Decode { message: text(), cause: None },
        Error::Config(unbuilt),
    ]
}

/// Returns the name of an error's variant.
pub(super) fn name(error: &Error) -> String {
    let shown = format!("{error:?}");
    shown.chars().take_while(char::is_ascii_alphanumeric).collect()
}

fn yes(answer: bool) -> &'static str {
    if answer { "yes" } else { "no" }
}

/// Returns the cell that states whether a call with this error may have run. `says` means that the error itself states it.
fn ran(error: &Error) -> &'static str {
    let says = [
        "TooLarge",
        "QueueTimeout",
        "DeadlineExceeded",
        "WorkerLost",
        "SessionWorkerLost",
        "PoolFailed",
        "PoisonCall",
        "PoolClosed",
        "Forked",
    ];
    if says.contains(&name(error).as_str()) { "says" } else { yes(error.may_have_run()) }
}

/// R38: the table of answers matches the code.
#[test]
fn r38_documented_answers_match_the_code() {
    let page = read("docs/semantics.md");
    let rows = table(&page, &["outcome", "`Error`", "HTTP `type` ends in", "status", "retry", "ran"]);
    let written: Vec<Vec<String>> = rows.into_iter().map(|row| row[1..].to_vec()).collect();
    let expected: Vec<Vec<String>> = all()
        .iter()
        .map(|error| {
            let status = error.problem().status.to_string();
            let row = [
                format!("`{}`", name(error)),
                format!("`{}`", error.slug()),
                status,
                yes(error.is_retryable()).into(),
                ran(error).into(),
            ];
            row.to_vec()
        })
        .collect();
    assert_eq!(written, expected);
}

/// R32: the strategy of each error and the decision table from which it follows match the code.
#[test]
fn r32_documented_error_tables_match_the_code() {
    let page = read("docs/semantics.md");
    let wait = |error: &Error| match (error.retry_after(), error) {
        (None, _) => "no",
        (_, Error::PoolFailed { .. } | Error::BreakerOpen { .. } | Error::Overloaded { .. }) => "says",
        (Some(_), _) => "1 s",
    };
    let row = |error: &Error| {
        let first = error.decision_if_idempotent(false);
        let (category, severity, strategy) = (error.category(), first.severity, first.strategy);
        let texts = [category.to_string(), severity.to_string(), strategy.to_string(), first.retries.to_string()];
        let once_run = match ran(error) {
            "no" => "-".into(),
            _ => decide(Incident { category, severity, attempt: 1, all_workers: false, repeatable: false })
                .strategy
                .to_string(),
        };
        [vec![format!("`{}`", name(error))], texts.to_vec(), vec![once_run, wait(error).into()]].concat()
    };
    let expected: Vec<Vec<String>> = all().iter().map(row).collect();
    let columns = ["error", "category", "severity", "strategy", "retries", "if it may have run", "wait"];
    assert_eq!(table(&page, &columns), expected);
    for error in all().iter().filter(|error| error.may_have_run()) {
        assert_eq!(error.decision(false).retries, 0, "{error:?}: a call that may have run must not be retried");
    }

    let of_category = |category: Category| {
        let strategy = |severity| {
            decide(Incident { category, severity, attempt: 1, all_workers: false, repeatable: true })
                .strategy
                .to_string()
        };
        [vec![category.to_string()], Severity::ALL.map(strategy).to_vec()].concat()
    };
    let expected: Vec<Vec<String>> = Category::ALL.into_iter().map(of_category).collect();
    assert_eq!(table(&page, &["category", "`warning`", "`minor`", "`major`", "`critical`"]), expected);

    let limits: Vec<_> =
        table(&page, &["strategy", "retries", "what to do"]).into_iter().map(|row| row[..2].to_vec()).collect();
    assert_eq!(limits, Strategy::ALL.map(|strategy| vec![format!("`{strategy}`"), strategy.retries().to_string()]));
}

/// Errors with a `may_have_run` field return its value.
#[test]
fn errors_with_may_have_run_return_it() {
    for may_have_run in [false, true] {
        assert_eq!(
            Error::DeadlineExceeded { may_have_run, command_timeout: None, attempts: Attempts::default() }
                .may_have_run(),
            may_have_run
        );
        assert_eq!(Error::PoolClosed { may_have_run, attempts: Attempts::default() }.may_have_run(), may_have_run);
    }
}

/// The list of this file has every variant in the source of `Error`.
#[test]
fn the_list_has_every_error_variant() {
    let source = read("actors/src/error/kinds.rs");
    let begin = source.find("pub enum Error {").unwrap();
    let end = begin + source[begin..].find("\n}").unwrap();
    let variants: BTreeSet<String> = source[begin..end]
        .lines()
        .filter_map(|line| line.strip_prefix("    ").filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase())))
        .map(|line| line.chars().take_while(char::is_ascii_alphanumeric).collect())
        .collect();
    let listed: BTreeSet<String> = all().iter().map(name).collect();
    assert_eq!(variants, listed);
}

/// An application can hold errors and handles across awaits and threads.
#[test]
fn errors_and_handles_are_send_and_sync() {
    fn check<T: Send + Sync + 'static>() {}
    check::<Error>();
    check::<Pool>();
}
