//! The judge's process: starts and pauses the host of the run, starts and kills other hosts, looks for processes that remain,
//! and passes the logs to the judge. Runs no pool.

#![expect(clippy::disallowed_methods, reason = "faults are injected and calls are abandoned at chosen times")]

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

/// The time within which all processes of a host must have exited, even on a busy machine.
const WAIT_TIMEOUT: Duration = Duration::from_secs(60);
/// The maximum time from the end of the faults to the exit of the host. After it, the host counts as hanging.
const HANG_TIMEOUT: Duration = Duration::from_secs(600);

/// The number of faults that hosts went through, and their effects.
#[derive(Clone, Copy, Debug, Default)]
struct HostTotals {
    paused: u64,
    killed: u64,
    /// Processes that outlived their killed host.
    orphans: u64,
    /// Calls that ran twice on a killed host, and hosts that exited after a pause.
    violations: u64,
}

/// Creates a virtual environment without packages in this folder and returns its interpreter. Packages that are installed on
/// the machine would slow down each start of a worker. Returns `None` if that fails; the pool then looks for an interpreter by
/// itself.
pub(crate) fn python_without_packages(folder: &Path) -> Option<PathBuf> {
    let venv = folder.join("venv");
    let created = Command::new("python3").args(["-m", "venv", "--without-pip"]).arg(&venv).status();
    created.is_ok_and(|status| status.success()).then(|| venv.join("bin/python"))
}

/// Runs everything. Returns the figures and a description of each violation.
pub(crate) fn run(options: &Options, folder: &Path) -> Outcome<(Figures, Vec<String>)> {
    let thread_options = options.clone();
    let thread_folder = folder.to_path_buf();
    let (running, over) = mpsc::channel::<()>();
    let killer = thread::spawn(move || kill_hosts(&thread_options, &thread_folder, &over));
    let (figures, paused) = run_host(options, folder)?;
    drop(running); // tells the other thread that the run is over
    let mut hosts = killer.join().map_err(|_| "the thread that kills hosts panicked")??;
    hosts.paused = paused;
    let remaining = remaining_processes(&MarkedProcesses::new(&options.mark));
    judge_run(options, folder, &figures, hosts, remaining)
}

/// Returns the number of processes that remain after `WAIT_TIMEOUT`.
fn remaining_processes(processes: &MarkedProcesses) -> u64 {
    let started = Instant::now();
    while !processes.processes().is_empty() && started.elapsed() < WAIT_TIMEOUT {
        thread::sleep(Duration::from_millis(20));
    }
    processes.processes().len() as u64
}

/// Runs the host of the run from its start to its exit. Returns its figures and the number of times it was paused.
fn run_host(options: &Options, folder: &Path) -> Outcome<(Figures, u64)> {
    let mut host = Host::start(options, "--host", &options.mark, folder, folder.join("log"))?;
    let lines = host.lines()?;
    let mut rng = Rng::of(options.seed, 1 << 22);
    let (mut progress, started, mut paused) = (Progress::default(), Instant::now(), 0);
    let mut next_pause = rng.millis(3000, 6000);
    let faults = Duration::from_secs(options.seconds + 2);
    loop {
        match lines.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => match line.split_once(DONE) {
                Some((_, figures)) => {
                    progress.done();
                    host.wait()?;
                    return Ok((serde_json::from_str(figures)?, paused));
                }
                None => progress.print(&format!("{:>4} s  {line}", started.elapsed().as_secs())),
            },
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                progress.done();
                return Err(format!("the host exited too early, {}", host.wait()?).into());
            }
        }
        if !options.defaults && started.elapsed() > next_pause && started.elapsed() < faults {
            host.pause_for(rng.millis(20, 400));
            paused += 1;
            next_pause = started.elapsed() + rng.millis(3000, 9000);
        }
        if started.elapsed() > faults + HANG_TIMEOUT {
            return Err("the host did not exit in time".into());
        }
    }
}

/// Starts hosts one after the other, pauses each once and kills it, until the run is over. At least one host is killed, unless
/// the options exclude such faults.
fn kill_hosts(options: &Options, folder: &Path, over: &mpsc::Receiver<()>) -> Outcome<HostTotals> {
    let mut hosts = HostTotals::default();
    let mut rng = Rng::of(options.seed, 1 << 23);
    if options.defaults {
        return Ok(hosts);
    }
    loop {
        let host_folder = folder.join(format!("killed-host-{}", hosts.killed));
        fs::create_dir(&host_folder)?;
        let mark = format!("{}-{}", options.mark, hosts.killed);
        kill_host(options, &mark, &host_folder, &mut rng, &mut hosts)?;
        hosts.orphans += remaining_processes(&MarkedProcesses::new(&mark));
        hosts.violations += Runs::read(BufReader::new(File::open(host_folder.join(EXECUTION_LOG))?))?.more_than_once();
        fs::remove_dir_all(&host_folder)?;
        match over.recv_timeout(rng.millis(4000, 10_000)) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            _ => return Ok(hosts),
        }
    }
}

