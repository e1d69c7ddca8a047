//! Checks that the programs of a pool exist: the app's file, the interpreter, the program of `command`. Reads the file
//! system, starts nothing.

use super::{InvalidConfig, Launch, PoolConfig, interpreter::missing_environment, table};
use rustix::fs::{Access, access};
use std::{
    env,
    ffi::{OsStr, OsString},
    path::Path,
};

const APP_FILE: &str = "an existing file (absolute, or relative to `cwd`), or a module";
const EXECUTABLE: &str = "an executable file, or a program found in the workers' `PATH`";
/// Where the system looks up programs for a process without `PATH`.
const NO_PATH: &str = "/bin:/usr/bin";

impl PoolConfig {
    /// Checks that the app's file, the interpreter and the program of `command` exist. Blocks on the file system.
    ///
    /// [`build`](super::PoolBuilder::build) does not check this, since a configuration may be read on a machine that starts
    /// no workers. If one of them is missing when a worker starts, the start fails.
    ///
    /// ```
    /// # use herder_actors::PoolConfig;
    /// let config = PoolConfig::basic("carts").app("no_such_folder/carts.py:app").build()?;
    /// assert_eq!(config.find_programs().unwrap_err().key(), "app");
    /// # Ok::<(), herder_actors::InvalidConfig>(())
    /// ```
    ///
    /// # Errors
    /// When one of them does not exist. The module of an app is not checked: only the interpreter can find it.
    pub fn find_programs(&self) -> Result<(), InvalidConfig> {
        match self.launch() {
            Launch::App { app, python } => {
                self.find_program(table::PYTHON.path, python.as_os_str())?;
                let file = self.cwd().join(app.target());
                if app.target().ends_with(".py") && !file.is_file() {
                    let given = format_args!("`{app}`, but the file `{}` does not exist", file.display()).to_string();
                    return Err(InvalidConfig::new(table::APP.path, given, APP_FILE));
                }
                Ok(())
            }
            Launch::Command { argv } => {
                let program = argv.first().map(OsStr::new).unwrap_or_default();
                self.find_program(table::COMMAND.path, program)
            }
        }
    }

    fn find_program(&self, key: &'static str, program: &OsStr) -> Result<(), InvalidConfig> {
        let program_text = program.display();
        if program.as_encoded_bytes().contains(&b'/') {
            let exists = is_executable(&self.cwd().join(program));
            let invalid = || {
                let hint = missing_environment(Path::new(program)).unwrap_or_default();
                let given = format!("`{program_text}`, which is not an executable file{hint}");
                InvalidConfig::new(key, given, EXECUTABLE)
            };
            return exists.then_some(()).ok_or_else(invalid);
        }
        let path = self.workers_path();
        let exists = env::split_paths(&path).any(|folder| is_executable(&self.cwd().join(folder).join(program)));
        let invalid = || {
            // A folder without an environment, such as a project that is named without a slash.
            let is_folder = key == table::PYTHON.path && self.cwd().join(program).is_dir();
            let hint = if is_folder { format!("; for the folder, write `./{program_text}`") } else { String::new() };
            let given = format!("`{program_text}`, which is not in `PATH` ({}){hint}", path.display());
            InvalidConfig::new(key, given, EXECUTABLE)
        };
        exists.then_some(()).ok_or_else(invalid)
    }

    /// Returns the `PATH` of a worker. It is the host's in both `env_mode`s, unless `env` contains one.
    fn workers_path(&self) -> OsString {
        let own = self.env().get("PATH").map(OsString::from);
        own.or_else(|| env::var_os("PATH")).unwrap_or_else(|| NO_PATH.into())
    }
}

fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, Access::EXEC_OK).is_ok()
}
