//! Which interpreter runs an app: the one that the configuration names, or the first that is found. Reads the environment and
//! the file system, starts nothing.

use super::{InvalidConfig, table::PYTHON};
use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

/// The interpreter of a project's environment, relative to the project.
const PROJECT_PYTHON: &str = ".venv/bin/python";

/// An interpreter, and the virtual environments that have precedence but contain no interpreter.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Interpreter {
    pub(super) python: PathBuf,
    pub(super) stale_venvs: Vec<PathBuf>,
}

/// Returns the interpreter that `python` names, or the first that is found.
pub(super) fn interpreter(given: Option<PathBuf>, base: &Path) -> Result<Interpreter, InvalidConfig> {
    let python = match given {
        Some(python) if is_invalid_program(&python) => {
            return Err(InvalidConfig::new(PYTHON.path, format_args!("{python:?}"), PYTHON.allowed));
        }
        Some(python) if is_name(&python) && !base.join(&python).join("bin/python").is_file() => python,
        Some(python) => of_folder(base.join(python)),
        None => return Ok(find_python(&Environments::of_this_process(), base, Path::is_file)),
    };
    Ok(Interpreter { python, stale_venvs: Vec::new() })
}

fn is_invalid_program(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.as_os_str().as_encoded_bytes().contains(&0)
}

/// Returns whether the text is the name of a program, to be looked up in `PATH`. `.venv` and other names with a dot at the
/// beginning are folders: programs have no such names.
fn is_name(python: &Path) -> bool {
    let text = python.as_os_str().as_encoded_bytes();
    !text.contains(&b'/') && !text.starts_with(b".")
}

/// Returns the interpreter of an environment (venv, conda) or of a project with a `.venv` (uv, Poetry, by hand), if the path is
/// the folder of one. Otherwise returns the path.
fn of_folder(path: PathBuf) -> PathBuf {
    if !path.is_dir() {
        return if path.ends_with(".venv") { path.join("bin/python") } else { path };
    }
    let own = path.join("bin/python");
    // Without any environment, the interpreter of the missing `.venv`: `find_programs` reports it, with `missing_environment`.
    if own.is_file() { own } else { path.join(PROJECT_PYTHON) }
}

/// Returns how to create the environment of a project, if `python` is the missing interpreter of its `.venv`.
pub(super) fn missing_environment(python: &Path) -> Option<String> {
    let project = python.ancestors().nth(3).filter(|project| project.join(PROJECT_PYTHON) == python)?;
    let has = |file: &str| project.join(file).is_file();
    let command = if has("poetry.lock") {
        "poetry config virtualenvs.in-project true && poetry install"
    } else if has("uv.lock") || has("pyproject.toml") {
        "uv sync"
    } else {
        "python3 -m venv .venv"
    };
    Some(format!("; `{}` has no environment: run `{command}` there", project.display()))
}

/// The environments to try before `python3`, apart from the `.venv` beside the configuration.
#[derive(Debug, Default)]
struct Environments {
    /// The value of `VIRTUAL_ENV`.
    activated: Option<OsString>,
    /// The environment in which this program is installed, as `pip install herder` and `uvx herder` do.
    own: Option<PathBuf>,
}

impl Environments {
    fn of_this_process() -> Self {
        let program = env::current_exe().ok();
        let own = program.as_deref().and_then(Path::parent).filter(|bin| bin.ends_with("bin")).and_then(Path::parent);
        let own = own.filter(|folder| folder.join("pyvenv.cfg").is_file()).map(Path::to_path_buf);
        Self { activated: env::var_os("VIRTUAL_ENV"), own }
    }
}

/// Returns the first interpreter that exists of `$VIRTUAL_ENV`, `.venv` in `base`, the environment of this program, and
/// `python3`. Also returns the virtual environments that are named or exist but contain no interpreter: their packages will be
/// missing, so the log warns about them.
fn find_python(environments: &Environments, base: &Path, exists: impl Fn(&Path) -> bool) -> Interpreter {
    // Made absolute: a worker may start in another directory than the host, where a relative path would name something else.
    let activated = environments.activated.as_deref().filter(|folder| !folder.is_empty());
    let activated = activated.map(|folder| absolute_or_same(Path::new(folder)));
    let local = base.join(".venv");
    let mut stale_venvs = Vec::new();
    for (folder, is_named) in activated.map(|folder| (folder, true)).into_iter().chain([(local, false)]) {
        let python = folder.join("bin/python");
        if exists(&python) {
            return Interpreter { python, stale_venvs };
        }
        if is_named || folder.is_dir() {
            stale_venvs.push(folder);
        }
    }
    let own = environments.own.as_ref().map(|folder| folder.join("bin/python")).filter(|python| exists(python));
    Interpreter { python: own.unwrap_or_else(|| "python3".into()), stale_venvs }
}

