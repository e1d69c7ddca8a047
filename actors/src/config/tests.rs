//! The builder: defaults, bounds, rules between keys, and the snapshot of the schema.

use super::schema::{Key, KeyType, LONGEST, Scope, TABLE};
use super::*;
use herder_core::{OnExpired, Settings, WorkerTypeSettings};
use insta::assert_snapshot;
use std::collections::BTreeSet;
use std::num::NonZero;
use std::time::Duration;

const NANO: Duration = Duration::from_nanos(1);

fn basic() -> PoolBuilder<Basic> {
    PoolConfig::basic("carts").app("carts.py:app")
}

fn enhanced() -> PoolBuilder<Enhanced> {
    PoolConfig::enhanced("carts").app("carts.py:app")
}

fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// R53: a change of a key, its type, default or bounds changes the snapshot.
#[test]
fn r53_schema_matches_its_snapshot() {
    let line = |key: &Key| {
        let Key { path, scope, kind, .. } = key;
        format!("{path} | {} | {} | {scope:?} | {}\n", kind.type_name(), kind.default(), kind.allowed())
    };
    assert_snapshot!("schema", TABLE.iter().map(line).collect::<String>());
}

#[test]
fn every_key_is_in_the_table_once() {
    let paths: BTreeSet<_> = TABLE.iter().map(|key| key.path).collect();
    assert_eq!(paths.len(), TABLE.len());
}

/// R11: the defaults of the table are those of the core's own `Settings::new`, which the core's tests use.
#[test]
fn r11_defaults_are_those_of_the_core() {
    let cores = std::thread::available_parallelism().unwrap().get() as u32;
    let config = basic().build().unwrap();
    assert_eq!(config.pool_size(), (2 * cores).min(1024));
    let with_delay = |settings| Settings { overflow_delay: Duration::from_millis(100), ..settings };
    assert_eq!(config.settings(), with_delay(Settings::new(WorkerTypeSettings::Basic, config.pool_size())));
    assert_eq!((config.timeout(), config.start_timeout()), (secs(30), secs(60)));
    assert_eq!(config.stop(), StopSettings { grace: secs(5), term: secs(2) });
    assert_eq!(config.max_frame(), 64 << 20);
    assert_eq!((config.env_mode(), config.env().len()), (EnvMode::Inherit, 0));
    assert_eq!(config.cwd(), std::env::current_dir().unwrap());

    let config = enhanced().pool_size(3).build().unwrap();
    assert_eq!(config.settings(), with_delay(Settings::new(WorkerTypeSettings::enhanced(), 3)));
}

#[test]
fn per_session_and_restart_max_follow_their_rules() {
    let settings = basic().pool_size(7).queue(Queue::new().limit(2)).build().unwrap().settings();
    assert_eq!((settings.queue.per_session, settings.restart.max), (1, 14));
    assert_eq!(basic().pool_size(1).build().unwrap().settings().restart.max, 5);
}

/// R26: with a short timeout of pings, the host still has time to find out what a process does.
#[test]
fn r26_an_examination_takes_as_long_as_a_ping_and_at_least_a_second() {
    for (timeout, expected) in [(Duration::from_millis(5), secs(1)), (secs(3), secs(3))] {
        let config = basic().health(Health::new().timeout(timeout)).build().unwrap();
        assert_eq!(config.settings().health.examination, expected);
    }
}

/// R9: each flag can be switched off alone, and the settings of affinity are absent without affinity.
#[test]
fn r9_flags_are_switched_one_by_one() {
    let kind = |builder: PoolBuilder<Enhanced>| builder.build().unwrap().settings().worker_type;
    let on = WorkerTypeSettings::enhanced();
    let WorkerTypeSettings::Enhanced { session_affinity, .. } = on.clone() else { unreachable!() };
    let with = |session_affinity, worker_metrics, state_machine| WorkerTypeSettings::Enhanced {
        session_affinity,
        worker_metrics,
        state_machine,
    };
    assert_eq!(kind(enhanced()), on);
    assert_eq!(kind(enhanced().session_affinity(false)), with(None, true, true));
    assert_eq!(kind(enhanced().worker_metrics(false)), with(session_affinity.clone(), false, true));
    assert_eq!(kind(enhanced().features(Features::new().state_machine(false))), with(session_affinity, true, false));
}

