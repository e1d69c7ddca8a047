//! Each feature flag alone, on and off, in code and in TOML: it changes its own part of the status, the registry and the
//! routing, and nothing else (R9, R52). Examples that do not compile show in the documentation that a basic `PoolConfig` has no
//! flags.

use super::{enhanced, keys, metrics::ACTIVITY_KEYS};
use crate::pools::steps::{answer, bind, count, has_affinity_actor, pid, process, status, submitted};
use herder::{
    Error, Pool,
    config::{Config, Health},
    session::Routing,
    status::{WorkerHealth, WorkerState},
    testing::{Signal, TestContext, TestPool, pool, signal, wait_until, with_timeout},
};
use serde_json::json;
use std::{path::Path, time::Duration};

/// A setting of the three flags.
#[derive(Clone, Copy, Debug)]
struct Flags {
    affinity: bool,
    metrics: bool,
    machine: bool,
}

const ALL: Flags = Flags { affinity: true, metrics: true, machine: true };
const FLAGS: [Flags; 5] = [
    ALL,
    Flags { affinity: false, ..ALL },
    Flags { metrics: false, ..ALL },
    Flags { machine: false, ..ALL },
    Flags { affinity: false, metrics: false, machine: false },
];

impl Flags {
    /// Starts a pool with these flags, set in code.
    async fn in_code(self) -> TestPool {
        let Self { affinity, metrics, machine } = self;
        enhanced(|builder| builder.session_affinity(affinity).worker_metrics(metrics).state_machine(machine)).await
    }

    /// Starts a pool with these flags, set in a file.
    async fn in_toml(self) -> TestPool {
        pool("flags", |context| Ok(context.toml(&format!("worker_type = 'enhanced'\n{}", self.table())))).await
    }

    fn table(self) -> String {
        let Self { affinity, metrics, machine } = self;
        format!("features = {{ session_affinity = {affinity}, worker_metrics = {metrics}, state_machine = {machine} }}")
    }

    /// Asserts that the pool has the parts of the enabled flags and none of the disabled ones.
    async fn check(self, pool: &TestPool) {
        self.check_with(pool, "ann").await;
    }

    /// Asserts that a reload loses only what the flags provide, and that the new workers have the same parts.
    async fn check_reload(self, pool: &TestPool) {
        let report = with_timeout("the reload", pool.reload()).await.unwrap();
        let expected = (pool.config().pool_size(), u32::from(self.affinity));
        assert_eq!((report.workers, report.sessions), expected, "{self:?}");
        // The reload does not wait for the exit of the last old process. One that is exiting has no memory to show.
        let ended =
            async || pool.workers().await.unwrap().iter().all(|worker| worker.state != WorkerState::Terminating);
        wait_until("the old workers have ended", ended).await;
        let next = answer(pid(pool, "ann").reply()).await;
        assert_eq!(matches!(next, Err(Error::SessionWorkerLost { .. })), self.affinity, "{self:?}: {next:?}");
        self.check_with(pool, "bob").await;
    }

    async fn check_with(self, pool: &TestPool, session: &str) {
        let Self { affinity, metrics, machine } = self;
        let reply = answer(pid(pool, session).reply()).await.unwrap();
        assert_eq!(reply.routing, if affinity { Routing::New } else { Routing::Unrouted }, "{self:?}");
        assert_eq!(has_affinity_actor(pool), affinity, "{self:?}");
        let status = status(pool).await;
        let features = json!({ "session_affinity": affinity, "worker_metrics": metrics, "state_machine": machine });
        assert_eq!(status["features"], features);
        assert_eq!(status["session_affinity"].get("total_sessions").is_some(), affinity, "{status}");
        assert_eq!(status["session_affinity"] == json!({}), !affinity, "{status}");
        for worker in status["workers"].as_array().unwrap() {
            let parts = ["sessions", "metrics", "history"].map(|part| keys(worker).contains(part));
            assert_eq!(parts, [affinity, metrics, machine], "{self:?}: {worker}");
            let activity = ACTIVITY_KEYS.map(|part| keys(worker).contains(part));
            assert_eq!(activity, [metrics; 6], "{self:?}: {worker}");
        }
    }
}

/// R9, R31: flags set in code, before and after a reload.
#[tokio::test]
async fn each_flag_switches_its_own_part_in_code() {
    for flags in FLAGS {
        let pool = flags.in_code().await;
        flags.check(&pool).await;
        flags.check_reload(&pool).await;
        pool.shutdown_and_check().await;
    }
}

/// R9, R51: flags set in TOML. A flag that is not set is on.
#[tokio::test]
async fn each_flag_switches_its_own_part_in_toml() {
    for flags in FLAGS {
        let pool = flags.in_toml().await;
        flags.check(&pool).await;
        pool.shutdown_and_check().await;
    }
    let default = pool("default", |context| Ok(context.toml("worker_type = 'enhanced'"))).await;
    ALL.check(&default).await;
    default.shutdown_and_check().await;
}