fn kill_host(options: &Options, mark: &str, host_folder: &Path, rng: &mut Rng, hosts: &mut HostTotals) -> Outcome {
    let mut host = Host::start(options, "--killed-host", mark, host_folder, host_folder.join("log"))?;
    let lines = host.lines()?;
    let next_count = || lines.iter().find_map(|line| line.parse::<u64>().ok());
    next_count().ok_or("a host did not become ready")?;
    host.pause_for(rng.millis(50, 500));
    // Lines that were printed before the pause prove nothing: discard them, so that the next line shows progress after it.
    while lines.try_recv().is_ok() {}
    if next_count().is_none() {
        hosts.violations += 1;
    }
    thread::sleep(rng.millis(0, 300));
    host.0.kill()?;
    host.wait()?;
    hosts.killed += 1;
    Ok(())
}

fn judge_run(
    options: &Options,
    folder: &Path,
    host: &Figures,
    hosts: HostTotals,
    remaining: u64,
) -> Outcome<(Figures, Vec<String>)> {
    let runs = Runs::read(BufReader::new(File::open(folder.join(EXECUTION_LOG))?))?;
    let settings = config::chaos_config(options, folder)?.settings();
    // A worker that dies loses only calls that may have begun: those in advance run elsewhere, and are no loss.
    // A batch takes one place.
    let window = u64::from(settings.places()) * if options.mixed { config::LARGEST_BATCH } else { 1 };
    let mut judge = Judge::new(host.calls, window, &runs);
    for line in BufReader::new(File::open(folder.join(ANSWERS))?).lines() {
        let line = line?;
        judge.observe(&answer::parse(&line).ok_or_else(|| format!("invalid line in the file of answers: {line:?}"))?);
    }
    let (calls, mut descriptions) = judge.verdict();
    if hosts.violations > 0 {
        descriptions.push(format!("paused or killed hosts: {hosts:?}"));
    }
    let mut faults = host.faults.clone();
    faults.insert("host_pause".into(), hosts.paused + hosts.killed);
    faults.insert("host_kill".into(), hosts.killed);
    let double_runs = calls.double_runs.map(|runs| runs + hosts.violations);
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
        orphans: remaining + hosts.orphans,
        faults,
        worker_lost: calls.worker_lost,
        in_flight_at_kill: calls.in_flight_at_kill,
        ok_share_not_in_flight: calls.ok_share_not_in_flight,
        ..host.clone()
    };
    Ok((figures, descriptions))
}

/// A host that the judge started. It is killed and reaped when dropped; its watchdog then kills its workers.
struct Host(Child);

impl Host {
    #[expect(clippy::disallowed_methods, reason = "starts a host, not a worker; `wait` and `drop` reap it")]
    fn start(options: &Options, role: &str, mark: &str, folder: &Path, log: PathBuf) -> Outcome<Self> {
        let millis = |span: Duration| format!("{}ms", span.as_millis());
        let Options { seconds, seed, workers, overflow, pipeline, callers, fault_every, .. } = options;
        let path = |path: &Path| path.display().to_string();
        let mut arguments = vec![format!("{role}={}", path(folder)), format!("--mark={mark}")];
        arguments.extend([format!("--seconds={seconds}"), format!("--seed={seed}")]);
        arguments.extend([format!("--workers={workers}"), format!("--callers={callers}")]);
        arguments.extend([format!("--overflow={overflow}"), format!("--pipeline={pipeline}")]);
        arguments.extend(options.mixed.then(|| "--mixed".into()));
        arguments.extend(options.template.then(|| "--template".into()));
        arguments.push(format!("--kill-every={}", millis(options.kill_every())));
        arguments.push(format!("--fault-every={}", millis(*fault_every)));
        arguments.extend(options.defaults.then(|| "--defaults".into()));
        arguments.extend(options.python.iter().map(|python| format!("--python={}", path(python))));
        let mut command = own_command(&arguments)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(File::create(log)?);
        Ok(Self(command.spawn()?))
    }

    /// Reads the host's output in a thread and returns its lines.
    fn lines(&mut self) -> Outcome<mpsc::Receiver<String>> {
        let out = self.0.stdout.take().ok_or("the output of the host is already being read")?;
        let (line, lines) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).try_for_each(|text| line.send(text).ok());
        });
        Ok(lines)
    }

    fn pause_for(&self, duration: Duration) {
        let pid = Pid::from_child(&self.0);
        if kill_process(pid, Signal::STOP).is_ok() {
            thread::sleep(duration);
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

/// Returns a command that runs this program again with these arguments.
fn own_command(arguments: &[String]) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(arguments);
    Ok(command)
}
