//! The processes that measure one size: this program, started again, once under callgrind and once without.

use std::{env, fs, process::Command};

/// The environment variable that names the subject and the size, in the process that measures them.
const CASE: &str = "HERDER_CURVES_CASE";

/// Returns the subject and the size that this process measures, if it was started by [`run`].
pub(crate) fn requested() -> Option<(String, usize)> {
    let case = env::var(CASE).ok()?;
    let (subject, size) = case.rsplit_once(' ').expect("a subject and a size");
    Some((subject.into(), size.parse().expect("a number")))
}

/// Returns the operations of a subject at one size, in order: the name, the instructions and the nanoseconds of a step.
pub(crate) fn run(subject: &str, size: usize) -> Vec<(String, f64, f64)> {
    let case = format!("{subject} {size}");
    let exe = env::current_exe().expect("this program");
    let timed = output(Command::new(&exe), &case);
    let folder = env::temp_dir().join(format!("herder-curves-{}", std::process::id()));
    fs::create_dir_all(&folder).expect("a temporary directory");
    let mut callgrind = Command::new("valgrind");
    callgrind.args(["--tool=callgrind", "--toggle-collect=*curves::steps::counted*", "--dump-after=*end_operation*"]);
    callgrind.arg(format!("--callgrind-out-file={}", folder.join("out").display())).arg(&exe);
    output(callgrind, &case);
    let operations = timed.lines().enumerate().map(|(index, line)| {
        let mut fields = line.split('\t');
        let name = fields.next().expect("a name");
        let [steps, ns] = [(); 2].map(|()| fields.next().and_then(|field| field.parse().ok()).expect("a number"));
        let dump = fs::read_to_string(folder.join(format!("out.{}", index + 1))).expect("one dump for each operation");
        let total = dump.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a total");
        (name.into(), total.trim().parse::<f64>().expect("a number") / steps, ns)
    });
    let operations = operations.collect();
    fs::remove_dir_all(&folder).expect("a directory of this process");
    operations
}

/// Returns what the process of this case printed.
fn output(mut command: Command, case: &str) -> String {
    let done = command.env(CASE, case).output().expect("valgrind is installed");
    assert!(done.status.success(), "{case}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("text")
}
