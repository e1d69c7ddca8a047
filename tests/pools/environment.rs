//! What a worker finds in its environment that nobody gave it: thread counts of numeric libraries. And what it does not find there: the
//! token of the host. What the host's own environment says is tested with `herder serve`, whose environment a test can choose.

use herder::testing::{TestPool, log_lines_of, pool};
use herder::{Basic, EnvMode, NumericThreads, PoolBuilder};
use serde_json::json;
use std::{collections::BTreeMap, num::NonZero, thread::available_parallelism};

pub(crate) const APP: &str = "
import os
import herder
app = herder.App()

@app.command
def environment(names: list = []) -> dict:
    return {name: os.environ.get(name) for name in names}
";

pub(crate) const VARIABLES: [&str; 5] =
    ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"];

/// A pool whose workers do not see what the environment of this test says.
async fn clean(change: impl FnOnce(PoolBuilder<Basic>) -> PoolBuilder<Basic>) -> TestPool {
    pool("environment", |context| {
        context.file("app.py", APP);
        change(context.basic().app("app.py:app").env_mode(EnvMode::Clean).pool_size(1)).build()
    })
    .await
}

pub(crate) type Seen = BTreeMap<String, Option<String>>;

pub(crate) async fn seen(pool: &TestPool, names: &[&str]) -> Seen {
    pool.call("environment", &json!({ "names": names })).await.unwrap()
}

pub(crate) fn all(value: Option<&str>) -> Seen {
    VARIABLES.iter().map(|name| ((*name).to_owned(), value.map(str::to_owned))).collect()
}

pub(crate) fn cores() -> usize {
    available_parallelism().unwrap().get()
}

/// R11: each worker's numeric libraries have its share of the cores, at least one thread, and the log says so once. The next
/// process of a slot has the same.
#[tokio::test]
async fn r11_numeric_libraries_have_their_share_of_the_cores() {
    for workers in [1, 2, 3] {
        let pool = clean(|builder| builder.pool_size(workers).overflow(2)).await;
        let share = usize::max(1, cores() / workers).to_string();
        assert_eq!(seen(&pool, &VARIABLES).await, all(Some(&share)), "{workers} workers on {} cores", cores());
        for worker in pool.base_workers().await {
            pool.kill_worker(worker.process()).await.unwrap();
        }
        pool.wait_healthy("environment").await;
        assert_eq!(seen(&pool, &VARIABLES).await, all(Some(&share)));
        let told = log_lines_of(pool.name().as_str());
        let told: Vec<_> = told.iter().filter(|line| line.message.contains("numeric libraries")).collect();
        assert_eq!(told.len(), 1, "{told:?}");
        let numbers = [format!("threads={share}"), format!("cores={}", cores()), format!("pool_size={workers}")];
        assert!(numbers.iter().all(|number| told[0].all.contains(number)), "{told:?}");
        pool.end().await;
    }
}

/// R11, R51: a number in place of the share, or nothing at all; the log says nothing of what is not set.
#[tokio::test]
async fn r51_numeric_threads_can_be_a_number_or_off() {
    let fixed = NumericThreads::Fixed(NonZero::new(7).unwrap());
    for (setting, value, lines) in [(fixed, Some("7"), 1), (NumericThreads::Unset, None, 0)] {
        let pool = clean(|builder| builder.numeric_threads(setting)).await;
        assert_eq!(seen(&pool, &VARIABLES).await, all(value), "{setting:?}");
        let told = log_lines_of(pool.name().as_str());
        assert_eq!(told.iter().filter(|line| line.message.contains("numeric libraries")).count(), lines, "{told:?}");
        pool.end().await;
    }
}

/// A variable that the pool's `env` has stays as it is there. The libraries that take their number from `OMP_NUM_THREADS` unless they
/// have one of their own go on doing so.
#[tokio::test]
async fn thread_counts_of_the_pools_env_stay() {
    let share = cores().to_string();
    let kept = clean(|builder| builder.env("MKL_NUM_THREADS", "5")).await;
    let mut wanted = all(Some(&share));
    wanted.insert("MKL_NUM_THREADS".into(), Some("5".into()));
    assert_eq!(seen(&kept, &VARIABLES).await, wanted);
    kept.end().await;

    let followed = clean(|builder| builder.env("OMP_NUM_THREADS", "5")).await;
    let mut wanted = all(None);
    wanted.insert("OMP_NUM_THREADS".into(), Some("5".into()));
    wanted.insert("VECLIB_MAXIMUM_THREADS".into(), Some(share));
    assert_eq!(seen(&followed, &VARIABLES).await, wanted);
    followed.end().await;
}

/// A pool of a `command` has them too: it may be Python as well, or use OpenMP.
#[tokio::test]
async fn a_command_has_its_share_of_the_cores() {
    let pool = pool("command", |context| {
        context.file("app.py", APP);
        let command = context.basic().command(["python3", "-m", "herder", "app.py:app"]).pool_size(1);
        command.env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/python/src")).env_mode(EnvMode::Clean).build()
    })
    .await;
    assert_eq!(seen(&pool, &VARIABLES).await, all(Some(&cores().to_string())));
    pool.end().await;
}

/// A pool that is given the host's token on purpose gets it, with a clean environment and with an inherited one.
#[tokio::test]
async fn a_token_that_is_given_to_a_pool_reaches_its_workers() {
    for mode in [EnvMode::Clean, EnvMode::Inherit] {
        let pool = clean(|builder| builder.env_mode(mode).env("HERDER_TOKEN", "given")).await;
        let wanted = BTreeMap::from([("HERDER_TOKEN".to_owned(), Some("given".to_owned()))]);
        assert_eq!(seen(&pool, &["HERDER_TOKEN"]).await, wanted, "{mode:?}");
        pool.end().await;
    }
}