/// R16: `two_phase` rejects calls of expired sessions unless set otherwise; `immediate` cannot.
#[test]
fn r16_on_expired_follows_the_policy() {
    let policy = |sessions: Sessions<Routed>| {
        let built = enhanced().sessions(sessions).build();
        built.map(|config| match config.settings().worker_type {
            WorkerTypeSettings::Enhanced { session_affinity: Some(affinity), .. } => affinity.on_expired,
            other => panic!("{other:?}"),
        })
    };
    let two_phase = Expiry::TwoPhase { grace: secs(1) };
    assert_eq!(policy(Sessions::new().expiry(Expiry::Immediate)), Ok(OnExpired::Rebind));
    assert_eq!(policy(Sessions::new().expiry(two_phase)), Ok(OnExpired::Reject));
    assert_eq!(policy(Sessions::new().expiry(two_phase).on_expired(OnExpired::Rebind)), Ok(OnExpired::Rebind));
    let refused = policy(Sessions::new().on_expired(OnExpired::Reject)).unwrap_err();
    assert_snapshot!(refused, @r#"`sessions.on_expired` is "reject"; allowed: "rebind"; "reject" requires `sessions.expiry = "two_phase"`"#);
    assert_eq!(
        policy(Sessions::new().expiry(Expiry::TwoPhase { grace: LONGEST + NANO })).unwrap_err().key(),
        "sessions.grace"
    );
}

/// R51: both bounds of every number and duration are allowed, one step beyond is not, and the error names the key.
#[test]
fn r51_bounds_hold_for_every_key() {
    for key in TABLE {
        match key.kind {
            KeyType::Count(row) => numbers(key.path, row.min, row.max),
            KeyType::Derived(row) => numbers(key.path, row.min, row.max),
            // The type of `numeric_threads` has no values that are out of bounds.
            KeyType::CountOr(row) if key.path == "pipeline" => numbers(key.path, row.min, row.max),
            KeyType::Span(_) => spans(key.path),
            KeyType::Share(row) => shares(key.path, f64::from(row.max) / 1000.0),
            _ => {}
        }
    }
}

fn numbers(path: &str, min: usize, max: usize) {
    for good in [min, max] {
        number(path, good).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    for bad in [min.checked_sub(1), Some(max + 1), Some(usize::MAX)].into_iter().flatten() {
        assert_eq!(number(path, bad).unwrap_err().key(), path, "{bad}");
    }
}

fn spans(path: &str) {
    for good in [NANO, LONGEST] {
        span(path, good).unwrap_or_else(|error| panic!("{good:?}: {error}"));
    }
    for bad in [Duration::ZERO, LONGEST + NANO, Duration::MAX] {
        assert_eq!(span(path, bad).unwrap_err().key(), path, "{bad:?}");
    }
}

fn shares(path: &str, max: f64) {
    for good in [0.0, max] {
        share(path, good).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    for bad in [-0.001, max + 0.001, f64::NAN, f64::INFINITY] {
        assert_eq!(share(path, bad).unwrap_err().key(), path, "{bad}");
    }
}

fn share(path: &str, share: f64) -> Result<PoolConfig, InvalidConfig> {
    match path {
        "retry.jitter" => basic().retry(Retry::new().jitter(share)),
        "retry.budget" => basic().retry(Retry::new().budget(share)),
        _ => panic!("{path} has no test"),
    }
    .build()
}

fn number(path: &str, n: usize) -> Result<PoolConfig, InvalidConfig> {
    match path {
        "pool_size" => basic().pool_size(n),
        "overflow" => basic().overflow(n),
        "queue.limit" => basic().queue(Queue::new().limit(n)),
        "queue.per_session" => basic().queue(Queue::new().per_session(n).limit(1_000_000)),
        "concurrency" => basic().concurrency(n),
        "pipeline" => basic().pipeline(u32::try_from(n).unwrap_or(u32::MAX)),
        "sessions.max" => basic().sessions(Sessions::new().max(n)),
        "health.failures" => basic().health(Health::new().failures(n)),
        "restart.max" => basic().restart(Restart::new().max(n)),
        "retry.attempts" => basic().retry(Retry::new().attempts(n)),
        "breaker.failure_threshold" => basic().breaker(Breaker::new().failure_threshold(n)),
        "breaker.success_threshold" => basic().breaker(Breaker::new().success_threshold(n)),
        "breaker.half_open_max_calls" => basic().breaker(Breaker::new().half_open_max_calls(n)),
        "poison.max_worker_deaths" => basic().poison(Poison::new().max_worker_deaths(n)),
        "buffers.max_bytes" => basic().buffers(Buffers::new().max_bytes(n)),
        "stream.window" => basic().stream(Streams::new().window(n)),
        "max_frame" => basic().max_frame(n),
        _ => panic!("{path} has no test"),
    }
    .build()
}

fn span(path: &str, d: Duration) -> Result<PoolConfig, InvalidConfig> {
    match path {
        "overflow_delay" => basic().overflow_delay(d),
        "overflow_idle_timeout" => basic().overflow_idle_timeout(d),
        "timeout" => basic().timeout(d),
        "queue.timeout" => basic().queue(Queue::new().timeout(d)),
        "start_timeout" => basic().start_timeout(d),
        "cancel.interrupt" => basic().cancel(Cancel::new().interrupt(d).kill(LONGEST)),
        "cancel.kill" => basic().cancel(Cancel::new().interrupt(NANO).kill(d)),
        "stream.stall" => basic().stream(Streams::new().stall(d)),
        "stop.grace" => basic().stop(Stop::new().grace(d)),
        "stop.term" => basic().stop(Stop::new().term(d)),
        "sessions.timeout" => basic().sessions(Sessions::new().timeout(d)),
        "sessions.cleanup_interval" => basic().sessions(Sessions::new().cleanup_interval(d)),
        "sessions.grace" => {
            return enhanced().sessions(Sessions::new().expiry(Expiry::TwoPhase { grace: d })).build();
        }
        "health.interval" => basic().health(Health::new().interval(d)),
        "health.timeout" => basic().health(Health::new().timeout(d)),
        "restart.window" => basic().restart(Restart::new().window(d)),
        "restart.min_uptime" => basic().restart(Restart::new().min_uptime(d)),
        "restart.backoff" => basic().restart(Restart::new().backoff(d).max_backoff(LONGEST)),
        "restart.max_backoff" => basic().restart(Restart::new().backoff(NANO).max_backoff(d)),
        "restart.cooldown" => basic().restart(Restart::new().cooldown(d)),
        "retry.base" => basic().retry(Retry::new().base(d).max(LONGEST)),
        "retry.max" => basic().retry(Retry::new().base(NANO).max(d)),
        "breaker.open_duration" => basic().breaker(Breaker::new().open_duration(d)),
        "poison.quarantine" => basic().poison(Poison::new().quarantine(d)),
        _ => panic!("{path} has no test"),
    }
    .build()
}

fn refusal<T: std::fmt::Debug>(built: Result<T, InvalidConfig>) -> String {
    built.unwrap_err().to_string()
}

#[test]
fn r51_refusals_name_key_value_and_what_is_allowed() {
    assert_snapshot!(refusal(PoolConfig::basic("no spaces").app("a:a").build()), @"`name` is `no spaces`; allowed: 1 to 64 letters, digits, `_` or `-`, starting with a letter or digit");
    assert_snapshot!(refusal(basic().pool_size(1025).build()), @"`pool_size` is 1025; allowed: 1 to 1024");
    assert_snapshot!(refusal(basic().timeout(Duration::ZERO).build()), @r#"`timeout` is 0s; allowed: a duration greater than 0s and at most 365 days, such as "250ms", "30s", "5m""#);
    assert_snapshot!(refusal(basic().max_frame(1023).build()), @"`max_frame` is 1023; allowed: 1024 to 1073741823");
    assert_snapshot!(refusal(basic().queue(Queue::new().limit(10).per_session(11)).build()), @"`queue.per_session` is 11; allowed: 1 to `queue.limit`, which is 10");
    assert_snapshot!(refusal(basic().cancel(Cancel::new().interrupt(secs(90))).build()), @"`cancel.interrupt` is 1m 30s; allowed: at most `cancel.kill`, which is 5s");
    assert_snapshot!(refusal(basic().restart(Restart::new().backoff(secs(11))).build()), @"`restart.backoff` is 11s; allowed: at most `restart.max_backoff`, which is 10s");
    assert_snapshot!(refusal(basic().retry(Retry::new().base(secs(6))).build()), @"`retry.base` is 6s; allowed: at most `retry.max`, which is 5s");
    let late = Backoff::Custom(vec![Duration::ZERO, LONGEST + NANO]);
    assert_eq!(basic().retry(Retry::new().backoff(late)).build().unwrap_err().key(), "retry.waits");
    assert_snapshot!(refusal(basic().cwd("/no/such/folder").build()), @"`cwd` is /no/such/folder; allowed: an existing folder");
    assert_snapshot!(refusal(basic().python("").build()), @r#"`python` is ""; allowed: a program name, a path, or the folder of an environment or project"#);
    let forked = PoolConfig::basic("carts").command(["./worker"]).start(StartMethod::Template).build();
    assert_snapshot!(refusal(forked), @r#"`start` is "template"; allowed: "spawn"; "template" requires `app`, because only Herder's Python workers can be forked"#);
    let (large, long) = (NonZero::new(65_537), Some(secs(61)));
    for (limits, refused) in [
        (
            BatchSettings { max_batch_size: large, max_wait: None },
            "predict = { max_batch_size = 65537 }; allowed: max_batch_size 1 to 65536",
        ),
        (
            BatchSettings { max_batch_size: None, max_wait: long },
            "predict = { max_wait = 61s }; allowed: max_wait 0s to 1m",
        ),
    ] {
        assert_eq!(refusal(basic().batch("predict", limits).build()), format!("`batch` is {refused}"));
    }
    assert_snapshot!(refusal(basic().env("A=B", "secret").build()), @r#"`env` is "A=B" = ..; allowed: names without `=` or NUL bytes, values without NUL bytes, not HERDER_FD, HERDER_CTL_FD, HERDER_LOG_FD, HERDER_SLAB_FD, HERDER_BYTECODE, HERDER_SLOT or HERDER_TEMPLATE"#);
    assert_snapshot!(refusal(basic().env("HERDER_FD", "3").build()), @r#"`env` is "HERDER_FD" = ..; allowed: names without `=` or NUL bytes, values without NUL bytes, not HERDER_FD, HERDER_CTL_FD, HERDER_LOG_FD, HERDER_SLAB_FD, HERDER_BYTECODE, HERDER_SLOT or HERDER_TEMPLATE"#);
    for (value, found) in
        [("gpu{slots}", "{slots}"), ("{x}{Slot}", "{Slot}"), ("{ slot }", "{ slot }"), ("{slot_id}", "{slot_id}")]
    {
        let expected = format!(
            "`env` is \"GPU\" = .., which contains `{found}`; allowed: `{{slot}}` for the number of the worker's slot"
        );
        assert_eq!(refusal(basic().env("GPU", value).build()), expected);
    }
    for value in ["{slot}", "{{slot}}", "{level} {message}", "{\"slots\": 1}", "{slot", "slots"] {
        assert!(basic().env("GPU", value).build().is_ok(), "{value}");
    }
    assert_snapshot!(refusal(PoolConfig::basic("carts").build()), @"`app` is not set; allowed: exactly one of `app` and `command`");
    assert_snapshot!(refusal(PoolConfig::basic("carts").app("carts.py").build()), @"`app` is `carts.py`; allowed: `module:app` or `path/to/file.py:app`");
    assert_snapshot!(refusal(basic().command(["./worker"]).build()), @"`command` is set together with `app`; allowed: exactly one of `app` and `command`");
    assert_snapshot!(refusal(PoolConfig::basic("carts").command(["./worker"]).python("python3").build()), @"`python` is python3; allowed: not set; `python` requires `app`, and `command` names its own program");
    assert_snapshot!(refusal(PoolConfig::basic("carts").command([""]).build()), @r#"`command` is [""]; allowed: a program and its arguments, such as ["./worker", "--flag"], without NUL bytes"#);
    assert_snapshot!(refusal(PoolConfig::basic("carts").command(Vec::<String>::new()).build()), @r#"`command` is []; allowed: a program and its arguments, such as ["./worker", "--flag"], without NUL bytes"#);
}

/// Names of headers are compared in lower case. Those of the connection, and those that Herder reads, cannot be forwarded.
#[test]
fn names_of_forwarded_headers_are_checked() {
    let names = |names: &[&str]| basic().forward_headers(names.iter().copied()).build();
    let config = names(&["X-Tenant", "traceparent", "x-tenant", "Authorization"]).unwrap();
    assert_eq!(config.forward_headers().join(" "), "authorization traceparent x-tenant");
    assert!(basic().build().unwrap().forward_headers().is_empty());
    for bad in
        ["", "x tenant", "x-tenant:", "é", "Connection", "TE", "content-length", "Herder-Session", &"x".repeat(129)]
    {
        assert_eq!(names(&[bad]).unwrap_err().key(), "forward_headers", "{bad}");
    }
    assert_snapshot!(refusal(names(&["x-a", "Upgrade"])), @r#"`forward_headers` is a list with "upgrade"; allowed: at most 32 names of headers, such as ["x-tenant"], not hop-by-hop, `content-length` or `herder-` headers"#);
    let many: Vec<_> = (0..33).map(|number| format!("x-{number}")).collect();
    assert!(basic().forward_headers(&many[..32]).build().is_ok());
    assert_eq!(basic().forward_headers(&many).build().unwrap_err().key(), "forward_headers");
}

#[test]
fn command_paths_are_resolved_against_the_base() {
    let argv = |program: &str| match PoolConfig::basic("c").relative_to("/usr").command([program, "-x"]).build() {
        Ok(config) => match config.launch() {
            Launch::Command { argv } => argv.clone(),
            other => panic!("{other:?}"),
        },
        Err(error) => panic!("{error}"),
    };
    assert_eq!(argv("bin/worker"), ["/usr/bin/worker", "-x"]);
    assert_eq!(argv("worker"), ["worker", "-x"]);
    assert_eq!(argv("/bin/worker"), ["/bin/worker", "-x"]);
}

#[test]
fn cwd_is_resolved_against_the_base() {
    let config = basic().relative_to("/usr").cwd("bin").build().unwrap();
    assert_eq!(config.cwd(), std::path::Path::new("/usr/bin"));
}

/// R9: the keys that the table marks as enhanced are those that the basic builder does not have (see the doctests that must
/// not compile).
#[test]
fn r9_table_marks_keys_of_enhanced_pools() {
    let enhanced: Vec<_> = TABLE.iter().filter(|key| key.scope == Scope::Enhanced).map(|key| key.path).collect();
    assert_eq!(
        enhanced,
        [
            "sessions.expiry",
            "sessions.grace",
            "sessions.affinity",
            "sessions.on_expired",
            "features.session_affinity",
            "features.worker_metrics",
            "features.state_machine"
        ]
    );
}
