//! A gate before an interpreter: what passes it becomes the worker itself, under the same process id. Holds where it is.

use super::StartBehavior;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

/// An interpreter whose starts go as the test says: at once, not yet, or not at all.
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
/// assert_eq!(pool.health().await.unwrap().ready_workers, 0, "they are still loading");
/// gate.unwrap().set_start_behavior(&StartBehavior::Ready);
/// pool.wait_healthy("pid").await;
/// pool.end().await;
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct GatedPython {
    dir: PathBuf,
    script: PathBuf,
}

/// Reads how it is to go until that is something else than to wait. The pause is for the machine; whoever is killed meanwhile takes it
/// along, since it is in the same process group.
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

    /// What to give a pool as its `python`.
    pub fn python(&self) -> &Path {
        &self.script
    }

    /// How starts go from now on; those that wait hear of it too. One that fails says why on standard error.
    ///
    /// # Panics
    /// When that can't be written.
    #[track_caller]
    pub fn set_start_behavior(&self, how: &StartBehavior) {
        let text = match how {
            StartBehavior::Wait => "wait\n".into(),
            StartBehavior::Fail(why) => format!("fail\n{why}\n"),
            _ => "ready\n".to_owned(),
        };
        let new = self.dir.join("gate.new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.dir.join("gate.how")).unwrap(); // nobody reads half of it
    }
}
