//! What a test builds its pool from. Holds the name and the folder.

use super::{GatedPython, HANG_TIMEOUT};
use crate::{Basic, Config, Enhanced, PoolBuilder, PoolConfig, Queue, Restart};
use herder_actors::inspect::MARK;
use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tempfile::TempDir;

/// A name that no other pool of the machine's tests has, a folder that goes with it, and a mark in the environment of its workers by
/// which [`PoolProcesses`](super::PoolProcesses) knows them.
///
/// ```
/// use herder::testing::TestContext;
/// let context = TestContext::new("carts");
/// context.file("carts.py", "import herder\napp = herder.App()\n");
/// let config = context.enhanced().app("carts.py:app").build().unwrap();
/// assert!(config.name().as_str().starts_with("carts_"));
/// ```
#[derive(Debug)]
pub struct TestContext {
    name: String,
    dir: TempDir,
}

impl TestContext {
    /// A new one; its name begins with the hint.
    ///
    /// # Panics
    /// When no folder can be made.
    #[track_caller]
    pub fn new(hint: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        Self::named(&format!("{hint}_{}_{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    /// The same of just this name: for a pool that takes the name of another, when that is gone.
    ///
    /// # Panics
    /// When no folder can be made.
    #[track_caller]
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), dir: TempDir::new().unwrap() }
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder, where apps and relative paths are looked up.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The builder of a basic pool: two workers, no overflow, restarts after 10 ms and as many as it takes, and time limits of
    /// [`HANG_TIMEOUT`]. Say what your test is about beside that.
    pub fn basic(&self) -> PoolBuilder<Basic> {
        self.begun(PoolConfig::basic(&self.name))
    }

    /// The builder of an enhanced pool, otherwise the same.
    pub fn enhanced(&self) -> PoolBuilder<Enhanced> {
        self.begun(PoolConfig::enhanced(&self.name))
    }

    /// A configuration file's table for a pool of the demo (`herder.demo:app`), otherwise the same; `keys` are more lines of it.
    pub fn table(&self, keys: &str) -> String {
        let name = &self.name;
        let env = format!("env = {{ {MARK} = '{name}' }}");
        format!("[pools.{name}]\napp = 'herder.demo:app'\npool_size = 2\noverflow = 0\n{env}\n{keys}\n")
    }

    /// What a file with this table alone makes.
    ///
    /// # Panics
    /// When it is no configuration.
    ///
    /// ```
    /// let config = herder::testing::TestContext::new("file").toml("pipeline = 4");
    /// assert_eq!(config.settings().pipeline, 4);
    /// ```
    #[track_caller]
    pub fn toml(&self, keys: &str) -> PoolConfig {
        Config::from_toml(&self.table(keys), self.dir()).unwrap().pools.remove(0)
    }

    /// Writes a file into the folder, at once and whole; gives its path.
    ///
    /// # Panics
    /// When that can't be.
    #[track_caller]
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// An interpreter whose starts go as the test says, in place of `python` (`python3`, or a path).
    ///
    /// # Panics
    /// When it can't be written into the folder.
    #[track_caller]
    pub fn gated_python(&self, python: &str) -> GatedPython {
        GatedPython::new(self.dir(), python)
    }

    pub(super) fn into_dir(self) -> TempDir {
        self.dir
    }

    fn begun<T>(&self, builder: PoolBuilder<T>) -> PoolBuilder<T> {
        let quick = Duration::from_millis(10);
        let restart = Restart::new().max(1000).backoff(quick).max_backoff(10 * quick);
        builder
            .env(MARK, &self.name)
            .relative_to(self.dir())
            .pool_size(2)
            .overflow(0)
            .timeout(HANG_TIMEOUT)
            .start_timeout(HANG_TIMEOUT)
            .queue(Queue::new().timeout(HANG_TIMEOUT))
            .restart(restart)
    }
}
