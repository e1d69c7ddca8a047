//! R13, R38: a pool that starts while few descriptors are left: either its worker starts, or the error names the limit. The host is this test
//! binary, started again, since a limit is that of a whole process.

use herder::testing::TestContext;
use herder::{Error, Pool};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::{
    env, fs,
    process::{Command, Stdio},
    time::Duration,
};

const ROLE: &str = "HERDER_TEST_FEW_DESCRIPTORS";
/// More than a start needs.
const MOST: u64 = 40;

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
    assert_eq!(outcomes.len() as u64, MOST / 2 + 1, "{text}{}", String::from_utf8_lossy(&output.stderr));
    for outcome in &outcomes {
        assert!(outcome.ends_with(": ok") || outcome.contains(" (`ulimit -n`)"), "{outcome}");
    }
    assert!(!outcomes[0].ends_with(": ok") && outcomes.last().unwrap().ends_with(": ok"), "{outcomes:#?}");
}

/// The numbers below the limit that is set are all in use, but for so many.
fn leave(free: u64) -> Rlimit {
    let before = getrlimit(Resource::Nofile);
    let open: Vec<u64> = fs::read_dir("/proc/self/fd")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap())
        .filter(|fd| fs::read_link(format!("/proc/self/fd/{fd}")).is_ok()) // not the folder itself
        .collect();
    let limit = (0..).filter(|number| !open.contains(number)).nth(usize::try_from(free).unwrap()).unwrap();
    setrlimit(Resource::Nofile, Rlimit { current: Some(limit), ..before }).unwrap();
    before
}

/// The host's role; a test in name only.
#[tokio::test]
#[ignore = "started by the other test"]
async fn host() {
    if env::var(ROLE).is_err() {
        return;
    }
    for free in (0..=MOST).step_by(2) {
        let context = TestContext::new("few");
        let config = context.basic().app("herder.demo:app").pool_size(1).overflow(0).build().unwrap();
        let before = leave(free);
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
