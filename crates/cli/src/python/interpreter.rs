//! What an interpreter says about itself: version, folders, kind of environment, installed package. Starts the interpreter,
//! and holds only its answer.

use super::probe::finish;
use serde::Deserialize;
use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// The oldest version of Python that can run a worker.
const MINIMUM: (u32, u32) = (3, 10);

/// The oldest version of orjson that workers use.
const MINIMUM_ORJSON: [u32; 3] = [3, 11, 7];

/// Removes the variables with the server's tokens. No program that this command starts gets them: interpreters run the code of
/// their environments, and uv that of packages.
pub(crate) fn without_tokens(command: &mut Command) -> &mut Command {
    herder::TOKEN_VARIABLES.iter().fold(command, |command, name| command.env_remove(name))
}

/// The time that an interpreter has for its answer: a wrapper may wait for a terminal, or start a container.
const LIMIT: Duration = Duration::from_secs(10);

/// What an error says of a program that does not end in time.
const SILENT: &str = "has not answered within";

/// The version of this program, and of its package.
const OWN: &str = env!("CARGO_PKG_VERSION");

/// The bytes that are read of what it prints.
const MAX_OUTPUT: usize = 64 * 1024;

/// Prints one line of JSON, in every version of Python from 2.7 on. The current folder is removed from `sys.path`, since a
/// `json.py` in it would be imported.
const SCRIPT: &str = r#"
import sys
sys.path[:] = [folder for folder in sys.path if folder not in ("", ".")]
import json, os
def read(*parts):
    try:
        with open(os.path.join(*parts)) as file:
            return file.read()
    except Exception:
        return ""
def environment(prefix):
    config = read(prefix, "pyvenv.cfg")
    if os.path.isdir(os.path.join(prefix, "conda-meta")):
        return "conda environment"
    if not config:
        return None
    if "\nuv = " in "\n" + config:
        return "uv environment"
    if "pypoetry" in prefix or os.path.isfile(os.path.join(os.path.dirname(prefix), "poetry.lock")):
        return "Poetry environment"
    return "virtual environment"
def installed():
    for folder in sys.path:
        found = read(folder, "herder", "__init__.py").partition('\n__version__ = "')[2].partition('"')[0]
        if found:
            return [found, folder]
def orjson():
    for folder in sys.path:
        try:
            names = os.listdir(folder)
        except Exception:
            continue
        for name in names:
            if name.startswith("orjson-") and name.endswith(".dist-info"):
                return [int(part) for part in name[7:-10].split(".")[:3] if part.isdigit()]
try:
    import sysconfig
    packages = sysconfig.get_path("purelib")
except Exception:
    packages = None
print(json.dumps({"version": list(sys.version_info[:3]), "executable": sys.executable, "prefix": sys.prefix,
    "packages": packages, "environment": environment(sys.prefix), "installed": installed(), "orjson": orjson()}))
"#;

/// The answer of an interpreter.
#[derive(Debug, Deserialize)]
pub(crate) struct Interpreter {
    pub(crate) version: (u32, u32, u32),
    pub(crate) executable: String,
    pub(crate) prefix: String,
    /// The folder of installed packages.
    pub(crate) packages: Option<PathBuf>,
    /// The kind of environment, if it is one: of uv, Poetry, conda or venv.
    pub(crate) environment: Option<String>,
    /// Version and folder of the package `herder` that `import herder` would find.
    installed: Option<(String, String)>,
    /// The version of orjson, if it is installed.
    orjson: Option<Vec<u32>>,
}

impl Interpreter {
    /// Starts the interpreter, and waits until it has answered, at most ten seconds.
    ///
    /// # Errors
    /// Fails if the program cannot be started, is no Python, or does not answer in time.
    pub(crate) fn ask(command: Command) -> Result<Self, String> {
        Self::ask_within(command, LIMIT)
    }

    /// Returns whether an error of [`ask`](Self::ask) says that the program did not end in time.
    pub(crate) fn has_hung(error: &str) -> bool {
        error.contains(SILENT)
    }

    #[expect(clippy::disallowed_methods, reason = "`finish` waits for the child; it needs no death signal")]
    fn ask_within(mut command: Command, limit: Duration) -> Result<Self, String> {
        let program = Path::new(command.get_program()).display().to_string();
        command.args(["-c", SCRIPT]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().map_err(|error| format!("{program} cannot be started: {error}"))?;
        let Some((output, errors, status)) = finish(child, limit, MAX_OUTPUT) else {
            return Err(format!("{program} {SILENT} {} s", limit.as_secs()));
        };
        // A `sitecustomize` module may print lines before the answer.
        match output.lines().last().map(serde_json::from_str) {
            Some(Ok(answer)) => Ok(answer),
            _ => {
                let reason = errors.lines().last().unwrap_or("it printed nothing");
                Err(format!("{program} does not answer like Python ({status}): {reason}"))
            }
        }
    }

    /// Returns why the interpreter cannot run a worker, if it is too old.
    pub(crate) fn too_old(&self) -> Option<String> {
        let ((major, minor), (needed_major, needed_minor)) = ((self.version.0, self.version.1), MINIMUM);
        let reason = || {
            let (executable, patch) = (&self.executable, self.version.2);
            format!(
                "{executable} is Python {major}.{minor}.{patch}; Herder needs Python {needed_major}.{needed_minor} or later"
            )
        };
        ((major, minor) < MINIMUM).then(reason)
    }

    /// Returns the version of the installed package and what workers do with it.
    fn package(&self) -> String {
        match (&self.installed, self.unused_package()) {
            (None, _) => format!("herder {OWN} of this program"),
            (Some((_, folder)), None) => {
                format!("herder {OWN} in {folder}, which is identical to that of this program")
            }
            (_, Some(unused)) => format!("herder {OWN} of this program, not {unused}"),
        }
    }

    /// Describes the installed package if workers do not import it, because it is not equal to that of this program.
    pub(crate) fn unused_package(&self) -> Option<String> {
        let (version, folder) = self.installed.as_ref()?;
        if version != OWN {
            return Some(format!("the installed {version} in {folder}"));
        }
        let file = different_file(Path::new(folder))?;
        Some(format!("the installed one in {folder}, whose {file} differs: run `herder python install`"))
    }
}

/// Returns the first file of the installed package that differs from that of this program. Workers compare the same files.
fn different_file(folder: &Path) -> Option<&'static str> {
    let is_equal = |name: &str, text: &str| {
        fs::read(folder.join("herder").join(name)).is_ok_and(|installed| installed == text.as_bytes())
    };
    let files = herder::PYTHON_PACKAGE.iter().filter(|(name, _)| name.ends_with(".py"));
    files.into_iter().find(|(name, text)| !is_equal(name, text)).map(|(name, _)| *name)
}

