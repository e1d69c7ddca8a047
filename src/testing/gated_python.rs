//! A script in front of an interpreter, which delays or fails its start. The interpreter then runs with the script's
//! process id. Holds only paths.

use herder_actors::testing::StartBehavior;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// An interpreter whose start is controlled by the test: it starts immediately, later, or not at all.
///
/// ```
/// use herder::testing::{TestContext, StartBehavior, starting_pool, wait_until};
/// # #[tokio::main]
/// # async fn main() {
/// let mut gate = None;
/// let pool = starting_pool("slow", |context| {
///     let closed = gate.insert(context.gated_python("python3"));
///     closed.set_start_behavior(&StartBehavior::Wait);
///     context.basic().app("herder.demo:app").python(closed.python()).build()
/// })
/// .await;
/// assert_eq!(pool.health().await.unwrap().ready_workers, 0, "the workers are still starting");
/// gate.unwrap().set_start_behavior(&StartBehavior::Ready);
/// pool.wait_healthy("pid").await;
/// pool.shutdown_and_check().await;
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GatedPython {
    dir: PathBuf,
    script: PathBuf,
}

/// The script. It polls the file `gate.how` until that says `ready` or `fail`. A `sleep` of the script is in the
/// worker's process group, so it is killed together with the worker.
const SCRIPT: &str = "#!/bin/sh
while :; do
    read -r how < 'DIR/gate.how'
    case $how in
        ready) exec 'PYTHON' \"$@\" ;;
        fail) sed 1d 'DIR/gate.how' >&2; exit 1 ;;
        *) sleep 0.01 ;;
    esac
done
";

impl GatedPython {
    pub(super) fn new(dir: &Path, python: &str) -> Self {
        let gate = Self { dir: dir.into(), script: dir.join("gate.sh") };
        let text = SCRIPT.replace("DIR", &dir.display().to_string()).replace("PYTHON", python);
        fs::write(&gate.script, text).unwrap();
        fs::set_permissions(&gate.script, fs::Permissions::from_mode(0o755)).unwrap();
        gate.set_start_behavior(&StartBehavior::Ready);
        gate
    }

    /// Returns the path to use as the pool's `python`.
    pub fn python(&self) -> &Path {
        &self.script
    }

    /// Sets how workers start from now on, including those that are waiting to start. A start that fails prints the
    /// reason on standard error.
    ///
    /// # Panics
    /// If the file cannot be written.
    #[track_caller]
    pub fn set_start_behavior(&self, how: &StartBehavior) {
        let text = match how {
            StartBehavior::Wait => "wait\n".into(),
            StartBehavior::Fail(why) => format!("fail\n{why}\n"),
            _ => "ready\n".to_owned(),
        };
        let new = self.dir.join("gate.new");
        fs::write(&new, text).unwrap();
        // Replace the file in one step: a waiting script must not read half of it.
        fs::rename(new, self.dir.join("gate.how")).unwrap();
    }
}
