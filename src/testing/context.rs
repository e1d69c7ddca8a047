//! The name, the directory and the configuration of a test's pool. Holds the name and the directory.

use super::GatedPython;
use crate::config::Config;
use herder_actors::{Basic, Enhanced, PoolBuilder, PoolConfig, Queue, Restart, inspect::MARK, testing::HANG_TIMEOUT};
use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};
use tempfile::TempDir;

/// A pool name that is unique among the tests on this machine, a temporary directory, and a mark in the environment of
/// the pool's workers, by which [`PoolProcesses`](super::PoolProcesses) finds them.
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
    /// Creates a context. Its name starts with `hint`.
    ///
    /// # Panics
    /// If the directory cannot be created.
    #[track_caller]
    pub fn new(hint: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        Self::named(&format!("{hint}_{}_{}", process::id(), NUMBER.fetch_add(1, Ordering::Relaxed)))
    }

    /// Creates a context with exactly this name, for a pool that takes over the name of another one.
    ///
    /// # Panics
    /// If the directory cannot be created.
    #[track_caller]
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), dir: TempDir::new().unwrap() }
    }

    /// Returns the pool's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the directory. Apps and relative paths are looked up in it.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Returns the builder of a basic pool: two workers, no overflow, restarts after 10 ms without a practical limit,
    /// and timeouts of [`HANG_TIMEOUT`]. Add what the test is about.
    pub fn basic(&self) -> PoolBuilder<Basic> {
        self.with_test_settings(PoolConfig::basic(&self.name))
    }

    /// Returns the builder of an enhanced pool with the same settings as [`basic`](Self::basic).
    pub fn enhanced(&self) -> PoolBuilder<Enhanced> {
        self.with_test_settings(PoolConfig::enhanced(&self.name))
    }

    /// Returns the table of a configuration file for a pool of the demo app (`herder.demo:app`), with two workers and
    /// no overflow. `keys` are additional lines.
    pub fn table(&self, keys: &str) -> String {
        let name = &self.name;
        let env = format!("env = {{ {MARK} = '{name}' }}");
        format!("[pools.{name}]\napp = 'herder.demo:app'\npool_size = 2\noverflow = 0\n{env}\n{keys}\n")
    }

    /// Returns the pool of a configuration file that consists of this [`table`](Self::table).
    ///
    /// # Panics
    /// If the configuration is invalid.
    ///
    /// ```
    /// let config = herder::testing::TestContext::new("file").toml("pipeline = 4");
    /// assert_eq!(config.settings().window(), 4);
    /// ```
    #[track_caller]
    pub fn toml(&self, keys: &str) -> PoolConfig {
        Config::from_toml(&self.table(keys), self.dir()).unwrap().pools.remove(0)
    }

    /// Writes a file into the directory, and returns its path.
    ///
    /// # Panics
    /// If the file cannot be written.
    #[track_caller]
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    /// Creates an interpreter that starts when the test says so, to be used instead of `python` (such as `python3`, or
    /// a path).
    ///
    /// # Panics
    /// If it cannot be written into the directory.
    #[track_caller]
    pub fn gated_python(&self, python: &str) -> GatedPython {
        GatedPython::new(self.dir(), python)
    }

    pub(super) fn into_dir(self) -> TempDir {
        self.dir
    }

    fn with_test_settings<T>(&self, builder: PoolBuilder<T>) -> PoolBuilder<T> {
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