/// R9: without `session_affinity` sessions are tracked as in a basic pool. A handler that uses session state gets an error that
/// names the flag.
#[tokio::test]
async fn without_session_affinity_sessions_are_tracked_and_unrouted() {
    let pool = Flags { affinity: false, ..ALL }.in_code().await;
    let refused = count(&pool, "ann").await.unwrap_err();
    assert!(format!("{refused:?}").contains("features.session_affinity = true"), "{refused:?}");
    assert_eq!(answer(pid(&pool, "ann").reply()).await.unwrap().routing, Routing::Unrouted);
    let tracked = pool.session("ann").await.unwrap().unwrap();
    assert_eq!((tracked.worker, tracked.operations), (None, 2));
    pool.shutdown_and_check().await;
}

/// R9: with `state_machine` a worker that misses a ping is degraded, gets no new call, and has the transition in its history.
/// Without the flag it stays ready.
#[tokio::test]
async fn state_machine_decides_whether_a_silent_worker_is_degraded() {
    let health = Health::new().interval(Duration::from_millis(20)).timeout(Duration::from_millis(200)).failures(1000);
    for machine in [true, false] {
        let pool = enhanced(|builder| builder.health(health).state_machine(machine)).await;
        let silent = pool.pid(process(1, 1)).await;
        bind(&pool, "ann", 1).await;
        signal(silent, Signal::STOP).unwrap();
        wait_until("a ping is missed", async || health_of(&pool).await == WorkerHealth::Unhealthy).await;
        let state = pool.worker(process(1, 1)).await.unwrap().state;
        assert_eq!(state, if machine { WorkerState::Degraded } else { WorkerState::Ready });
        let (in_flight, waiting) = if machine { (0, 1) } else { (1, 0) };
        let calls = submitted(&pool, [pid(&pool, "ann")], in_flight, waiting).await;
        signal(silent, Signal::CONT).unwrap();
        for call in calls {
            assert_eq!(answer(call).await.unwrap().decode::<u32>().unwrap(), silent);
        }
        wait_until("the worker answers pings again", async || health_of(&pool).await == WorkerHealth::Healthy).await;
        let history = status(&pool).await["workers"][0]["history"].to_string();
        assert_eq!(history.contains("missed a ping"), machine, "{history}");
        pool.shutdown_and_check().await;
    }
}

async fn health_of(pool: &TestPool) -> WorkerHealth {
    pool.worker(process(1, 1)).await.unwrap().health
}

/// R9, R52: `[defaults.features]` applies to the enhanced pools of its file and not to the basic ones. A flag of the pool
/// itself takes precedence.
#[tokio::test]
async fn defaults_reach_enhanced_pools_only() {
    let context = ["plain", "inherits", "own"].map(TestContext::new);
    let keys = ["", "worker_type = 'enhanced'", "worker_type = 'enhanced'\nfeatures.session_affinity = true"];
    let mut file = String::from("[defaults.features]\nsession_affinity = false\nworker_metrics = false\n");
    file.extend(context.iter().zip(keys).map(|(context, keys)| context.table(keys)));
    let configs = Config::from_toml(&file, Path::new(".")).unwrap().pools;
    let none = Flags { affinity: false, metrics: false, machine: false };
    let expected = [none, Flags { machine: true, ..none }, Flags { affinity: true, metrics: false, machine: true }];
    for ((config, context), flags) in configs.into_iter().zip(context).zip(expected) {
        let pool = TestPool::new(Pool::start(config).await.unwrap(), context);
        flags.check(&pool).await;
        pool.shutdown_and_check().await;
    }
}

/// R9, R52: a changed flag takes effect when the pool starts again under the same name, and can be changed back.
#[tokio::test]
async fn a_changed_flag_takes_effect_at_the_next_start() {
    let mut context = TestContext::new("rollout");
    for flags in [ALL, Flags { affinity: false, ..ALL }, ALL] {
        let config = context.toml(&format!("worker_type = 'enhanced'\n{}", flags.table()));
        let name = context.name().to_owned();
        let pool = TestPool::new(Pool::start(config).await.unwrap(), context);
        flags.check(&pool).await;
        assert_eq!(count(&pool, "bob").await.is_ok(), flags.affinity, "{flags:?}");
        pool.shutdown_and_check().await;
        context = TestContext::named(&name);
    }
}

/// R9, R51: an enabled flag in the table of a basic pool is refused with its key and position. A disabled flag is accepted,
/// because a basic pool has no features anyway.
#[test]
fn a_flag_in_the_table_of_a_basic_pool_is_refused() {
    let plain = "[pools.a]\napp = 'm:app'\n";
    let parsed = |file: &str| Config::from_toml(file, Path::new("."));
    for flag in ["session_affinity", "worker_metrics", "state_machine"] {
        let with = |value: bool| parsed(&format!("{plain}\n[pools.a.features]\n{flag} = {value}\n"));
        let error = with(true).unwrap_err().to_string();
        let message = "only for enhanced pools; set `worker_type = \"enhanced\"` in [pools.a], or remove it";
        assert_eq!(error, format!("herder.toml:5:1: pools.a.features.{flag}: {message}"));
        assert_eq!(with(false).unwrap(), parsed(plain).unwrap());
    }
}