/// Shows the version, the environment and the package that workers import.
impl fmt::Display for Interpreter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (major, minor, patch) = self.version;
        write!(f, "Python {major}.{minor}.{patch}, ")?;
        match &self.environment {
            Some(kind) => write!(f, "{kind} {}; ", self.prefix)?,
            None => write!(f, "{}; ", self.executable)?,
        }
        f.write_str(&self.package())?;
        let Some(orjson) = &self.orjson else { return Ok(()) };
        let text = |version: &[u32]| version.iter().map(u32::to_string).collect::<Vec<_>>().join(".");
        write!(f, "; orjson {}", text(orjson))?;
        if orjson.as_slice() < &MINIMUM_ORJSON[..] {
            write!(f, ", which workers do not use: install {} or later", text(&MINIMUM_ORJSON))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interpreter(json: &str) -> Interpreter {
        serde_json::from_str(json).unwrap()
    }

    const NEW: &str = r#"{"version": [3, 12, 1], "executable": "/v/bin/python", "prefix": "/v", "packages": "/v/lib",
        "environment": "uv environment", "installed": null}"#;

    /// R74: the line names the environment, and which package workers import.
    #[test]
    fn r74_the_line_names_the_environment_and_the_package() {
        let own = env!("CARGO_PKG_VERSION");
        let shown = |json: &str| interpreter(json).to_string();
        assert_eq!(shown(NEW), format!("Python 3.12.1, uv environment /v; herder {own} of this program"));
        let other = shown(&NEW.replace("null", r#"["0.0.1", "/v/lib"]"#));
        assert!(other.ends_with("of this program, not the installed 0.0.1 in /v/lib"), "{other}");
        let differs = shown(&NEW.replace("null", &format!(r#"["{own}", "/v/lib"]"#)));
        assert!(differs.contains("not the installed one in /v/lib, whose "), "{differs}");
    }

    #[test]
    fn the_line_names_orjson_and_whether_it_is_used() {
        let shown = |version: &str| {
            let line = interpreter(&NEW.replace("null", &format!(r#"null, "orjson": {version}"#))).to_string();
            line.split_once("program").map(|(_, end)| end.to_owned())
        };
        assert_eq!(shown("null").as_deref(), Some(""));
        assert_eq!(shown("[3, 13, 0]").as_deref(), Some("; orjson 3.13.0"));
        assert_eq!(shown("[3, 11, 7]").as_deref(), Some("; orjson 3.11.7"));
        let old = "; orjson 3.9.15, which workers do not use: install 3.11.7 or later";
        assert_eq!(shown("[3, 9, 15]").as_deref(), Some(old));
    }

    #[test]
    fn versions_before_3_10_are_too_old() {
        assert_eq!(interpreter(NEW).too_old(), None);
        for (version, expected) in [("3, 9, 18", Some("3.9.18")), ("2, 7, 18", Some("2.7.18")), ("3, 10, 0", None)] {
            let reason = interpreter(&NEW.replace("3, 12, 1", version)).too_old();
            assert_eq!(reason.is_some(), expected.is_some(), "{version}");
            assert!(reason.unwrap_or_default().contains(expected.unwrap_or_default()), "{version}");
        }
    }

    /// The real interpreter of this machine answers.
    #[test]
    fn the_interpreter_of_this_machine_answers() {
        let answer = Interpreter::ask(Command::new("python3")).unwrap();
        assert!(answer.too_old().is_none() && answer.packages.is_some_and(|folder| folder.is_absolute()));
        assert!(Interpreter::ask(Command::new("false")).unwrap_err().contains("does not answer like Python"));
        assert!(Interpreter::ask(Command::new("/none")).unwrap_err().contains("cannot be started"));
    }

    /// A wrapper that never answers is killed, also if it has closed its output.
    #[test]
    fn a_program_that_does_not_answer_is_killed() {
        let ask = |script: &str| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            Interpreter::ask_within(command, Duration::from_millis(200)).unwrap_err()
        };
        assert!(ask("exec sleep 1000").contains("has not answered within"));
        assert!(ask("exec sleep 1000 >&- 2>&-").contains("does not answer like Python"));
    }
}
