//! One part of the suite run as a process: what it prints goes to files, a part that hangs is ended, and so is one that runs when this
//! program is to end. Starts no other processes.
//!
//! Files and no pipes: a process that a test left behind would hold a pipe open, and what was printed is there when this program is ended.

use super::{
    events::{self, End, Outcome},
    interrupt::Interrupt,
};
use crate::error::Error;
use rustix::process::{Pid, Signal, kill_process_group};
use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    thread,
    time::{Duration, Instant},
};

/// How often the process is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// Runs a part's command to its end, or to this program's.
pub(crate) fn execute(
    mut command: Command,
    scratch: &Path,
    guard: Duration,
    interrupt: &Interrupt,
) -> Result<Outcome, Error> {
    let begun = Instant::now();
    let (out, err) = (scratch.join("now.out"), scratch.join("now.err"));
    command.stdout(File::create(&out).map_err(Error::file(&out))?);
    command.stderr(File::create(&err).map_err(Error::file(&err))?);
    let ended = run(&mut command, [&out, &err], guard, interrupt);
    let end = ended.map_err(Error::program(&command.get_program().to_string_lossy()))?;
    let end = end.ok_or_else(|| Error::Interrupted(interrupt.signal().unwrap_or_default()))?;
    let outcome = events::outcome(&text(&out)?, &text(&err)?, end);
    Ok(Outcome { seconds: begun.elapsed().as_secs_f64(), ..outcome })
}

/// How it ended; none if a signal came first.
#[expect(clippy::disallowed_methods, reason = "its own thread waits for it; it is no worker")]
fn run(
    command: &mut Command,
    outputs: [&PathBuf; 2],
    guard: Duration,
    interrupt: &Interrupt,
) -> io::Result<Option<End>> {
    let mut child = command.process_group(0).spawn()?; // a group: `cargo test` and pytest have processes of their own
    let (mut printed, mut since) = (0, Instant::now());
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(judge(status)));
        }
        if interrupt.signal().is_some() {
            return end(&mut child).map(|()| None);
        }
        let now = outputs.iter().map(|file| fs::metadata(file).map_or(0, |found| found.len())).sum();
        if now != printed {
            (printed, since) = (now, Instant::now());
        } else if since.elapsed() > guard {
            return end(&mut child).map(|()| Some(End::Hung));
        }
        thread::sleep(LOOK);
    }
}

fn judge(status: ExitStatus) -> End {
    if status.success() { End::Success } else { End::Failure }
}

/// Ends the process and its group.
fn end(child: &mut Child) -> io::Result<()> {
    let _ = kill_process_group(Pid::from_child(child), Signal::KILL); // it may be gone by now
    child.wait().map(drop)
}

fn text(file: &Path) -> Result<String, Error> {
    Ok(String::from_utf8_lossy(&fs::read(file).map_err(Error::file(file))?).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{io::Read, process::Stdio};

    fn sh(script: &str, guard: Duration, input: impl Into<Stdio>) -> Outcome {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(input);
        execute(command, folder.path(), guard, &Interrupt::default()).unwrap()
    }

    const STARTED: &str = r#"echo '{"type": "test", "event": "started", "name": "a"}'"#;

    #[test]
    fn r49_a_part_that_hangs_is_ended_with_its_processes_and_named() {
        let (mut ours, theirs) = io::pipe().unwrap();
        let outcome = sh(&format!("{STARTED}; sleep 1000 <&0 & wait"), Duration::from_millis(200), theirs);
        assert_eq!(outcome.failures[0].test, "a");
        assert!(outcome.failures[0].output.contains("said nothing"), "{outcome:?}");
        assert_eq!(ours.read_to_end(&mut Vec::new()).unwrap(), 0, "until nobody holds the other end");
    }

    #[test]
    fn r49_what_runs_when_this_program_is_to_end_is_ended_first() {
        let (mut ours, theirs) = io::pipe().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "sleep 1000 <&0 & wait"]).stdin(theirs);
        let ended = execute(command, folder.path(), Duration::from_secs(600), &Interrupt::come(15));
        assert!(matches!(ended, Err(Error::Interrupted(15))), "{ended:?}");
        assert_eq!(ours.read_to_end(&mut Vec::new()).unwrap(), 0, "until nobody holds the other end");
    }

    /// The process that is left is ended by itself: its standard input is this one's end of a pipe.
    #[test]
    fn what_a_test_leaves_behind_holds_nothing_up() {
        let (theirs, ours) = io::pipe().unwrap();
        let outcome = sh(&format!("{STARTED}; cat <&0 & exit 0"), Duration::from_secs(600), theirs);
        drop(ours);
        assert!(outcome.failures.is_empty() && outcome.ran.contains("a"), "{outcome:?}");
    }

    #[test]
    fn r49_a_signal_is_a_failure_of_the_test_that_ran() {
        let outcome =
            sh(&format!("{STARTED}; echo last words >&2; kill -ABRT $$"), Duration::from_secs(600), Stdio::null());
        assert_eq!(outcome.failures[0].test, "a");
        assert!(outcome.failures[0].output.contains("last words"));
    }
}
