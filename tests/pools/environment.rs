//! Variables that Herder sets in the environment of a worker (thread counts of numeric libraries) and a variable that it
//! removes (the token of the host). The effect of the host's environment is tested with `herder serve`, whose environment a
//! test can choose.

use herder::{
    config::{Basic, EnvMode, NumericThreads, PoolBuilder},
    testing::{TestPool, log_lines_of, pool},
};
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

/// Starts a pool whose workers do not inherit the environment of this test.
async fn clean_pool(change: impl FnOnce(PoolBuilder<Basic>) -> PoolBuilder<Basic>) -> TestPool {
    pool("environment", |context| {
        context.file("app.py", APP);
        change(context.basic().app("app.py:app").env_mode(EnvMode::Clean).pool_size(1)).build()
    })
    .await
}

pub(crate) type Variables = BTreeMap<String, Option<String>>;

/// Returns the values of these variables in a worker.
pub(crate) async fn variables(pool: &TestPool, names: &[&str]) -> Variables {
    pool.call("environment", &json!({ "names": names })).await.unwrap()
}

/// Returns each thread variable with this value.
pub(crate) fn all_set_to(value: Option<&str>) -> Variables {
    VARIABLES.iter().map(|name| ((*name).to_owned(), value.map(str::to_owned))).collect()
}

pub(crate) fn cores() -> usize {
    available_parallelism().unwrap().get()
}

/// R11: the numeric libraries of each worker get the worker's share of the cores, at least one thread. The log has this once.
/// The next process in a slot gets the same share.
#[tokio::test]
async fn r11_numeric_libraries_get_a_share_of_the_cores() {
    for workers in [1, 2, 3] {
        let pool = clean_pool(|builder| builder.pool_size(workers).overflow(2)).await;
        let share = usize::max(1, cores() / workers).to_string();
        assert_eq!(
            variables(&pool, &VARIABLES).await,
            all_set_to(Some(&share)),
            "{workers} workers on {} cores",
            cores()
        );
        for worker in pool.base_workers().await {
            pool.kill_worker(worker.process()).await.unwrap();
        }
        pool.wait_healthy("environment").await;
        assert_eq!(variables(&pool, &VARIABLES).await, all_set_to(Some(&share)));
        let lines = log_lines_of(pool.name().as_str());
        let logged: Vec<_> = lines.iter().filter(|line| line.message.contains("numeric libraries")).collect();
        assert_eq!(logged.len(), 1, "{logged:?}");
        let numbers = [format!("threads={share}"), format!("cores={}", cores()), format!("pool_size={workers}")];
        assert!(numbers.iter().all(|number| logged[0].all.contains(number)), "{logged:?}");
        pool.shutdown_and_check().await;
    }
}

/// R11, R51: `numeric_threads` can be a number or `unset`. With `unset` no variable is set and nothing is logged.
#[tokio::test]
async fn r51_numeric_threads_can_be_a_number_or_unset() {
    let fixed = NumericThreads::Fixed(NonZero::new(7).unwrap());
    for (setting, value, lines) in [(fixed, Some("7"), 1), (NumericThreads::Unset, None, 0)] {
        let pool = clean_pool(|builder| builder.numeric_threads(setting)).await;
        assert_eq!(variables(&pool, &VARIABLES).await, all_set_to(value), "{setting:?}");
        let logged = log_lines_of(pool.name().as_str());
        let count = logged.iter().filter(|line| line.message.contains("numeric libraries")).count();
        assert_eq!(count, lines, "{logged:?}");
        pool.shutdown_and_check().await;
    }
}

