//! Buffers through `Pool` beside a floor of two processes, in alternating rounds: `cargo bench --bench buffers`. Then many large
//! calls, with the bytes that pass through sockets, the descriptors and the memory. Needs an otherwise idle machine with 1 GiB of
//! memory, and numpy in the interpreter `BENCH_PYTHON` (default: `python3`).
#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    unreachable_pub,
    dead_code,
    reason = "a benchmark: it may end with a panic, prints its table, and starts the floor's processes itself"
)]

#[path = "../common/proc.rs"]
mod proc;

use bytes::Bytes;
use herder::{Buffer, Pool, PoolConfig, Reply};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::{
    env, fs,
    hint::black_box,
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

const MIB: usize = 1 << 20;
const ROUNDS: usize = 15;
const DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/buffers");

fn main() {
    actix_rt::System::new().block_on(async {
        let python = env::var("BENCH_PYTHON").unwrap_or_else(|_| "python3".into());
        let config = PoolConfig::basic("bench").app("app.py:app").cwd(DIR).python(&python).pool_size(1).overflow(0);
        let pool = Pool::start(config.max_frame(128 * MIB).build().expect("a configuration")).await.expect("a pool");
        pool.ready().await.expect("a worker that has numpy");
        let mut floor = Floor::start(&python);
        println!("\n| work | floor, us | herder, us | ratio: median (lowest to highest of {ROUNDS} rounds) |\n|---|---|---|---|");
        let (small, large) = (ones(MIB), ones(64 * MIB));
        let echo = async || call(&pool, "echo", small.clone()).await.buffers()[0].bytes().len();
        compare("echo of 1 MiB", &mut floor, "echo", MIB, 50, echo).await;
        let mut target = vec![0; MIB];
        let into = async || call(&pool, "echo", small.clone()).await.buffers()[0].copy_to(&mut target).unwrap_or_default();
        compare("echo of 1 MiB, `copy_to`", &mut floor, "echo", MIB, 50, into).await;
        let total = async || call(&pool, "total", large.clone()).await.json().len();
        compare("sum of 64 MiB of float32", &mut floor, "total", 64 * MIB, 10, total).await;
        soak(&pool, &large).await;
        pool.shutdown(Duration::from_secs(5)).await.expect("a shutdown");
    });
}

fn ones(size: usize) -> Bytes {
    1.0_f32.to_le_bytes().repeat(size / 4).into()
}

async fn call(pool: &Pool, command: &str, data: Bytes) -> Reply {
    let elements = data.len() as u64 / 4;
    let array = Buffer::array(data, "<f4", [elements]).expect("an array");
    let call = pool.call::<IgnoredAny>(command, &json!({})).attach("x", array);
    call.take_buffers().reply().await.expect("a reply")
}

/// Measures both sides in alternating rounds of `count` calls. The first round is not counted.
async fn compare(
    name: &str,
    floor: &mut Floor,
    what: &str,
    size: usize,
    count: usize,
    mut one: impl AsyncFnMut() -> usize,
) {
    let (mut floors, mut herders) = (Vec::new(), Vec::new());
    for _ in 0..=ROUNDS {
        floors.push(median(floor.measure(what, count, size)));
        let mut times = Vec::new();
        for _ in 0..count {
            let begin = Instant::now();
            black_box(one().await);
            times.push(begin.elapsed().as_nanos() as f64);
        }
        herders.push(median(times));
    }
    let ratios: Vec<f64> = herders.iter().zip(&floors).skip(1).map(|(herder, floor)| herder / floor).collect();
    let (lowest, highest) =
        (ratios.iter().copied().fold(f64::MAX, f64::min), ratios.iter().copied().fold(0.0, f64::max));
    let [floor, herder] = [floors, herders].map(|times| median(times[1..].to_vec()) / 1e3);
    println!("| {name} | {floor:.0} | {herder:.0} | {:.2} ({lowest:.2} to {highest:.2}) |", median(ratios));
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Makes 500 calls of 64 MiB, and prints what grows.
async fn soak(pool: &Pool, large: &Bytes) {
    const CALLS: usize = 500;
    let worker: u32 = pool.call("pid", &json!({})).await.expect("a pid");
    let (before, io) = (Usage::read(worker), transferred());
    for _ in 0..CALLS {
        call(pool, "total", large.clone()).await;
    }
    let (after, bytes) = (Usage::read(worker), transferred() - io);
    println!(
        "\n{CALLS} calls of 64 MiB: {:.1} KiB a call are read and written by the host",
        bytes as f64 / 1024.0 / CALLS as f64
    );
    println!("before: {before:?}\nafter:  {after:?}");
}

/// Returns the number of bytes that this process has read and written, through sockets too.
fn transferred() -> u64 {
    let text = fs::read_to_string("/proc/self/io").expect("proc");
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok());
    value("rchar:").expect("a number") + value("wchar:").expect("a number")
}

#[derive(Debug)]
#[expect(dead_code, reason = "printed")]
struct Usage {
    host_descriptors: usize,
    host_mib: f64,
    worker_descriptors: usize,
    worker_mib: f64,
}

impl Usage {
    fn read(worker: u32) -> Self {
        let of = |process: &str| {
            let descriptors = fs::read_dir(format!("/proc/{process}/fd")).expect("proc").count();
            (descriptors, proc::mib(proc::kib(&format!("/proc/{process}/status"), "VmRSS:")))
        };
        let ((host_descriptors, host_mib), (worker_descriptors, worker_mib)) = (of("self"), of(&worker.to_string()));
        Self { host_descriptors, host_mib, worker_descriptors, worker_mib }
    }
}

/// The two processes of the floor.
struct Floor {
    process: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Floor {
    fn start(python: &str) -> Self {
        let mut command = Command::new(python);
        command.arg(format!("{DIR}/floor.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("python");
        let (requests, answers) = (process.stdin.take().expect("a pipe"), process.stdout.take().expect("a pipe"));
        Self { process, requests, answers: BufReader::new(answers) }
    }

    /// Returns the nanoseconds of each call.
    fn measure(&mut self, what: &str, count: usize, size: usize) -> Vec<f64> {
        writeln!(self.requests, "{what} {count} {size}").expect("a request");
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        serde_json::from_str::<Vec<Value>>(&line).expect("JSON").iter().filter_map(Value::as_f64).collect()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
