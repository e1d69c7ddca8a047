//! What to start. Holds plain data; starting is the spawner's.

use std::{ffi::OsString, path::Path, path::PathBuf};

/// What to start, and under which name its output is logged.
///
/// A program without a slash is looked up in the `PATH` the worker will have; a relative one with a slash is relative to
/// [`cwd`](Self::cwd). The worker gets standard input, output and error, the two descriptors named in `HERDER_FD` and
/// `HERDER_CTL_FD`, and nothing else the host has open.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Command {
    /// The executable.
    pub program: OsString,
    /// Its arguments, without the program's own name.
    pub args: Vec<OsString>,
    /// Variables added to the environment; a later one of a name wins. `HERDER_FD` and `HERDER_CTL_FD` are set after these.
    pub env: Vec<(OsString, OsString)>,
    /// Whether the host's environment is kept from the worker.
    pub env_clear: bool,
    /// Variables of the host's environment that the worker does not inherit. [`env`](Self::env) may set them.
    pub env_remove: Vec<OsString>,
    /// Where it starts; `None` is the host's current directory.
    pub cwd: Option<PathBuf>,
    /// Its name in log lines, as `models/w1.1`.
    pub label: String,
}

impl Command {
    /// A command without arguments that inherits the environment, labelled by its program's file name.
    pub fn new(program: impl Into<OsString>) -> Self {
        let program = program.into();
        let label = Path::new(&program).file_name().unwrap_or(&program).to_string_lossy().into_owned();
        Self { program, args: Vec::new(), env: Vec::new(), env_clear: false, env_remove: Vec::new(), cwd: None, label }
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

    /// Adds a variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Keeps the host's environment from the worker (`true`), or hands it down (`false`, the default).
    #[must_use]
    pub fn env_clear(mut self, clear: bool) -> Self {
        self.env_clear = clear;
        self
    }

    /// Does not let the worker inherit a variable of the host's environment. [`env`](Self::env) may set it.
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

    /// Sets the name used in log lines.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }
}
