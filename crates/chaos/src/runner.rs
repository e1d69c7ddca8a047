//! The judge's side: starts the host of the storm and stops it now and then, starts others and kills them, looks for what they leave
//! behind, and judges the accounts. Has no pool.

#![expect(clippy::disallowed_methods, reason = "faults are injected and callers leave at set times")]

use crate::{
    answer,
    config::{self, EXECUTION_LOG},
    execution_log::Runs,
    host::{ANSWERS, DONE, Outcome},
    judge::Judge,
    options::Options,
};
use herder::chaos::{Figures, MarkedProcesses, Progress, Rng};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    fs,
    fs::File,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// How long what must go may take on a busy machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// From the end of the faults to the host's end, at most; then it hangs.
const HANG_TIMEOUT: Duration = Duration::from_secs(600);

/// What hosts went through.
#[derive(Clone, Copy, Debug, Default)]
struct HostTotals {
    stopped: u64,
    killed: u64,
    /// Processes that outlived a host that was killed.
    orphans: u64,
    /// Calls of theirs that ran twice, or hosts that did not go on.
    broken: u64,
}

/// An interpreter without packages below this folder: what is installed for others would cost each start of a worker. None where that
/// can't be had; the pool finds one by itself then.
pub(crate) fn python_without_packages(folder: &Path) -> Option<PathBuf> {
    let home = folder.join("venv");
    let made = Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(&home).status();
    made.is_ok_and(|status| status.success()).then(|| home.join("bin/python"))
}

/// The whole run: figures, and in words what was wrong.
pub(crate) fn run(options: &Options, folder: &Path) -> Outcome<(Figures, Vec<String>)> {
    let victims = options.clone();
    let place = folder.to_path_buf();
    let (over, told) = mpsc::channel::<()>();
    let killing = thread::spawn(move || kill_hosts(&victims, &place, &told));
    let (figures, stopped) = storm(options, folder)?;
    drop(over);
    let mut hosts = killing.join().map_err(|_| "the thread that kills hosts panicked")??;
    hosts.stopped = stopped;
    let left = left(&MarkedProcesses::new(&options.mark));
    judged(options, folder, &figures, hosts, left)
}

/// What is left of a run after a generous time.
fn left(processes: &MarkedProcesses) -> u64 {
    let begun = Instant::now();
    while !processes.processes().is_empty() && begun.elapsed() < WAIT_TIMEOUT {
        thread::sleep(Duration::from_millis(20));
    }
    processes.processes().len() as u64
}

/// The host, from its start to its end: what it told, and how often it was stopped.
fn storm(options: &Options, folder: &Path) -> Outcome<(Figures, u64)> {
    let mut host = Host::start(options, "--host", &options.mark, folder, folder.join("log"))?;
    let lines = host.lines()?;
    let mut rng = Rng::of(options.seed, 1 << 22);
    let (mut progress, begun, mut stopped) = (Progress::default(), Instant::now(), 0);
    let mut next_stop = rng.millis(3000, 6000);
    let faults = Duration::from_secs(options.seconds + 2);
    loop {
        match lines.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => match line.split_once(DONE) {
                Some((_, figures)) => {
                    progress.done();
                    host.wait()?;
                    return Ok((serde_json::from_str(figures)?, stopped));
                }
                None => progress.print(&format!("{:>4} s  {line}", begun.elapsed().as_secs())),
            },
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                progress.done();
                return Err(format!("the host exited too early, {}", host.wait()?).into());
            }
        }
        if !options.defaults && begun.elapsed() > next_stop && begun.elapsed() < faults {
            host.stop_for(rng.millis(20, 400));
            stopped += 1;
            next_stop = begun.elapsed() + rng.millis(3000, 9000);
        }
        if begun.elapsed() > faults + HANG_TIMEOUT {
            return Err("the host does not exit".into());
        }
    }
}

/// Hosts that are stopped, go on, and are killed, until the storm is over; one at least, unless there are to be no such faults.
fn kill_hosts(options: &Options, folder: &Path, over: &mpsc::Receiver<()>) -> Outcome<HostTotals> {
    let mut hosts = HostTotals::default();
    let mut rng = Rng::of(options.seed, 1 << 23);
    if options.defaults {
        return Ok(hosts);
    }
    loop {
        let place = folder.join(format!("victim-{}", hosts.killed));
        fs::create_dir(&place)?;
        let mark = format!("{}-{}", options.mark, hosts.killed);
        kill_host(options, &mark, &place, &mut rng, &mut hosts)?;
        hosts.orphans += left(&MarkedProcesses::new(&mark));
        hosts.broken += Runs::read(BufReader::new(File::open(place.join(EXECUTION_LOG))?))?.more_than_once();
        fs::remove_dir_all(&place)?;
        match over.recv_timeout(rng.millis(4000, 10_000)) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            _ => return Ok(hosts),
        }
    }
}

