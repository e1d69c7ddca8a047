//! What a death leaves in the log, and what no worker said (R38, R39): each fact a field of its own, and no answer but a worker's.

use crate::pools::steps::{FOR_EVER_MS, Outcome, answer, answers, process, submitted};
use herder::testing::{TestPool, log_lines_of, pool, wait_until};
use herder::{Error, Restart};
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, time::Duration};
use tracing::Level;

/// R38: the end of a worker is one event with all its facts. One of two is major; the last one concerns them all: critical.
#[tokio::test]
async fn r38_worker_death_is_logged_with_its_details() {
    for (size, level, severity, strategy) in
        [(2, Level::WARN, "major", "immediate_retry"), (1, Level::ERROR, "critical", "circuit_break")]
    {
        let pool = pool("fields", |context| {
            let rest = Duration::from_secs(3600);
            context
                .basic()
                .app("herder.demo:app")
                .pool_size(size)
                .restart(Restart::new().backoff(rest).max_backoff(rest))
                .build()
        })
        .await;
        let sleep = pool.call::<Value>("sleep", &json!({ "ms": FOR_EVER_MS }));
        let calls = submitted(&pool, [sleep], 1, 0).await;
        pool.kill_worker(process(1, 1)).await.unwrap();
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
        assert!(line.all.contains("reason=signal 9 (SIGKILL) (killed on request) "), "{line:?}");
        assert!(!line.all.contains("may_have_run") && !line.all.contains("exit_status"), "of no single call: {line:?}");

        error.log(pool.name(), "a call of ours failed");
        let line = log_lines_of(pool.name().as_str())
            .into_iter()
            .find(|line| line.message == "a call of ours failed")
            .unwrap();
        assert_eq!(line.level, Level::WARN);
        assert!(line.all.contains("may_have_run=true attempts=1 "), "{line:?}");
        pool.end().await;
    }
}

/// Writes down each answer before it gives it. What troubles it is in a file, so that the call itself is the same each time.
const HONEST: &str = "
import os, pathlib, time, herder
app = herder.App()
if pathlib.Path('broken').exists():
    raise RuntimeError('no such model')

@app.command
def answer(question: str) -> str:
    trouble = pathlib.Path('trouble').read_text()
    if trouble == 'raise':
        raise RuntimeError('I do not know') from KeyError('tea')
    if trouble == 'exit':
        os._exit(3)
    if trouble == 'hang':
        time.sleep(3600)
    mark = f'{question} {os.getpid()} {time.monotonic_ns()}'
    with open('ledger', 'a') as ledger:
        print(mark, file=ledger)
    return mark
";

async fn ask(pool: &TestPool, trouble: &str) -> Outcome {
    fs::write(pool.dir().join("trouble"), trouble).unwrap();
    let timeout = Duration::from_secs(if trouble == "hang" { 1 } else { 100 });
    answer(pool.call::<String>("answer", &json!({ "question": "tea?" })).timeout(timeout).reply()).await
}

/// R39: whatever keeps the worker from answering, the caller of a call that was answered a moment ago gets an error with its name:
/// no answer from before, no default. Each answer there was is one the worker wrote down.
#[tokio::test]
async fn r39_no_answer_is_made_up() {
    let pool = pool("honest", |context| {
        context.file("app.py", HONEST);
        let quick = Duration::from_millis(5);
        let restart = Restart::new().max(5).backoff(quick).max_backoff(quick).cooldown(Duration::from_secs(3600));
        context.basic().app("app.py:app").cwd(context.dir()).pool_size(1).restart(restart).build()
    })
    .await;
    let mut answered = Vec::new();
    for (trouble, slug) in [("raise", "exception"), ("exit", "worker-lost"), ("hang", "deadline-exceeded")] {
        answered.push(ask(&pool, "none").await.unwrap().decode::<String>().unwrap());
        let error = ask(&pool, trouble).await.unwrap_err();
        assert_eq!(error.slug(), slug);
        let traceback = error.problem().traceback.unwrap_or_default();
        assert_eq!(traceback.contains("KeyError: 'tea'"), slug == "exception", "Python's own causes, too: {traceback}");
    }
    answered.push(ask(&pool, "none").await.unwrap().decode::<String>().unwrap());
    fs::write(pool.dir().join("broken"), "").unwrap();
    let last = pool.base_workers().await[0].process();
    pool.kill_worker(last).await.unwrap();
    let failed = ask(&pool, "none").await.unwrap_err();
    assert!(matches!(&failed, Error::PoolFailed { .. }) && failed.to_string().contains("no such model"), "{failed}");
    let unknown = answer(pool.call::<String>("answers", &json!({ "question": "tea?" })).reply()).await.unwrap_err();
    assert!(matches!(unknown.slug(), "unknown-command" | "pool-failed"), "{unknown}");

    let ledger = fs::read_to_string(pool.dir().join("ledger")).unwrap();
    assert_eq!(ledger.lines().collect::<Vec<_>>(), answered, "each answer is the worker's own");
    assert_eq!(answered.iter().collect::<BTreeSet<_>>().len(), 4, "and each another one");
    pool.end().await;
}