/// R11: a variable in the pool's `env` is kept. If the pool's `env` has `OMP_NUM_THREADS`, the variables of libraries that fall
/// back to it are not set.
#[tokio::test]
async fn thread_counts_in_the_pools_env_are_kept() {
    let share = cores().to_string();
    let kept = clean_pool(|builder| builder.env("MKL_NUM_THREADS", "5")).await;
    let mut expected = all_set_to(Some(&share));
    expected.insert("MKL_NUM_THREADS".into(), Some("5".into()));
    assert_eq!(variables(&kept, &VARIABLES).await, expected);
    kept.shutdown_and_check().await;

    let followed = clean_pool(|builder| builder.env("OMP_NUM_THREADS", "5")).await;
    let mut expected = all_set_to(None);
    expected.insert("OMP_NUM_THREADS".into(), Some("5".into()));
    expected.insert("VECLIB_MAXIMUM_THREADS".into(), Some(share));
    assert_eq!(variables(&followed, &VARIABLES).await, expected);
    followed.shutdown_and_check().await;
}

/// R11: workers of a `command` get the variables too, because the command may be Python or use OpenMP.
#[tokio::test]
async fn a_command_worker_gets_a_share_of_the_cores() {
    let pool = pool("command", |context| {
        context.file("app.py", APP);
        let command = context.basic().command(["python3", "-m", "herder", "app.py:app"]).pool_size(1);
        command.env("PYTHONPATH", concat!(env!("CARGO_MANIFEST_DIR"), "/python/src")).env_mode(EnvMode::Clean).build()
    })
    .await;
    assert_eq!(variables(&pool, &VARIABLES).await, all_set_to(Some(&cores().to_string())));
    pool.shutdown_and_check().await;
}

/// A token in the pool's `env` reaches the workers, with a clean and with an inherited environment.
#[tokio::test]
async fn a_token_in_the_pools_env_reaches_the_workers() {
    for mode in [EnvMode::Clean, EnvMode::Inherit] {
        let pool = clean_pool(|builder| builder.env_mode(mode).env("HERDER_TOKEN", "given")).await;
        let expected = BTreeMap::from([("HERDER_TOKEN".to_owned(), Some("given".to_owned()))]);
        assert_eq!(variables(&pool, &["HERDER_TOKEN"]).await, expected, "{mode:?}");
        pool.shutdown_and_check().await;
    }
}

/// `{slot}` in a value of `env` and `HERDER_SLOT` are the number of the slot. The next process of a slot has the same one, and
/// overflow workers have the numbers after those of the base workers.
#[tokio::test]
async fn each_slot_has_its_number_in_the_environment() {
    const SLOTS: &str = "
import os, time
import herder
app = herder.App()

@app.command
def slot(folder: str, count: int) -> list:
    own = [os.environ['HERDER_SLOT'], os.environ['DEVICE'], os.environ['PYTHONPATH'].split(':')[-1]]
    open(f'{folder}/{own[0]}-{os.getpid()}', 'w').close()
    while len(os.listdir(folder)) < count:
        time.sleep(0.01)
    return own
";
    let pool = pool("slots", |context| {
        context.file("app.py", SLOTS);
        let pool = context.basic().app("app.py:app").pool_size(2).overflow(1).env_mode(EnvMode::Clean);
        pool.env("DEVICE", "gpu{slot}/{slot}{x}").env("PYTHONPATH", "/packages/{slot}").build()
    })
    .await;
    let slots = async || {
        // Each call waits for the others, so each runs on a worker of its own.
        let folder = tempfile::tempdir().unwrap();
        let arguments = json!({ "folder": folder.path(), "count": 3 });
        let calls = (0..3).map(|_| pool.call::<Vec<String>>("slot", &arguments));
        let answers = futures_util::future::join_all(calls.map(std::future::IntoFuture::into_future)).await;
        let mut slots: Vec<_> = answers.into_iter().map(Result::unwrap).collect();
        slots.sort();
        slots
    };
    let expected = ["0", "1", "2"]
        .map(|slot| vec![slot.to_owned(), format!("gpu{slot}/{slot}{{x}}"), format!("/packages/{slot}")]);
    assert_eq!(slots().await, expected);
    for worker in pool.base_workers().await {
        pool.kill_worker(worker.process()).await.unwrap();
    }
    assert_eq!(slots().await, expected, "after the death of both base workers");
    pool.shutdown_and_check().await;
}