fn kill_host(options: &Options, mark: &str, place: &Path, rng: &mut Rng, hosts: &mut HostTotals) -> Outcome {
    let mut host = Host::start(options, "--victim", mark, place, place.join("log"))?;
    let lines = host.lines()?;
    let served = || lines.iter().find_map(|line| line.parse::<u64>().ok());
    served().ok_or("a host did not become ready")?;
    host.stop_for(rng.millis(50, 500));
    while lines.try_recv().is_ok() {}
    if served().is_none() {
        hosts.broken += 1;
    }
    thread::sleep(rng.millis(0, 300));
    host.0.kill()?;
    host.wait()?;
    hosts.killed += 1;
    Ok(())
}

fn judged(
    options: &Options,
    folder: &Path,
    host: &Figures,
    hosts: HostTotals,
    left: u64,
) -> Outcome<(Figures, Vec<String>)> {
    let runs = Runs::read(BufReader::new(File::open(folder.join(EXECUTION_LOG))?))?;
    let settings = config::chaos_config(options, folder)?.settings();
    let mut judge = Judge::new(host.calls, u64::from(settings.concurrency * settings.pipeline), &runs);
    for line in BufReader::new(File::open(folder.join(ANSWERS))?).lines() {
        let line = line?;
        judge.observe(&answer::parse(&line).ok_or_else(|| format!("no answer: {line:?}"))?);
    }
    let (calls, mut words) = judge.verdict();
    if hosts.broken > 0 {
        words.push(format!("paused or killed hosts: {hosts:?}"));
    }
    let mut faults = host.faults.clone();
    faults.insert("host_stop".into(), hosts.stopped + hosts.killed);
    faults.insert("host_kill".into(), hosts.killed);
    let double_runs = calls.double_runs.map(|runs| runs + hosts.broken);
    let figures = Figures {
        calls: calls.calls,
        ok: calls.ok,
        refused: calls.refused,
        answers: calls.answers,
        lost: calls.lost + host.lost,
        duplicated: calls.duplicated,
        double_runs,
        may_have_run_violations: calls.may_have_run_violations,
        session_violations: calls.session_violations,
        window_violations: calls.window_violations,
        orphans: left + hosts.orphans,
        faults,
        worker_lost: calls.worker_lost,
        in_flight_at_kill: calls.in_flight_at_kill,
        ok_share_not_in_flight: calls.ok_share_not_in_flight,
        ..host.clone()
    };
    Ok((figures, words))
}

/// A host that the judge started. Killed and waited for when dropped; its watchdog kills the workers then.
struct Host(Child);

impl Host {
    #[expect(clippy::disallowed_methods, reason = "it is a host that is started, not a worker; each is waited for")]
    fn start(options: &Options, role: &str, mark: &str, folder: &Path, log: PathBuf) -> Outcome<Self> {
        let millis = |span: Duration| format!("{}ms", span.as_millis());
        let Options { seconds, seed, workers, overflow, pipeline, callers, fault_every, .. } = options;
        let path = |path: &Path| path.display().to_string();
        let mut arguments = vec![format!("{role}={}", path(folder)), format!("--mark={mark}")];
        arguments.extend([format!("--seconds={seconds}"), format!("--seed={seed}")]);
        arguments.extend([format!("--workers={workers}"), format!("--callers={callers}")]);
        arguments.extend([format!("--overflow={overflow}"), format!("--pipeline={pipeline}")]);
        arguments.extend(options.mixed.then(|| "--mixed".into()));
        arguments.push(format!("--kill-every={}", millis(options.kill_every())));
        arguments.push(format!("--fault-every={}", millis(*fault_every)));
        arguments.extend(options.defaults.then(|| "--defaults".into()));
        arguments.extend(options.python.iter().map(|python| format!("--python={}", path(python))));
        let mut command = crate::own_command(&arguments)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(log)?);
        Ok(Self(command.spawn()?))
    }

    /// Its lines, read by a thread.
    fn lines(&mut self) -> Outcome<mpsc::Receiver<String>> {
        let out = self.0.stdout.take().ok_or("its output is read already")?;
        let (line, lines) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|text| line.send(text).ok());
        });
        Ok(lines)
    }

    fn stop_for(&self, within: Duration) {
        let pid = Pid::from_child(&self.0);
        if kill_process(pid, Signal::STOP).is_ok() {
            thread::sleep(within);
            let _ = kill_process(pid, Signal::CONT);
        }
    }

    fn wait(&mut self) -> Outcome<process::ExitStatus> {
        Ok(self.0.wait()?)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
