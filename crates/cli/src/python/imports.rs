//! How long an interpreter takes to import an app, and which packages take how much of it (`python -X importtime`). Starts the
//! interpreter with a copy of the package in a temporary folder.

use super::probe::finish;
use std::{
    collections::BTreeMap,
    env, fs, io,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};
use tempfile::TempDir;

/// Imports the app of its argument, prints the time, and exits at once: threads that the app has started may run on, and functions
/// for the exit may print more. The line on standard error separates the app's imports from earlier ones.
const SCRIPT: &str = r#"
import os, sys, time
from herder.load import load
print("herder: the app", file=sys.stderr, flush=True)
began = time.perf_counter()
load(sys.argv[1])
print("\n%d" % (1000000 * (time.perf_counter() - began)), flush=True)
os._exit(0)
"#;
const SEPARATOR: &str = "herder: the app";
/// The bytes that are read of the list of imports.
const MAX_OUTPUT: usize = 4 << 20;

/// The time of an import.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Imports {
    /// All of it.
    pub(crate) total: Duration,
    /// The time of the modules of each package, without that of other packages that they import; the slowest first.
    pub(crate) packages: Vec<(String, Duration)>,
}

impl Imports {
    /// Imports the app with this interpreter, in at most `limit`.
    ///
    /// # Errors
    /// Fails if the interpreter cannot be started, does not import the app in time, or prints something else.
    pub(crate) fn measure(command: Command, app: &str, limit: Duration) -> Result<Self, String> {
        let package = package().map_err(|error| format!("cannot write the package to a temporary folder: {error}"))?;
        let child = spawn(command, app, package.path()).map_err(|error| error.to_string())?;
        let (output, errors, status) =
            finish(child, limit, MAX_OUTPUT).ok_or_else(|| format!("not imported within {} s", limit.as_secs()))?;
        let micros = output.lines().last().and_then(|line| line.parse().ok());
        let total = micros.map(Duration::from_micros).ok_or_else(|| format!("{status}: {}", last_line(&errors)))?;
        Ok(Self { total, packages: packages(&errors) })
    }
}

fn package() -> io::Result<TempDir> {
    let folder = tempfile::tempdir()?;
    for (name, text) in herder::PYTHON_PACKAGE {
        let path = folder.path().join("herder").join(name);
        fs::create_dir_all(path.parent().unwrap_or(folder.path()))?;
        fs::write(path, text)?;
    }
    Ok(folder)
}

#[expect(clippy::disallowed_methods, reason = "`finish` waits for the child; it needs no death signal")]
fn spawn(mut command: Command, app: &str, package: &Path) -> io::Result<std::process::Child> {
    let earlier = command.get_envs().find(|(key, _)| *key == "PYTHONPATH").and_then(|(_, value)| value);
    let earlier = earlier.map(ToOwned::to_owned).or_else(|| env::var_os("PYTHONPATH")).unwrap_or_default();
    let path = [package.to_path_buf()]
        .into_iter()
        .chain(env::split_paths(&earlier).filter(|path| !path.as_os_str().is_empty()));
    command.env("PYTHONPATH", env::join_paths(path).unwrap_or_else(|_| package.into()));
    command.args(["-X", "importtime", "-c", SCRIPT, app]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
}

fn last_line(text: &str) -> &str {
    text.lines().rfind(|line| !line.starts_with("import time:")).unwrap_or("it printed nothing")
}

/// Adds up the time of each package in the lines after the separator, such as `import time:  123 |  456 |   torch.nn`.
fn packages(lines: &str) -> Vec<(String, Duration)> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for line in lines.lines().skip_while(|line| !line.contains(SEPARATOR)).skip(1) {
        let Some(fields) = line.strip_prefix("import time:") else { continue };
        let [own, _, name] = fields.split('|').collect::<Vec<_>>()[..] else { continue };
        let Ok(own) = own.trim().parse::<u64>() else { continue };
        let package = name.trim().split('.').next().unwrap_or_default();
        *sums.entry(package).or_default() += own;
    }
    let mut packages: Vec<_> =
        sums.into_iter().map(|(name, sum)| (name.to_owned(), Duration::from_micros(sum))).collect();
    packages.sort_by_key(|(_, time)| std::cmp::Reverse(*time));
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_modules_of_a_package_are_added_up() {
        let lines = "import time:       900 |        900 | site\nherder: the app\nimport time: self [us] | cumulative | imported package\n\
                     import time:       100 |        100 |     torch.nn\nimport time:       250 |        350 |   torch\n\
                     a warning\nimport time:        30 |        380 | shop\n";
        let micros = |(name, time): (String, Duration)| (name, time.as_micros());
        let expected = [("torch".to_owned(), 350), ("shop".to_owned(), 30)];
        assert_eq!(packages(lines).into_iter().map(micros).collect::<Vec<_>>(), expected);
    }
}
