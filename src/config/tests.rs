//! Complete files: the configuration they give, and the message for each mistake.

use super::*;
use herder_actors::schema::{Key, KeyType, Scope, TABLE};
use herder_actors::{
    Affinity, Backoff, Breaker, Cancel, CountedFailures, EnvMode, Expiry, Features, Health, Launch, NumericThreads,
    Pipeline, Poison, PoolConfig, Queue, Restart, Retry, Sessions, Stop, Streams, WorkerType,
};
use insta::assert_snapshot;
use std::num::NonZero;
use std::time::Duration;

const APP: &str = "[pools.a]\napp = 'm:app'\n";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::from_toml(text, Path::new("."))
}

fn pool(text: &str) -> PoolConfig {
    parse(text).unwrap_or_else(|error| panic!("{error}")).pools.remove(0)
}

/// Returns the error of a file.
fn refused(text: &str) -> String {
    parse(text).map(|config| panic!("{config:?}")).unwrap_err().to_string()
}

/// Returns the error of a basic pool's table. The given keys start in line 3.
fn refused_in_pool(keys: &str) -> String {
    refused(&format!("{APP}{keys}"))
}

fn limits(max_batch_size: u32, max_wait: Duration) -> BatchSettings {
    BatchSettings { max_batch_size: NonZero::new(max_batch_size), max_wait: Some(max_wait) }
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// R51: a file and the builder give the same configuration, for every key.
#[test]
#[expect(clippy::too_many_lines, reason = "lists every key beside its method")]
fn r51_file_and_code_make_the_same() {
    let text = r#"
        [pools.models]
        worker_type = "enhanced"
        app = "my_models.py:app"
        python = "python3"
        env = { OMP_NUM_THREADS = "1" }
        env_mode = "clean"
        numeric_threads = 3
        start = "template"
        lazy = true
        pool_size = 4
        overflow = 3
        timeout = "31s"
        queue = { limit = 1001, timeout = "6s", per_session = 7, shed = false }
        concurrency = 2
        pipeline = 3
        forward_headers = ["X-Tenant", "traceparent"]
        start_timeout = "61s"
        overflow_delay = "99ms"
        overflow_idle_timeout = "32s"
        max_frame = 65536
        cancel = { interrupt = "2s", kill = "6s" }
        stream = { window = 65536, stall = "29s" }
        batch = { predict = { max_batch_size = 16, max_wait = "5ms" }, "a.b" = { max_wait = "0s" } }
        buffers = { max_bytes = 1048576 }
        stop = { grace = "6s", term = "3s" }
        sessions = { timeout = "6m", cleanup_interval = "2m", expiry = "two_phase", grace = "3s", affinity = "hint", on_expired = "rebind", max = 10001 }
        health = { interval = "33s", timeout = "6s", failures = 4 }
        restart = { max = 9, window = "62s", min_uptime = "11s", backoff = "200ms", max_backoff = "12s", cooldown = "34s" }
        retry = { attempts = 4, backoff = "fibonacci", base = "1s", max = "7s", jitter = 0.5, budget = 0.125 }
        breaker = { enabled = true, failure_threshold = 6, success_threshold = 4, open_duration = "63s", half_open_max_calls = 2, counts = ["signal", "connection"] }
        poison = { enabled = true, max_worker_deaths = 4, quarantine = "64s" }
        features = { session_affinity = true, worker_metrics = false, state_machine = false }
    "#;
    let sessions = Sessions::new().timeout(secs(360)).cleanup_interval(secs(120)).max(10_001);
    let code = PoolConfig::enhanced("models")
        .app("my_models.py:app")
        .python("python3")
        .env("OMP_NUM_THREADS", "1")
        .env_mode(EnvMode::Clean)
        .numeric_threads(NumericThreads::Fixed(NonZero::new(3).unwrap()))
        .start(StartMethod::Template)
        .lazy(true)
        .pool_size(4)
        .overflow(3)
        .timeout(secs(31))
        .queue(Queue::new().limit(1001).timeout(secs(6)).per_session(7).shed(false))
        .concurrency(2)
        .pipeline(3)
        .forward_headers(["traceparent", "x-tenant", "X-TENANT"])
        .start_timeout(secs(61))
        .overflow_delay(Duration::from_millis(99))
        .overflow_idle_timeout(secs(32))
        .max_frame(65536)
        .cancel(Cancel::new().interrupt(secs(2)).kill(secs(6)))
        .stream(Streams::new().window(65536).stall(secs(29)))
        .batch("predict", limits(16, Duration::from_millis(5)))
        .batch("a.b", BatchSettings { max_batch_size: None, max_wait: Some(Duration::ZERO) })
        .buffers(Buffers::new().max_bytes(1 << 20))
        .stop(Stop::new().grace(secs(6)).term(secs(3)))
        .sessions(
            sessions
                .expiry(Expiry::TwoPhase { grace: secs(3) })
                .affinity(Affinity::Hint)
                .on_expired(herder_actors::OnExpired::Rebind),
        )
        .health(Health::new().interval(secs(33)).timeout(secs(6)).failures(4))
        .restart(
            Restart::new()
                .max(9)
                .window(secs(62))
                .min_uptime(secs(11))
                .backoff(Duration::from_millis(200))
                .max_backoff(secs(12))
                .cooldown(secs(34)),
        )
        .retry(
            Retry::new().attempts(4).backoff(Backoff::Fibonacci).base(secs(1)).max(secs(7)).jitter(0.5).budget(0.125),
        )
        .breaker(
            Breaker::new()
                .enabled(true)
                .failure_threshold(6)
                .success_threshold(4)
                .open_duration(secs(63))
                .half_open_max_calls(2)
                .counts(CountedFailures { timeout: false, connection: true, signal: true, python: false }),
        )
        .poison(Poison::new().enabled(true).max_worker_deaths(4).quarantine(secs(64)))
        .features(Features::new().worker_metrics(false).state_machine(false))
        .relative_to(".");
    assert_eq!(pool(text), code.build().unwrap());
}

/// Returns the default of a key as TOML; `None` if the default is a rule.
fn default_as_toml(key: &Key) -> Option<String> {
    match key.kind {
        KeyType::Count(row) => Some(row.default.to_string()),
        KeyType::CountOr(row) if row.words.contains(&row.default) => Some(format!("{:?}", row.default)),
        KeyType::CountOr(row) => Some(row.default.into()),
        KeyType::Span(row) => Some(format!("{:?}", duration::show(row.default))),
        KeyType::Flag(row) => Some(row.default.to_string()),
        KeyType::Choice(row) => row.words.contains(&row.default).then(|| format!("{:?}", row.default)),
        KeyType::Words(row) => Some(format!("{:?}", row.default)),
        KeyType::Share(row) => Some((f64::from(row.default) / 1000.0).to_string()),
        KeyType::Derived(_) | KeyType::Text(_) | KeyType::List(_) | KeyType::Spans(_) => None,
        KeyType::Map(_) | KeyType::Batches(_) => None,
    }
}

/// R53: a pool with all defaults of the table written out equals a pool without them. The worker type is excluded.
#[test]
fn r53_writing_a_default_changes_nothing() {
    let enhanced = format!("{APP}worker_type = 'enhanced'\n");
    let without = pool(&enhanced);
    for key in TABLE.iter().filter(|key| key.path != "worker_type") {
        if let Some(value) = default_as_toml(key) {
            assert_eq!(pool(&format!("{enhanced}{} = {value}\n", key.path)), without, "{}", key.path);
        }
    }
    assert_eq!(pool(&format!("{APP}worker_type = 'basic'\n")), pool(APP));
}

/// Returns an allowed value for a key; not the default, if there is another value.
fn sample(key: &Key) -> String {
    match (key.path, key.kind) {
        ("app", _) => "'n:app'".into(),
        ("cwd", _) => "'..'".into(),
        (_, KeyType::Count(row)) => (row.default + 1).to_string(),
        (_, KeyType::Derived(row)) => row.min.to_string(),
        (_, KeyType::CountOr(row)) => row.max.to_string(),
        (_, KeyType::Span(row)) => format!("{:?}", duration::show(row.default / 2)),
        (_, KeyType::Choice(row)) => format!("{:?}", row.words[0]),
        (_, KeyType::Flag(row)) => (!row.default).to_string(),
        (_, KeyType::Text(_)) => "'x'".into(),
        (_, KeyType::List(_)) => "['x']".into(),
        (_, KeyType::Words(row)) => format!("[{:?}]", row.words[0]),
        (_, KeyType::Spans(_)) => "['1s', '0s']".into(),
        (_, KeyType::Share(row)) => (f64::from(row.max - 1) / 1000.0).to_string(),
        (_, KeyType::Map(_)) => "{ X = 'x' }".into(),
        (_, KeyType::Batches(_)) => "{ x = { max_batch_size = 2 } }".into(),
    }
}

/// Returns the other keys that are needed for this key to have an effect.
fn companion(path: &str) -> &'static str {
    match path {
        "sessions.on_expired" => "sessions.expiry = 'two_phase'\n",
        "breaker.enabled" => "",
        _ if path.starts_with("breaker.") => "breaker.enabled = true\n",
        _ => "",
    }
}

