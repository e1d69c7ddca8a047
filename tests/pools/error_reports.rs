//! Log lines of dead workers, with one field for each fact (R38), and the guarantee that every result comes from a worker
//! (R39).

use crate::pools::steps::{FOR_EVER_MS, Outcome, answer, answers, process, submitted};
use herder::{
    Error,
    config::Restart,
    testing::{Signal, TestPool, log_lines_of, pool, signal, wait_until},
};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, time::Duration};
use tracing::Level;

/// R38: the death of a worker is one log line with all its fields. The severity is major if another worker is left, and
/// critical if none is. A death that somebody asked for is minor.
#[tokio::test]
async fn r38_worker_death_is_logged_with_its_details() {
    for (size, is_requested, level, severity, strategy) in [
        (2, false, Level::WARN, "major", "immediate_retry"),
        (1, false, Level::ERROR, "critical", "circuit_break"),
        (1, true, Level::INFO, "minor", "immediate_retry"),
    ] {
        let pool = pool("fields", |context| {
            let long = Duration::from_secs(3600);
            context
                .basic()
                .app("herder.demo:app")
                .pool_size(size)
                .restart(Restart::new().backoff(long).max_backoff(long))
                .build()
        })
        .await;
        let sleep = pool.call::<Value>("sleep", &json!({ "ms": FOR_EVER_MS }));
        let calls = submitted(&pool, [sleep], 1, 0).await;
        match is_requested {
            true => pool.kill_worker(process(1, 1)).await.unwrap(),
            false => signal(pool.pid(process(1, 1)).await, Signal::KILL).unwrap(),
        }
        let error = answers(calls).await.remove(0).unwrap_err();
        let lines = || log_lines_of(pool.name().as_str()).into_iter().filter(|line| line.message == "worker lost");
        wait_until("the death is logged", async || lines().count() == 1).await;
        let line = lines().next().unwrap();
        assert_eq!(line.level, level, "{line:?}");
        let fields = [
            ("error", "worker-lost"),
            ("category", "connection"),
            ("severity", severity),
            ("strategy", strategy),
            ("worker", "w1.1"),
            ("generation", "1"),
            ("signal", "9"),
        ];
        for (name, value) in fields {
            assert!(line.all.contains(&format!("{name}={value} ")), "{name}: {line:?}");
        }
        let reason = if is_requested { "signal 9 (SIGKILL) (killed on request)" } else { "signal 9 (SIGKILL)" };
        assert!(line.all.contains(&format!("reason={reason} ")), "{line:?}");
        assert!(
            !line.all.contains("may_have_run") && !line.all.contains("exit_status"),
            "the line belongs to no single call: {line:?}"
        );

        error.log(pool.name(), "a call of the test failed");
        let line = log_lines_of(pool.name().as_str())
            .into_iter()
            .find(|line| line.message == "a call of the test failed")
            .unwrap();
        assert_eq!(line.level, Level::WARN);
        assert!(line.all.contains("may_have_run=true attempts=1 "), "{line:?}");
        pool.shutdown_and_check().await;
    }
}

/// Writes each result into a file before it returns it. The test selects the fault with a file, so that the call itself is
/// always the same.
const RECORDED: &str = "
import os, pathlib, time, herder
app = herder.App()
if pathlib.Path('broken').exists():
    raise RuntimeError('no such model')

@app.command
def answer(question: str) -> str:
    fault = pathlib.Path('fault').read_text()
    if fault == 'raise':
        raise RuntimeError('I do not know') from KeyError('tea')
    if fault == 'exit':
        os._exit(3)
    if fault == 'hang':
        time.sleep(3600)
    mark = f'{question} {os.getpid()} {time.monotonic_ns()}'
    with open('results', 'a') as results:
        print(mark, file=results)
    return mark
";

/// Sends the same call each time, while the worker has this fault.
async fn ask(pool: &TestPool, fault: &str) -> Outcome {
    fs::write(pool.dir().join("fault"), fault).unwrap();
    let timeout = Duration::from_secs(if fault == "hang" { 1 } else { 100 });
    answer(pool.call::<String>("answer", &json!({ "question": "tea?" })).timeout(timeout).reply()).await
}

/// R39: whatever prevents a worker from answering, the caller gets an error that names the fault. It never gets an earlier
/// result or a default, although the same call succeeded before. Each result is one that the worker recorded.
#[tokio::test]
async fn r39_failed_call_gets_an_error_and_never_a_made_up_result() {
    let pool = pool("recorded", |context| {
        context.file("app.py", RECORDED);
        let quick = Duration::from_millis(5);
        let restart = Restart::new().max(5).backoff(quick).max_backoff(quick).cooldown(Duration::from_secs(3600));
        context.basic().app("app.py:app").cwd(context.dir()).pool_size(1).restart(restart).build()
    })
    .await;
    let mut answered = Vec::new();
    for (fault, slug) in [("raise", "exception"), ("exit", "worker-lost"), ("hang", "deadline-exceeded")] {
        answered.push(ask(&pool, "none").await.unwrap().decode::<String>().unwrap());
        let error = ask(&pool, fault).await.unwrap_err();
        assert_eq!(error.slug(), slug);
        let traceback = error.problem().traceback.unwrap_or_default();
        assert_eq!(
            traceback.contains("KeyError: 'tea'"),
            slug == "exception",
            "the traceback has the cause of the exception: {traceback}"
        );
    }
    answered.push(ask(&pool, "none").await.unwrap().decode::<String>().unwrap());
    fs::write(pool.dir().join("broken"), "").unwrap();
    let last = pool.base_workers().await[0].process();
    pool.kill_worker(last).await.unwrap();
    let failed = ask(&pool, "none").await.unwrap_err();
    assert!(matches!(&failed, Error::PoolFailed { .. }) && failed.to_string().contains("no such model"), "{failed}");
    let unknown = answer(pool.call::<String>("answers", &json!({ "question": "tea?" })).reply()).await.unwrap_err();
    assert!(matches!(unknown.slug(), "unknown-command" | "pool-failed"), "{unknown}");

    let recorded = fs::read_to_string(pool.dir().join("results")).unwrap();
    assert_eq!(recorded.lines().collect::<Vec<_>>(), answered, "each result was recorded by the worker");
    assert_eq!(answered.iter().collect::<BTreeSet<_>>().len(), 4, "all results differ");
    pool.shutdown_and_check().await;
}
