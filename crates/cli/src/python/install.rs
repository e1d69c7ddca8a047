//! `herder python install`: writes the package of this program into a virtual environment, with the metadata by which pip lists
//! and uninstalls it. Changes no files of packages that something else has installed.

use super::interpreter::{Interpreter, without_tokens};
use crate::{
    error::{CommandError, Outcome},
    table,
};
use std::{
    env,
    ffi::OsStr,
    fs, io,
    path::{Component, Path, PathBuf},
    process::{Command, Stdio},
};

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The content of `INSTALLER` in the metadata: pip writes `pip`, uv writes `uv`.
const INSTALLER: &str = "herder";

/// Installs the package.
pub(crate) fn run(venv: Option<&Path>) -> Outcome {
    let venv = environment(venv)?;
    let python = venv.join("bin/python");
    let mut command = Command::new(&python);
    without_tokens(&mut command);
    let interpreter = Interpreter::ask(command).map_err(CommandError::failed)?;
    if let Some(reason) = interpreter.too_old() {
        return Err(CommandError::failed(reason));
    }
    // The packages of a system's interpreter belong to its package manager.
    if interpreter.environment.is_none() {
        return Err(CommandError::failed(format_args!(
            "{} is not the interpreter of a virtual environment: name one with --venv",
            python.display()
        )));
    }
    let folder = interpreter.packages.as_deref();
    let folder =
        folder.ok_or_else(|| CommandError::failed(format_args!("{} has no folder of packages", python.display())))?;
    let files = write(folder, &python)?;
    compile(&python, &folder.join("herder"));
    table::print_line(&format!("installed herder {VERSION} ({files} files) into {}", folder.display()));
    // An environment of uv has no pip.
    let uninstall = match interpreter.environment.as_deref() {
        Some("uv environment") => format!("uv pip uninstall --python {} herder", python.display()),
        _ => format!("{} -m pip uninstall herder", python.display()),
    };
    table::print_line(&format!("to remove it: {uninstall}"));
    Ok(())
}

/// Returns the environment: the given one, else `$VIRTUAL_ENV` if it is set, else `.venv`.
///
/// # Errors
/// Fails if it has no interpreter.
fn environment(given: Option<&Path>) -> Outcome<PathBuf> {
    let active = || env::var_os("VIRTUAL_ENV").filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let folder = given.map(Path::to_path_buf).or_else(active).unwrap_or_else(|| ".venv".into());
    if folder.join("bin/python").exists() {
        return Ok(folder);
    }
    Err(CommandError::failed(format_args!(
        "`{0}` is not a virtual environment: it has no bin/python; create it with `python3 -m venv {0}`, or name another one \
         with --venv",
        folder.display()
    )))
}

/// Writes the package, after it has removed an earlier one that this command has written. Returns the number of files.
fn write(folder: &Path, python: &Path) -> Outcome<usize> {
    let failed = |path: &Path, error: io::Error| CommandError::failed(format_args!("{}: {error}", path.display()));
    remove_earlier(folder, python)?;
    let metadata = format!("herder-{VERSION}.dist-info");
    let package = herder::PYTHON_PACKAGE.iter().map(|(name, text)| (format!("herder/{name}"), (*text).to_owned()));
    let mut files: Vec<(String, String)> = package.collect();
    files.push((format!("{metadata}/METADATA"), metadata_text()));
    files.push((format!("{metadata}/INSTALLER"), format!("{INSTALLER}\n")));
    files.push((format!("{metadata}/WHEEL"), WHEEL.into()));
    // The hashes and sizes may be empty. The list names itself, so that it is removed with the others.
    let record: String = files.iter().map(|(name, _)| format!("{name},,\n")).collect();
    // First the two files that say what is installed and by whom: if a later file cannot be written, the next installation
    // removes what is there.
    files.sort_by_key(|(name, _)| !name.ends_with("/INSTALLER"));
    files.insert(0, (format!("{metadata}/RECORD"), format!("{metadata}/RECORD,,\n{record}")));
    for (name, text) in &files {
        let path = folder.join(name);
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(|error| failed(parent, error))?;
        fs::write(&path, text).map_err(|error| failed(&path, error))?;
    }
    Ok(files.len())
}