/// R51: no key is accepted and then ignored: each one changes the pool, from its own table and from the defaults.
#[test]
fn r51_every_key_reaches_the_pool() {
    for key in TABLE
        .iter()
        .filter(|key| !["worker_type", "app", "command", "sessions.grace", "retry.waits"].contains(&key.path))
    {
        let value = match key.kind {
            KeyType::Choice(row) if key.path == "sessions.on_expired" => format!("{:?}", row.words[0]),
            KeyType::Choice(row) => format!("{:?}", row.words[1]),
            _ => sample(key),
        };
        let enhanced = format!("{APP}worker_type = 'enhanced'\n{}", companion(key.path));
        let own = pool(&format!("{enhanced}{} = {value}\n", key.path));
        assert_ne!(own, pool(&enhanced), "{}", key.path);
        if key.scope != Scope::Own {
            assert_eq!(pool(&format!("[defaults]\n{} = {value}\n{enhanced}", key.path)), own, "{}", key.path);
        }
    }
    let graces = ["1s", "2s"].map(|grace| {
        pool(&format!("{APP}worker_type = 'enhanced'\nsessions = {{ expiry = 'two_phase', grace = '{grace}' }}"))
    });
    assert_ne!(graces[0], graces[1]);
}

/// R51: `pipeline` is a number or `auto`. The bounds are included; the next number is refused.
#[test]
fn r51_pipeline_is_a_number_or_auto() {
    let read = |value: &str| pool(&format!("{APP}pipeline = {value}\n")).settings().pipeline;
    assert_eq!(pool(APP).settings().pipeline, Pipeline::default());
    for (value, pipeline) in [("'auto'", Pipeline::Auto), ("1", Pipeline::Fixed(1)), ("1024", Pipeline::Fixed(1024))] {
        assert_eq!(read(value), pipeline, "{value}");
    }
    assert_snapshot!(refused_in_pool("pipeline = 0"), @r#"herder.toml:3:12: pools.a.pipeline: 0 is out of bounds; allowed: "auto", 1 to 1024"#);
    assert_snapshot!(refused_in_pool("pipeline = 1025"), @r#"herder.toml:3:12: pools.a.pipeline: 1025 is out of bounds; allowed: "auto", 1 to 1024"#);
    assert_snapshot!(refused_in_pool("pipeline = 5000000000"), @r#"herder.toml:3:12: pools.a.pipeline: 5000000000 is out of bounds; allowed: "auto", 1 to 1024"#);
    assert_snapshot!(refused_in_pool("pipeline = 'fast'"), @r#"herder.toml:3:12: pools.a.pipeline: 'fast' is invalid; allowed: "auto", 1 to 1024"#);
    assert_snapshot!(refused_in_pool("pipeline = 'Auto'"), @r#"herder.toml:3:12: pools.a.pipeline: 'Auto' is invalid; did you mean "auto"? Allowed: "auto", 1 to 1024"#);
    assert_snapshot!(refused_in_pool("pipeline = '2'"), @r#"herder.toml:3:12: pools.a.pipeline: '2' is invalid; allowed: "auto", 1 to 1024"#);
    assert_snapshot!(refused_in_pool("pipeline = 1.5"), @r#"herder.toml:3:12: pools.a.pipeline: 1.5 is not an integer or string; allowed: "auto", 1 to 1024"#);
    assert_snapshot!(refused_in_pool("pipeline = true"), @r#"herder.toml:3:12: pools.a.pipeline: true is not an integer or string; allowed: "auto", 1 to 1024"#);
}

/// R51: `numeric_threads` is a number or one of two words. The bounds are included; the next number is refused.
#[test]
fn r51_numeric_threads_is_a_number_or_a_word() {
    let read = |value: &str| pool(&format!("{APP}numeric_threads = {value}\n")).numeric_threads();
    let fixed = |threads| NumericThreads::Fixed(NonZero::new(threads).unwrap());
    assert_eq!(pool(APP).numeric_threads(), NumericThreads::Auto);
    for (value, threads) in [
        ("'auto'", NumericThreads::Auto),
        ("'unset'", NumericThreads::Unset),
        ("1", fixed(1)),
        ("65535", fixed(u16::MAX)),
    ] {
        assert_eq!(read(value), threads, "{value}");
    }
    assert_snapshot!(refused_in_pool("numeric_threads = 0"), @r#"herder.toml:3:19: pools.a.numeric_threads: 0 is out of bounds; allowed: "auto", "unset", 1 to 65535"#);
    assert_snapshot!(refused_in_pool("numeric_threads = 65536"), @r#"herder.toml:3:19: pools.a.numeric_threads: 65536 is out of bounds; allowed: "auto", "unset", 1 to 65535"#);
    assert_snapshot!(refused_in_pool("numeric_threads = 'of'"), @r#"herder.toml:3:19: pools.a.numeric_threads: 'of' is invalid; allowed: "auto", "unset", 1 to 65535"#);
    assert_snapshot!(refused_in_pool("numeric_threads = 'atuo'"), @r#"herder.toml:3:19: pools.a.numeric_threads: 'atuo' is invalid; did you mean "auto"? Allowed: "auto", "unset", 1 to 65535"#);
    assert_snapshot!(refused_in_pool("numeric_threads = '2'"), @r#"herder.toml:3:19: pools.a.numeric_threads: '2' is invalid; allowed: "auto", "unset", 1 to 65535"#);
    assert_snapshot!(refused_in_pool("numeric_threads = 1.5"), @r#"herder.toml:3:19: pools.a.numeric_threads: 1.5 is not an integer or string; allowed: "auto", "unset", 1 to 65535"#);
    assert_snapshot!(refused_in_pool("numeric_threads = true"), @r#"herder.toml:3:19: pools.a.numeric_threads: true is not an integer or string; allowed: "auto", "unset", 1 to 65535"#);
}

/// R51: the limits of batches are checked for each command, at their places. They are set in pools, not in defaults.
#[test]
fn r51_limits_of_batches_are_checked() {
    for good in ["1", "65536", "0x10"] {
        pool(&format!("{APP}batch.predict.max_batch_size = {good}"));
    }
    assert_eq!(pool(&format!("{APP}batch.predict.max_wait = '1m'")).batches()["predict"].max_wait, Some(secs(60)));
    assert_snapshot!(refused_in_pool("[pools.a.batch.predict]\nmax_batch_size = 0\nmax_wait = '61s'\nsize = 1"), @r#"
    herder.toml:4:18: pools.a.batch.predict.max_batch_size: 0 is out of bounds; allowed: 1 to 65536
    herder.toml:5:12: pools.a.batch.predict.max_wait: '61s' is out of bounds; allowed: a duration of at most 1m, such as "2ms"
    herder.toml:6:1: pools.a.batch.predict.size: unknown key; allowed: max_batch_size, max_wait
    "#);
    for (keys, expected) in [
        (
            "b.max_batch_size = 65537",
            "3:26: pools.a.batch.b.max_batch_size: 65537 is out of bounds; allowed: 1 to 65536",
        ),
        ("b.max_batch_size = '2'", "3:26: pools.a.batch.b.max_batch_size: '2' is not an integer; allowed: 1 to 65536"),
        (
            "b.max_wait = 5",
            "3:20: pools.a.batch.b.max_wait: 5 is not a duration (add a unit, such as \"5ms\"); allowed: a duration of at most 1m, such as \"2ms\"",
        ),
        (
            "b.max_wait = false",
            "3:20: pools.a.batch.b.max_wait: false is not a duration; allowed: a duration of at most 1m, such as \"2ms\"",
        ),
        ("b = 3", "3:11: pools.a.batch.b: 3 is not a table; allowed: a table for each command, such as "),
    ] {
        let refused = refused_in_pool(&format!("batch.{keys}"));
        assert!(refused.starts_with(&format!("herder.toml:{expected}")), "{refused}");
    }
    assert_eq!(
        refused("[defaults.batch.predict]\nmax_batch_size = 2\n[pools.a]\napp = 'm:app'"),
        "herder.toml:1:11: defaults.batch: cannot be set in [defaults]; set it in each pool"
    );
}

/// R9: each enhanced-only key in a basic pool is refused with key, position and fix. A flag that is off is accepted.
#[test]
fn r9_enhanced_keys_under_a_basic_pool() {
    for key in TABLE.iter().filter(|key| key.scope == Scope::Enhanced) {
        let value = if matches!(key.kind, KeyType::Flag(_)) { "true".into() } else { sample(key) };
        let refused = refused_in_pool(&format!("{} = {value}\n", key.path));
        let leaf_column = key.path.len() - key.leaf().len() + 1;
        let begins = format!("herder.toml:3:{leaf_column}: pools.a.{}: only for enhanced pools", key.path);
        assert!(refused.starts_with(&begins), "{refused}");
        assert!(refused.contains("`worker_type = \"enhanced\"` in [pools.a]"), "{refused}");
        assert_eq!(refused.lines().count(), 1, "{refused}");
    }
    let flags = |key: &&Key| key.scope == Scope::Enhanced && matches!(key.kind, KeyType::Flag(_));
    for flag in TABLE.iter().filter(flags) {
        assert_eq!(pool(&format!("{APP}{} = false\n", flag.path)), pool(APP));
    }
    assert_snapshot!(refused_in_pool("features = { worker_metrics = true }"), @r#"herder.toml:3:14: pools.a.features.worker_metrics: only for enhanced pools; set `worker_type = "enhanced"` in [pools.a], or remove it"#);
    assert_snapshot!(refused_in_pool("features = { worker_metrics = 'no' }"), @r#"herder.toml:3:14: pools.a.features.worker_metrics: only for enhanced pools; set `worker_type = "enhanced"` in [pools.a], or remove it"#);
}

/// R9: only enhanced pools inherit the defaults of enhanced keys.
#[test]
fn r9_defaults_reach_the_pools_they_are_for() {
    let text = "
        [defaults]
        overflow = 5
        sessions = { affinity = 'hint', max = 7 }
        env = { A = '1', B = '1' }
        python = 'python3.11'
        [defaults.features]
        session_affinity = true
        worker_metrics = false
        [pools.z]
        command = ['./worker']
        env = { B = '2' }
        [pools.m]
        worker_type = 'enhanced'
        app = 'm:app'
        overflow = 0
        features.worker_metrics = true
    ";
    let pools = parse(text).unwrap().pools;
    let names: Vec<_> = pools.iter().map(|pool| pool.name().as_str()).collect();
    assert_eq!(names, ["z", "m"], "in the order of the file");
    let expected = PoolConfig::basic("z")
        .command(["./worker"])
        .overflow(5)
        .env("A", "1")
        .env("B", "2")
        .sessions(Sessions::new().max(7))
        .relative_to(".");
    assert_eq!(pools[0], expected.build().unwrap());
    let expected = PoolConfig::enhanced("m")
        .app("m:app")
        .python("python3.11")
        .overflow(0)
        .env("A", "1")
        .env("B", "1")
        .sessions(Sessions::new().affinity(Affinity::Hint).max(7))
        .relative_to(".");
    assert_eq!(pools[1], expected.build().unwrap());
    let inherited = pool(&format!("[defaults]\nworker_type = 'enhanced'\n{APP}sessions.affinity = 'hint'"));
    assert_eq!(inherited.worker_type(), WorkerType::Enhanced);
}

#[test]
fn r51_unknown_keys_are_refused_with_a_hint() {
    assert_snapshot!(refused_in_pool("pool_sze = 4"), @"herder.toml:3:1: pools.a.pool_sze: unknown key; did you mean `pool_size`? Allowed: worker_type, app, command, python, env, env_mode, numeric_threads, start, lazy, cwd, pool_size, overflow, overflow_delay, overflow_idle_timeout, timeout, queue, concurrency, pipeline, forward_headers, start_timeout, cancel, stream, batch, buffers, stop, sessions, health, restart, retry, breaker, poison, max_frame, features");
    for other_name in ["workers", "num_workers", "max_workers", "processes", "size"] {
        let refused = refused_in_pool(&format!("{other_name} = 4"));
        assert!(refused.contains("unknown key; did you mean `pool_size`? Allowed: worker_type, "), "{refused}");
    }
    assert_snapshot!(refused_in_pool("queue = { limt = 4 }"), @"herder.toml:3:11: pools.a.queue.limt: unknown key; did you mean `limit`? Allowed: limit, timeout, per_session, shed");
    assert_snapshot!(refused_in_pool("[pools.a.cancel]\n  colour = 4"), @"herder.toml:4:3: pools.a.cancel.colour: unknown key; allowed: interrupt, kill");
    assert_snapshot!(refused_in_pool("expiry = 'two_phase'"), @"herder.toml:3:1: pools.a.expiry: unknown key; did you mean `sessions.expiry`? Allowed: worker_type, app, command, python, env, env_mode, numeric_threads, start, lazy, cwd, pool_size, overflow, overflow_delay, overflow_idle_timeout, timeout, queue, concurrency, pipeline, forward_headers, start_timeout, cancel, stream, batch, buffers, stop, sessions, health, restart, retry, breaker, poison, max_frame, features");
    assert_snapshot!(refused_in_pool("[server]\nlisen = 4"), @"herder.toml:4:1: server.lisen: unknown key; did you mean `listen`? Allowed: listen, hosts, token, token_file, call_token, call_token_file, metrics_token, metrics_token_file, errors, session_header, session_cookie, keep_alive, head_timeout, body_timeout, write_timeout, buffer_limit, mcp, docs, page, metrics");
    assert_snapshot!(refused("[pool.a]\napp = 'm:app'"), @"herder.toml:1:2: pool: unknown key; did you mean `pools`? Allowed: server, traces, defaults, pools");
}

/// A quoted name is not a path. If it were read as one, the key would pass the checks and have no effect.
#[test]
fn a_quoted_name_with_a_dot_is_unknown() {
    assert_snapshot!(refused_in_pool("'queue.limit' = 3"), @r#"herder.toml:3:1: pools.a."queue.limit": unknown key; allowed: worker_type, app, command, python, env, env_mode, numeric_threads, start, lazy, cwd, pool_size, overflow, overflow_delay, overflow_idle_timeout, timeout, queue, concurrency, pipeline, forward_headers, start_timeout, cancel, stream, batch, buffers, stop, sessions, health, restart, retry, breaker, poison, max_frame, features"#);
    assert!(refused_in_pool("queue.'a.b' = 3").contains("3:7: pools.a.\"a.b\": unknown key"));
}

#[test]
fn numbers_are_read_in_every_notation_of_toml() {
    for written in ["max_frame = 65_536", "max_frame = 0x1_0000", "max_frame = +65536"] {
        assert_eq!(pool(&format!("{APP}{written}")).max_frame(), 65_536, "{written}");
    }
}

/// R53: a key of the original is refused with the new key.
#[test]
fn r53_keys_of_the_original() {
    assert_snapshot!(refused_in_pool("checkout_timeout = 5000"), @"herder.toml:3:1: pools.a.checkout_timeout: DSPex's `checkout_timeout` is called `queue.timeout`");
    assert!(refused_in_pool("worker_module = 'x'").contains("DSPex's `worker_module` is called `worker_type`"));
    assert!(refused_in_pool("session_affinity_enabled = true").contains("is called `features.session_affinity`"));
    assert_snapshot!(refused_in_pool("pool_mode = 'production'"), @"herder.toml:3:1: pools.a.pool_mode: DSPex's `pool_mode` is not needed: each table `[pools.NAME]` is a pool");
}

#[test]
fn r51_values_of_the_wrong_type() {
    assert_snapshot!(refused_in_pool("pool_size = 'four'"), @"herder.toml:3:13: pools.a.pool_size: 'four' is not an integer; allowed: 1 to 1024");
    assert_snapshot!(refused_in_pool("pool_size = 4.0"), @"herder.toml:3:13: pools.a.pool_size: 4.0 is not an integer; allowed: 1 to 1024");
    assert_snapshot!(refused_in_pool("timeout = 30"), @r#"herder.toml:3:11: pools.a.timeout: 30 is not a duration (add a unit, such as "30s"); allowed: a duration greater than 0s and at most 365 days, such as "250ms", "30s", "5m""#);
    assert_snapshot!(refused_in_pool("timeout = '30'"), @r#"herder.toml:3:11: pools.a.timeout: '30' is not a duration (add a unit, such as "30s"); allowed: a duration greater than 0s and at most 365 days, such as "250ms", "30s", "5m""#);
    assert_snapshot!(refused_in_pool("timeout = '30 parsecs'"), @r#"herder.toml:3:11: pools.a.timeout: '30 parsecs' is not a duration (unknown time unit "parsecs", supported units: ns, us/µs, ms, sec, min, hours, days, weeks, months, years (and few variations)); allowed: a duration greater than 0s and at most 365 days, such as "250ms", "30s", "5m""#);
    assert_snapshot!(refused_in_pool("queue = 4"), @"herder.toml:3:9: pools.a.queue: 4 is not a table; allowed: { limit = .., timeout = .., per_session = .., shed = .. }");
    assert_snapshot!(refused_in_pool("cwd = 4"), @"herder.toml:3:7: pools.a.cwd: 4 is not a string; allowed: an existing folder");
    assert_snapshot!(refused_in_pool("command = 'worker --flag'"), @r#"herder.toml:3:11: pools.a.command: 'worker --flag' is not a list of strings; allowed: a program and its arguments, such as ["./worker", "--flag"], without NUL bytes"#);
    assert_snapshot!(refused_in_pool("env = ['A=1']"), @r#"herder.toml:3:7: pools.a.env: is not a table of strings; allowed: { NAME = "value" }"#);
    assert_snapshot!(refused_in_pool("env = { A = 12345 }"), @"herder.toml:3:7: pools.a.env: the value of `A` is a TOML integer, not a string; put it in quotes");
    assert_snapshot!(refused("pools = 3"), @"herder.toml:1:9: pools: 3 is not a table; allowed: a table [pools]");
    assert_snapshot!(refused("[pools]\na = 3"), @"herder.toml:2:5: pools.a: 3 is not a table; allowed: a table [pools.a]");
}

/// R33, R34: keys with lists, shares or several words.
#[test]
fn r51_retry_and_breaker_keys_are_read() {
    assert_snapshot!(refused_in_pool("retry.backoff = 'exponentiel'"), @r#"herder.toml:3:17: pools.a.retry.backoff: 'exponentiel' is invalid; did you mean "exponential"? Allowed: "exponential", "linear", "fibonacci", "decorrelated_jitter", "custom""#);
    assert_snapshot!(refused_in_pool("retry.backoff = 'custom'"), @r#"herder.toml:3:17: pools.a.retry.backoff: is "custom"; allowed: "custom" only together with `retry.waits`, such as ["0s", "1s"]"#);
    assert_snapshot!(refused_in_pool("retry.waits = ['1s']\nretry.backoff = 'linear'"), @r#"herder.toml:3:15: pools.a.retry.waits: is set; allowed: not set, or `retry.backoff = "custom"`"#);
    assert_snapshot!(refused_in_pool("retry.waits = [1]"), @r#"herder.toml:3:15: pools.a.retry.waits: [1] is not a list of durations; allowed: durations such as ["0s", "50ms", "1s"], with `retry.backoff = "custom"`"#);
    assert_snapshot!(refused_in_pool("retry.waits = ['1']"), @r#"herder.toml:3:15: pools.a.retry.waits: ['1'] is not a list of durations ("1": add a unit, such as "1s"); allowed: durations such as ["0s", "50ms", "1s"], with `retry.backoff = "custom"`"#);
    assert_snapshot!(refused_in_pool("retry.jitter = 1.5"), @r#"herder.toml:3:16: pools.a.retry.jitter: 1.5 is out of bounds; allowed: 0 to 1"#);
    assert_snapshot!(refused_in_pool("retry.budget = '20%'"), @r#"herder.toml:3:16: pools.a.retry.budget: '20%' is not a number; allowed: 0 to 1"#);
    assert_snapshot!(refused_in_pool("breaker.counts = ['timeouts']"), @r#"herder.toml:3:18: pools.a.breaker.counts: 'timeouts' is invalid; did you mean "timeout"? Allowed: any of "timeout", "connection", "signal", "python""#);
    assert_snapshot!(refused_in_pool("breaker.counts = 'timeout'"), @r#"herder.toml:3:18: pools.a.breaker.counts: 'timeout' is not a list of strings; allowed: any of "timeout", "connection", "signal", "python""#);
    let settings =
        pool(&format!("{APP}retry = {{ backoff = 'custom', waits = ['0s', '1s'], jitter = 0, budget = 1 }}"))
            .settings();
    let backoff = Backoff::Custom(vec![Duration::ZERO, secs(1)]);
    assert_eq!((settings.retry.backoff, settings.retry.jitter, settings.retry.budget), (backoff, 0, 1000));
}

#[test]
fn r51_values_out_of_bounds() {
    assert_snapshot!(refused_in_pool("pool_size = 0"), @"herder.toml:3:13: pools.a.pool_size: 0 is out of bounds; allowed: 1 to 1024");
    assert_snapshot!(refused_in_pool("pool_size = -1"), @"herder.toml:3:13: pools.a.pool_size: -1 is out of bounds; allowed: 1 to 1024");
    assert_snapshot!(refused_in_pool("pool_size = 99999999999999999999999"), @"herder.toml:3:13: pools.a.pool_size: 99999999999999999999999 is out of bounds; allowed: 1 to 1024");
    assert_snapshot!(refused_in_pool("queue.timeout = '0s'"), @r#"herder.toml:3:17: pools.a.queue.timeout: '0s' is out of bounds; allowed: a duration greater than 0s and at most 365 days, such as "250ms", "30s", "5m""#);
    assert_snapshot!(refused_in_pool("queue.timeout = '366days'"), @r#"herder.toml:3:17: pools.a.queue.timeout: '366days' is out of bounds; allowed: a duration greater than 0s and at most 365 days, such as "250ms", "30s", "5m""#);
    assert_snapshot!(refused_in_pool("worker_type = 'enhancd'"), @r#"herder.toml:3:15: pools.a.worker_type: 'enhancd' is invalid; did you mean "enhanced"? Allowed: "basic", "enhanced""#);
    assert_snapshot!(refused_in_pool("env_mode = 'x'"), @r#"herder.toml:3:12: pools.a.env_mode: 'x' is invalid; allowed: "inherit", "clean""#);
    assert_snapshot!(refused("[defaults]\ntimeout = '0s'\n[pools.a]\napp = 'm:app'"), @r#"herder.toml:2:11: defaults.timeout: '0s' is out of bounds; allowed: a duration greater than 0s and at most 365 days, such as "250ms", "30s", "5m""#);
}

/// An error of the builder is reported at the line that sets the key: in the table of the pool or in `[defaults]`.
#[test]
fn r51_rules_between_keys_are_checked() {
    assert_snapshot!(refused("[pools.a]\npool_size = 1"), @"herder.toml:1:8: pools.a.app: is not set; allowed: exactly one of `app` and `command`");
    assert_snapshot!(refused_in_pool("command = ['x']"), @"herder.toml:3:11: pools.a.command: is set together with `app`; allowed: exactly one of `app` and `command`");
    assert_snapshot!(refused_in_pool("queue = { limit = 10, per_session = 11 }"), @"herder.toml:3:37: pools.a.queue.per_session: is 11; allowed: 1 to `queue.limit`, which is 10");
    assert_snapshot!(refused("[defaults.queue]\nper_session = 500\n[pools.a]\napp = 'm:app'\nqueue.limit = 100"), @"herder.toml:2:15: pools.a.queue.per_session: is 500; allowed: 1 to `queue.limit`, which is 100");
    assert_snapshot!(refused_in_pool("worker_type = 'enhanced'\nsessions.on_expired = 'reject'"), @r#"herder.toml:4:23: pools.a.sessions.on_expired: is "reject"; allowed: "rebind"; "reject" requires `sessions.expiry = "two_phase"`"#);
    assert_snapshot!(refused("[pools.'a b']\napp = 'm:app'"), @"herder.toml:1:8: pools.a b: is `a b`; allowed: 1 to 64 letters, digits, `_` or `-`, starting with a letter or digit");
    assert_snapshot!(refused("[pools.a]\napp = 'carts.py'"), @"herder.toml:2:7: pools.a.app: is `carts.py`; allowed: `module:app` or `path/to/file.py:app`");
    assert_snapshot!(refused_in_pool("cwd = 'no/such/folder'").replace(&here(), "HERE"), @"herder.toml:3:7: pools.a.cwd: is HERE/no/such/folder; allowed: an existing folder");
    assert_snapshot!(refused("[defaults]\napp = 'm:app'\n[pools.a]"), @"herder.toml:2:1: defaults.app: cannot be set in [defaults]; set it in each pool");
}

fn here() -> String {
    std::env::current_dir().unwrap().display().to_string()
}

#[test]
fn files_without_a_pool_or_with_invalid_toml_are_refused() {
    assert_snapshot!(refused(""), @"herder.toml:1:1: pools: no pool is defined; add a table [pools.NAME] with an `app`");
    assert_snapshot!(refused("[pools.a\napp = 'm:app'"), @"herder.toml:1:9: unclosed table, expected `]`");
    assert_snapshot!(refused("[pools.a]\napp = 'm:app'\napp = 'n:app'"), @"herder.toml:3:1: duplicate key");
}

/// All problems of a file are reported at once, in the order of the file.
#[test]
fn r51_problems_are_reported_together() {
    let text =
        "[server]\nport = 80\n[defaults]\noverflow = -1\n[pools.b]\ntimout = '1s'\n[pools.a]\napp = 3\nqueue.limit = 0";
    assert_snapshot!(refused(text), @r"
    herder.toml:2:1: server.port: unknown key; allowed: listen, hosts, token, token_file, call_token, call_token_file, metrics_token, metrics_token_file, errors, session_header, session_cookie, keep_alive, head_timeout, body_timeout, write_timeout, buffer_limit, mcp, docs, page, metrics
    herder.toml:4:12: defaults.overflow: -1 is out of bounds; allowed: 0 to 1024
    herder.toml:6:1: pools.b.timout: unknown key; did you mean `timeout`? Allowed: worker_type, app, command, python, env, env_mode, numeric_threads, start, lazy, cwd, pool_size, overflow, overflow_delay, overflow_idle_timeout, timeout, queue, concurrency, pipeline, forward_headers, start_timeout, cancel, stream, batch, buffers, stop, sessions, health, restart, retry, breaker, poison, max_frame, features
    herder.toml:8:7: pools.a.app: 3 is not a string; allowed: `module:app` or `path/to/file.py:app`
    herder.toml:9:15: pools.a.queue.limit: 0 is out of bounds; allowed: 1 to 1000000
    ");
    let Err(error) = parse(text) else { panic!("the file was accepted") };
    let places: Vec<_> = error.problems().iter().map(|problem| (problem.line, problem.column)).collect();
    assert_eq!(places, [(2, 1), (4, 12), (6, 1), (8, 7), (9, 15)]);
}

#[test]
fn the_server_table_is_read_and_checked() {
    let server = |keys: &str| parse(&format!("{APP}[server]\n{keys}")).unwrap_or_else(|error| panic!("{error}")).server;
    assert_eq!(server(""), Server::default());
    assert_eq!(parse(APP).unwrap().server.listen.to_string(), "127.0.0.1:7878");
    let keep_alive = |keys: &str| server(keys).keep_alive.as_secs();
    assert_eq!(["", "keep_alive = '0s'", "keep_alive = '1d'"].map(keep_alive), [75, 0, 86_400]);
    let timeouts = |keys: &str| [server(keys).head_timeout, server(keys).write_timeout].map(|time| time.as_millis());
    assert_eq!(timeouts(""), [5_000, 30_000]);
    assert_eq!(timeouts("head_timeout = '1ms'\nwrite_timeout = '24h'"), [1, 86_400_000]);
    assert_eq!(["", "docs = true", "docs = false"].map(|keys| server(keys).docs), [None, Some(true), Some(false)]);
    assert_eq!(["", "metrics = false"].map(|keys| server(keys).metrics), [true, false]);
    assert_eq!(["", "page = true", "page = false"].map(|keys| server(keys).page), [None, Some(true), Some(false)]);
    assert_snapshot!(refused_in_pool("[server]\ndocs = 'yes'"), @"herder.toml:4:8: server.docs: 'yes' is invalid; allowed: true or false");
    let full = server("listen = '[::1]:80'\nhosts = ['herder.example.org', 'x:8443']\ntoken = 's3cret'");
    assert_eq!((full.listen.to_string(), full.hosts.len()), ("[::1]:80".into(), 2));
    assert!(!format!("{full:?}").contains("s3cret"));
    assert_eq!(full.token.map(|token| token.expose().to_owned()), Some("s3cret".into()));
    assert_snapshot!(refused_in_pool("[server]\nlisten = 'localhost'"), @r#"herder.toml:4:10: server.listen: 'localhost' is invalid; allowed: an IP address with a port, such as "127.0.0.1:7878" or "[::1]:7878""#);
    assert_snapshot!(refused_in_pool("[server]\nhosts = ['http://x/']"), @r#"herder.toml:4:9: server.hosts: ['http://x/'] is invalid; allowed: a list of host names, each with or without a port, such as "herder.example.org" or "herder.example.org:8443""#);
    assert_snapshot!(refused_in_pool("[server]\nkeep_alive = 75"), @r#"herder.toml:4:14: server.keep_alive: 75 is invalid; allowed: a duration of at most 24h, such as "75s"; "0s" closes each connection after its response"#);
    assert_snapshot!(refused_in_pool("[server]\nkeep_alive = '25h'"), @r#"herder.toml:4:14: server.keep_alive: '25h' is invalid; allowed: a duration of at most 24h, such as "75s"; "0s" closes each connection after its response"#);
    let limits = server("body_timeout = '1m'\nbuffer_limit = 0x4000000");
    assert_eq!((limits.body_timeout.as_secs(), limits.buffer_limit), (60, Some(64 << 20)));
    assert_eq!(["", "mcp = false", "mcp = true"].map(|keys| server(keys).mcp), [false, false, true]);
    assert_snapshot!(refused_in_pool("[server]\nmcp = 1"), @"herder.toml:4:7: server.mcp: 1 is invalid; allowed: true or false");
    assert_snapshot!(refused_in_pool("[server]\nbody_timeout = '0s'"), @r#"herder.toml:4:16: server.body_timeout: '0s' is invalid; allowed: a duration greater than 0s and at most 24h, such as "30s""#);
    assert_snapshot!(refused_in_pool("[server]\nbuffer_limit = 0"), @"herder.toml:4:16: server.buffer_limit: 0 is invalid; allowed: a number of bytes, at least the largest `max_frame` of the pools");
    assert_snapshot!(refused_in_pool("max_frame = 4096\n[server]\nbuffer_limit = 4095"), @"herder.toml:5:16: server.buffer_limit: 4095 is out of bounds; allowed: at least 4096, the `max_frame` of the pool `a`");
    assert_snapshot!(refused_in_pool("[server]\nhead_timeout = '0s'\nwrite_timeout = '25h'"), @r#"
    herder.toml:4:16: server.head_timeout: '0s' is invalid; allowed: a duration greater than 0s and at most 24h, such as "30s"
    herder.toml:5:17: server.write_timeout: '25h' is invalid; allowed: a duration greater than 0s and at most 24h, such as "30s"
    "#);
    let headers =
        |keys: &str| server(keys).session_header.iter().map(|name| name.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(headers(""), ["Herder-Session"]);
    assert_eq!(headers("session_header = 'X-Session-Id'"), ["X-Session-Id"]);
    assert_eq!(headers("session_header = ['Herder-Session', 'x-sid']"), ["Herder-Session", "x-sid"]);
    assert_eq!(server("session_cookie = 'sid'").session_cookie, "sid".parse().ok());
    for names in ["[]", "3", "'a b'", "['X-A', 'x-a']", "'Herder-Timeout'", "'Cookie'"] {
        let refused = refused_in_pool(&format!("[server]\nsession_header = {names}"));
        let expected = format!(
            "herder.toml:4:18: server.session_header: {names} is invalid; allowed: the name of a header, or a list"
        );
        assert!(refused.starts_with(&expected), "{refused}");
    }
    assert_snapshot!(refused_in_pool("[server]\nsession_cookie = 'a=b'"), @"herder.toml:4:18: server.session_cookie: 'a=b' is invalid; allowed: the name of a cookie: 1 to 64 letters, digits or any of !#$%&'*+-.^_`|~");
    assert_snapshot!(refused_in_pool("[server]\ntoken = 'two words'"), @"herder.toml:4:9: server.token: the value is invalid; allowed: 1 to 1024 visible ASCII characters, without spaces");
    assert_snapshot!(refused_in_pool("[server]\ncall_token = 'two words'"), @"herder.toml:4:14: server.call_token: the value is invalid; allowed: 1 to 1024 visible ASCII characters, without spaces");
    assert_snapshot!(refused_in_pool("[server]\ntoken = 'x'\ntoken_file = 'y'"), @"herder.toml:5:14: server.token_file: `token` is set as well; remove one of them");
    let files = server("token_file = 'admin'\ncall_token_file = '/run/call'\nmetrics_token_file = 'metrics'");
    assert_eq!([files.token_file, files.call_token_file], [Some("./admin".into()), Some("/run/call".into())]);
    assert_eq!(files.metrics_token_file, Some("./metrics".into()));
}

/// Paths are relative to the directory of the file, and `.venv` is searched there.
#[test]
fn paths_are_relative_to_the_directory_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pools.toml");
    fs::write(&file, "[pools.a]\ncommand = ['./worker', 'x']\n[pools.b]\napp = 'm:app'\npython = 'env/bin/python'")
        .unwrap();
    let config = Config::load(&file).unwrap();
    assert_eq!(config.pools[0].cwd(), folder.path());
    let worker = folder.path().join("./worker").display().to_string();
    assert_eq!(*config.pools[0].launch(), Launch::Command { argv: vec![worker, "x".into()] });
    let Launch::App { python, .. } = config.pools[1].launch() else { panic!("not an app") };
    assert_eq!(*python, folder.path().join("env/bin/python"));

    fs::write(&file, "x = 1").unwrap();
    assert!(Config::load(&file).unwrap_err().to_string().starts_with(&format!("{}:1:1: x: ", file.display())));
    let missing = Config::load(folder.path().join("none.toml")).unwrap_err();
    assert!(matches!(missing, ConfigError::Read { .. }) && missing.problems().is_empty(), "{missing}");
}