fn absolute_or_same(folder: &Path) -> PathBuf {
    std::path::absolute(folder).unwrap_or_else(|_| folder.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_existing_interpreter_is_used() {
        let base = Path::new("/srv");
        let find_in = |environments: &Environments, existing: &[&str]| {
            find_python(environments, base, |path: &Path| existing.iter().any(|one| path == Path::new(one)))
        };
        let find = |virtual_env: Option<&str>, existing: &[&str]| {
            find_in(&Environments { activated: virtual_env.map(OsString::from), own: None }, existing)
        };
        let interpreter = |python: &str, stale: &[&str]| Interpreter {
            python: python.into(),
            stale_venvs: stale.iter().map(PathBuf::from).collect(),
        };
        let both = ["/env/bin/python", "/srv/.venv/bin/python"];
        assert_eq!(find(Some("/env"), &both), interpreter("/env/bin/python", &[]));
        assert_eq!(find(Some("/gone"), &both), interpreter("/srv/.venv/bin/python", &["/gone"]));
        assert_eq!(find(Some("/gone"), &[]), interpreter("python3", &["/gone"]));
        assert_eq!(find(Some(""), &["/bin/python", "bin/python"]), interpreter("python3", &[]));
        assert_eq!(find(None, &both), interpreter("/srv/.venv/bin/python", &[]));
        assert_eq!(find(None, &[]), interpreter("python3", &[]));
        let here = env::current_dir().unwrap().join("env");
        assert_eq!(find(Some("env"), &[]), interpreter("python3", &[here.to_str().unwrap()]));
        // The environment of the program comes last, since the other two belong to the application.
        let own = Environments { activated: None, own: Some("/tools".into()) };
        assert_eq!(find_in(&own, &["/tools/bin/python"]), interpreter("/tools/bin/python", &[]));
        assert_eq!(find_in(&own, &["/tools/bin/python", both[1]]), interpreter(both[1], &[]));
        assert_eq!(find_in(&own, &[]), interpreter("python3", &[]));
    }

    /// The folder of an environment, or of a project with a `.venv`, stands for its interpreter.
    #[test]
    fn a_folder_stands_for_the_interpreter_of_its_environment() {
        let base = tempfile::tempdir().unwrap();
        let python = |given: &str| interpreter(Some(given.into()), base.path()).unwrap().python;
        for environment in ["env", "project/.venv", "."] {
            std::fs::create_dir_all(base.path().join(environment).join("bin")).unwrap();
            std::fs::write(base.path().join(environment).join("bin/python"), "").unwrap();
        }
        assert_eq!(python("./env"), base.path().join("./env/bin/python"));
        assert_eq!(python("project/"), base.path().join("project/.venv/bin/python"));
        assert_eq!(python("project"), Path::new("project"), "a name is looked up in `PATH`");
        assert_eq!(python("env"), base.path().join("env/bin/python"), "but not that of an environment");
        assert_eq!(python("./project"), base.path().join("./project/.venv/bin/python"));
        assert_eq!(python("."), base.path().join("./bin/python"));
        assert_eq!(python("./env/bin/python"), base.path().join("./env/bin/python"));
    }

    /// The error about a project without an environment names the command of its tool.
    #[test]
    fn a_missing_environment_is_reported_with_the_command_that_creates_it() {
        let base = tempfile::tempdir().unwrap();
        let python = interpreter(Some("./".into()), base.path()).unwrap().python;
        let hint = || missing_environment(&python).unwrap();
        assert!(hint().contains("python3 -m venv .venv"), "{}", hint());
        for (file, command) in
            [("pyproject.toml", "uv sync"), ("uv.lock", "uv sync"), ("poetry.lock", "poetry install")]
        {
            std::fs::write(base.path().join(file), "").unwrap();
            assert!(hint().contains(command), "{}", hint());
        }
        assert_eq!(missing_environment(Path::new("/usr/bin/python3")), None);
        let venv = interpreter(Some(".venv".into()), base.path()).unwrap().python;
        assert_eq!(venv, base.path().join(".venv/bin/python"));
        assert!(missing_environment(&venv).is_some_and(|hint| hint.contains("poetry install")));
    }

    #[test]
    fn interpreter_paths_are_resolved_and_names_are_not() {
        let python =
            |given: &str| interpreter(Some(given.into()), Path::new("/srv")).ok().map(|interpreter| interpreter.python);
        assert_eq!(python("python3.11"), Some("python3.11".into()));
        assert_eq!(python("env/bin/python"), Some("/srv/env/bin/python".into()));
        assert_eq!(python("./python"), Some("/srv/./python".into()));
        assert_eq!(python("/usr/bin/python3"), Some("/usr/bin/python3".into()));
        assert_eq!(python(""), None);
    }
}