/// Compiles the package, as pip does: workers do not use a package without bytecode. If that fails, they say so when they start, and
/// use the package of this program.
fn compile(python: &Path, package: &Path) {
    let mut command = Command::new(python);
    without_tokens(&mut command).args(["-I", "-m", "compileall", "-q"]).arg(package);
    _ = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
}

const WHEEL: &str = "Wheel-Version: 1.0\nGenerator: herder\nRoot-Is-Purelib: true\nTag: py3-none-any\n";

fn metadata_text() -> String {
    format!(
        "Metadata-Version: 2.1\nName: herder\nVersion: {VERSION}\nSummary: Write workers for Herder: functions that a service \
         calls, in processes that keep each session's state\nLicense: MIT OR Apache-2.0\nRequires-Python: >=3.10\n"
    )
}

/// Removes a package that this command has written. Fails if something else has installed `herder`.
fn remove_earlier(folder: &Path, python: &Path) -> Outcome {
    let earlier = installed(folder);
    refuse_links(folder, &earlier)?;
    let foreign = earlier.iter().find(|metadata| installer(metadata) != INSTALLER);
    if let Some(metadata) = foreign {
        let by = Some(installer(metadata)).filter(|name| !name.is_empty());
        return Err(CommandError::failed(format_args!(
            "herder is already installed in {} by {}: run `{} -m pip uninstall herder` first, or keep that installation",
            folder.display(),
            by.as_deref().unwrap_or("an unknown program"),
            python.display()
        )));
    }
    let unlisted = ["herder", "herder.py"].map(|name| folder.join(name)).into_iter().find(|path| path.exists());
    if let (Some(path), true) = (unlisted, earlier.is_empty()) {
        return Err(CommandError::failed(format_args!(
            "{} exists and was not installed by this command: remove it first",
            path.display()
        )));
    }
    earlier.iter().try_for_each(|metadata| remove(folder, metadata))
}

/// Fails if the package or its metadata is a symbolic link: files would be removed and written where it leads, which may be
/// somebody's sources.
fn refuse_links(folder: &Path, earlier: &[PathBuf]) -> Outcome {
    let paths = ["herder", "herder.py"].map(|name| folder.join(name)).into_iter().chain(earlier.iter().cloned());
    let is_link = |path: &PathBuf| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    match paths.into_iter().find(is_link) {
        None => Ok(()),
        Some(path) => Err(CommandError::failed(format_args!("{} is a symbolic link: remove it first", path.display()))),
    }
}

/// Returns the metadata folders of all installed versions of `herder`.
fn installed(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_ours = |path: &PathBuf| {
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        name.strip_suffix(".dist-info").is_some_and(|name| name.starts_with("herder-"))
    };
    entries.filter(is_ours).collect()
}

fn installer(metadata: &Path) -> String {
    fs::read_to_string(metadata.join("INSTALLER")).unwrap_or_default().trim().to_owned()
}

/// Removes the files that the record lists, and the folders that are empty then.
fn remove(folder: &Path, metadata: &Path) -> Outcome {
    let failed = |path: &Path, error: io::Error| CommandError::failed(format_args!("{}: {error}", path.display()));
    let record = metadata.join("RECORD");
    let text = fs::read_to_string(&record).map_err(|error| failed(&record, error))?;
    let names = text.lines().filter_map(|line| line.split(',').next());
    // A path out of the folder is not ours, whatever the record says.
    let names = names.filter(|name| Path::new(name).components().all(|part| matches!(part, Component::Normal(_))));
    for path in names.map(|name| folder.join(name)) {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(&path, error)),
            _ => {}
        }
    }
    let package = folder.join("herder");
    _ = fs::remove_dir_all(package.join("__pycache__")); // bytecode of the removed files
    for path in [metadata, &package] {
        _ = fs::remove_dir(path); // stays if it contains other files
    }
    Ok(())
}
