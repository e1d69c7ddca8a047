//! R13, R38: a pool starts while few descriptors are free: either its worker starts, or the error names the limit. The host is
//! this test binary, started again, because the limit applies to a whole process.

use herder::testing::TestContext;
use herder::{Error, Pool};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    env, fs,
    process::{Command, Stdio},
    time::Duration,
};

const ROLE: &str = "HERDER_TEST_FEW_DESCRIPTORS";
/// More free descriptors than a start needs.
const MAX_FREE: u64 = 40;

/// R38: with 0 to 40 free descriptors the pool starts, or its error names `ulimit -n`.
#[test]
fn r38_a_start_with_few_descriptors_names_the_limit() {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "pools::few_descriptors::host", "--include-ignored", "--nocapture"])
        .env(ROLE, "starts")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let outcomes: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("WITH ")).collect();
    assert_eq!(outcomes.len() as u64, MAX_FREE / 2 + 1, "{text}{}", String::from_utf8_lossy(&output.stderr));
    for outcome in &outcomes {
        assert!(outcome.ends_with(": ok") || outcome.contains(" (`ulimit -n`)"), "{outcome}");
    }
    assert!(!outcomes[0].ends_with(": ok") && outcomes.last().unwrap().ends_with(": ok"), "{outcomes:#?}");
}

/// Sets the limit of descriptors so that this number of them is free. Returns the limit before.
fn limit_free_descriptors(free: u64) -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    let open: Vec<u64> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .filter(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).is_ok()) // not the descriptor of this directory
        .collect();
    let limit = (0..).filter(|number| !open.contains(number)).nth(usize::try_from(free).unwrap()).unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), ..before }).unwrap();
    before
}

/// Not a test: the role of the host.
#[tokio::test]
#[ignore = "started by the other test"]
async fn host() {
    if env::var(ROLE).is_err() {
        return;
    }
    for free in (0..=MAX_FREE).step_by(2) {
        let context = TestContext::new("few");
        let config = context.basic().app("herder.demo:app").pool_size(1).overflow(0).build().unwrap();
        let before = limit_free_descriptors(free);
        let started = Pool::start(config).await;
        setrlimit(Resource::Nofile, before).unwrap();
        match started {
            Ok(pool) => {
                println!("\nWITH {free}: ok");
                pool.shutdown(Duration::ZERO).await.unwrap();
            }
            Err(Error::StartFailed { reason, .. }) => println!("\nWITH {free}: {reason}"),
            Err(error) => println!("\nWITH {free}: {error:?}"),
        }
    }
}
