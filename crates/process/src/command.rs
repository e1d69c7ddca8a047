//! The description of a process to start. Holds plain data; the spawner starts it.

use std::{ffi::OsString, path::Path, path::PathBuf};
use tracing::level_filters::LevelFilter;

/// The program to start, with its arguments, environment, directory, and the name for its log lines.
///
/// A program without a slash is looked up in the `PATH` of the worker. A relative path with a slash is relative to
/// [`cwd`](Self::cwd). The worker gets standard input, output and error, the descriptors named in `HERDER_FD`, `HERDER_CTL_FD`,
/// `HERDER_LOG_FD` and, with [`slabs`](Self::slabs), `HERDER_SLAB_FD`, and no other descriptor of the host.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Command {
    /// The executable.
    pub program: OsString,
    /// The arguments, without the name of the program.
    pub args: Vec<OsString>,
    /// Variables added to the environment; the last of several with one name counts. `HERDER_FD`, `HERDER_CTL_FD`,
    /// `HERDER_LOG_FD` and `HERDER_SLAB_FD` are set after these.
    pub env: Vec<(OsString, OsString)>,
    /// Whether the worker does not inherit the environment of the host.
    pub env_clear: bool,
    /// Variables of the host's environment that the worker does not inherit. [`env`](Self::env) may set them.
    pub env_remove: Vec<OsString>,
    /// The working directory; `None` is the host's current directory.
    pub cwd: Option<PathBuf>,
    /// The pool and the worker in log lines, such as `models/w1.1`: the fields `pool` and `worker` of the events. Without a slash
    /// there is no field `pool`.
    pub label: String,
    /// Whether the worker gets a socket for slabs, where the system has them.
    pub slabs: bool,
    /// The value of `HERDER_LOG_LEVEL`, unless the environment has one: the most detailed level of the log records that the worker
    /// sends. `None`: the most detailed level that the application's subscriber selects when the worker is started.
    pub log_level: Option<LevelFilter>,
}

impl Command {
    /// Creates a command without arguments that inherits the environment. Its label is the file name of the program.
    pub fn new(program: impl Into<OsString>) -> Self {
        let program = program.into();
        let label = Path::new(&program).file_name().unwrap_or(&program).to_string_lossy().into_owned();
        let (args, env, env_remove) = Default::default();
        Self { program, args, env, env_clear: false, env_remove, cwd: None, label, slabs: false, log_level: None }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets whether the worker does not inherit the environment of the host. The default is `false`.
    #[must_use]
    pub fn env_clear(mut self, clear: bool) -> Self {
        self.env_clear = clear;
        self
    }

    /// Removes a variable of the host's environment from that of the worker. [`env`](Self::env) may set it.
    #[must_use]
    pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
        self.env_remove.push(name.into());
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn cwd(mut self, cwd: impl Into<PathBuf>) -> Self {
        self.cwd = Some(cwd.into());
        self
    }

    /// Sets whether the worker gets a socket for slabs. The default is `false`.
    #[must_use]
    pub fn slabs(mut self, slabs: bool) -> Self {
        self.slabs = slabs;
        self
    }

    /// Sets the most detailed level of the log records that the worker sends.
    #[must_use]
    pub fn log_level(mut self, level: Option<LevelFilter>) -> Self {
        self.log_level = level;
        self
    }

    /// Sets the name of the worker in log lines.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
}
