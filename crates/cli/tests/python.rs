//! `herder python install`, and what `herder check` says about interpreters.

use crate::support::{Server, folder, herder};
use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

/// Runs `herder` in a folder. Returns the exit code, standard output and standard error.
fn run(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = herder(folder, args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Runs the interpreter of `.venv`, which must succeed. Returns its output.
fn python(folder: &Path, args: &[&str]) -> String {
    let output = Command::new(folder.join(".venv/bin/python")).current_dir("/").args(args).output().unwrap();
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Creates the virtual environment `.venv`.
fn create_venv(folder: &Path) -> PathBuf {
    let output = Command::new("python3").args(["-m", "venv", "--without-pip", ".venv"]).current_dir(folder).output();
    assert!(output.unwrap().status.success());
    PathBuf::from(python(folder, &["-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]).trim())
}

fn write_script(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o755)).unwrap();
}

const DISTRIBUTION: &str = "from importlib.metadata import distribution
found = distribution('herder')
print(found.version, all(found.locate_file(file).exists() for file in found.files), len(found.files))";

/// R74: Python's metadata has the package, with all its files. A second installation replaces the first.
#[test]
fn r74_the_package_is_installed_with_its_metadata() {
    let folder = folder("");
    let packages = create_venv(folder.path());
    for _ in 0..2 {
        let (code, out, err) = run(folder.path(), &["python", "install"]);
        assert_eq!((code, err.as_str()), (0, ""));
        assert!(out.contains(packages.to_str().unwrap()) && out.contains("pip uninstall herder"), "{out}");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(python(folder.path(), &["-c", "import herder; print(herder.__version__)"]).trim(), version);
        let found = python(folder.path(), &["-c", DISTRIBUTION]);
        assert!(found.starts_with(&format!("{version} True ")), "{found}");
        assert!(packages.join("herder/__pycache__").exists(), "workers use no package without bytecode");
        fs::write(packages.join("herder/removed_in_the_next_version.py"), "").unwrap();
    }
    assert!(packages.join("herder/removed_in_the_next_version.py").exists(), "a file that is not ours stays");
}

/// R74: pip knows the package. Skipped if this machine has no pip.
#[test]
fn r74_pip_lists_and_uninstalls_what_herder_has_installed() {
    let folder = folder("");
    let packages = create_venv(folder.path());
    assert_eq!(run(folder.path(), &["python", "install", "--venv", ".venv"]).0, 0);
    let pip = |args: &[&str]| {
        let venv = folder.path().join(".venv");
        let mut command = Command::new("python3");
        command.args(["-m", "pip", "--python", venv.to_str().unwrap(), "--disable-pip-version-check"]);
        command.args(args).output().unwrap()
    };
    let listed = pip(&["list"]);
    if !listed.status.success() {
        println!("NOTHING WAS PROVED: there is no pip");
        return;
    }
    assert!(String::from_utf8_lossy(&listed.stdout).contains(concat!("herder  ", env!("CARGO_PKG_VERSION"))));
    let removed = pip(&["uninstall", "--yes", "herder"]);
    assert!(removed.status.success(), "{removed:?}");
    assert_eq!(fs::read_dir(&packages).unwrap().count(), 0, "nothing is left in {packages:?}");
}

/// A package that something else has installed is not changed.
#[test]
fn a_foreign_package_is_not_overwritten() {
    let folder = folder("");
    let packages = create_venv(folder.path());
    let refused = |expected: &str| {
        let (code, out, err) = run(folder.path(), &["python", "install"]);
        assert_eq!((code, out.as_str()), (1, ""), "{err}");
        assert!(err.contains(expected), "{err}");
    };
    fs::create_dir(packages.join("herder")).unwrap();
    fs::write(packages.join("herder/__init__.py"), "mine = 1\n").unwrap();
    refused("was not installed by this command");
    let metadata = packages.join("herder-9.9.dist-info");
    fs::create_dir(&metadata).unwrap();
    fs::write(metadata.join("INSTALLER"), "pip\n").unwrap();
    refused("by pip: run");
    assert_eq!(fs::read_to_string(packages.join("herder/__init__.py")).unwrap(), "mine = 1\n");
    let (code, _, err) = run(folder.path(), &["python", "install", "--venv", "none"]);
    assert!(code == 1 && err.contains("python3 -m venv none"), "{err}");
}

/// A link leads to somebody's sources, also in place of a package that this command has installed.
#[test]
fn a_package_that_is_a_symbolic_link_stays() {
    let folder = folder("");
    let packages = create_venv(folder.path());
    assert_eq!(run(folder.path(), &["python", "install"]).0, 0);
    let sources = folder.path().join("sources");
    fs::rename(packages.join("herder"), &sources).unwrap();
    fs::write(sources.join("app.py"), "mine = 1\n").unwrap();
    symlink(&sources, packages.join("herder")).unwrap();
    let (code, _, err) = run(folder.path(), &["python", "install"]);
    assert!(code == 1 && err.contains("is a symbolic link"), "{err}");
    assert_eq!(fs::read_to_string(sources.join("app.py")).unwrap(), "mine = 1\n");
}

/// R74: the packages of a system's interpreter belong to its package manager.
#[test]
fn a_package_is_installed_in_environments_only() {
    let folder = folder("");
    fs::create_dir_all(folder.path().join("system/bin")).unwrap();
    let answer = r#"{"version": [3, 12, 1], "executable": "p", "prefix": "p", "packages": "/nowhere", "environment": null,
        "installed": null}"#;
    write_script(folder.path(), "system/bin/python", &format!("#!/bin/sh\necho '{}'\n", answer.replace('\n', "")));
    let (code, _, err) = run(folder.path(), &["python", "install", "--venv", "system"]);
    assert!(code == 1 && err.contains("is not the interpreter of a virtual environment"), "{err}");
}

/// The server's token is for its clients: interpreters run the code of their environments, and uv that of packages.
#[test]
fn the_token_does_not_reach_programs_of_a_command() {
    let folder = folder(&format!("{POOL}python = './python'\n"));
    write_script(folder.path(), "python", "#!/bin/sh\nenv >> seen\nexec python3 \"$@\"\n");
    write_script(folder.path(), "uv", "#!/bin/sh\nenv >> seen\nexit 1\n");
    fs::write(folder.path().join("script.py"), "# /// script\n# dependencies = []\n# ///\n").unwrap();
    create_venv(folder.path());
    fs::remove_file(folder.path().join(".venv/bin/python")).unwrap();
    write_script(folder.path(), ".venv/bin/python", "#!/bin/sh\nenv >> seen\nexit 1\n");
    let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
    for args in [&["check"][..], &["serve", "script.py:app"], &["python", "install"]] {
        let mut command = herder(folder.path(), args);
        command.env("PATH", &path).env("HERDER_TOKEN", "a-secret-of-24-characters").output().unwrap();
        let seen = fs::read_to_string(folder.path().join("seen")).unwrap();
        assert!(seen.contains("PATH=") && !seen.contains("a-secret-of"), "{args:?}: {seen}");
        fs::remove_file(folder.path().join("seen")).unwrap();
    }
}

/// A record that names files outside of the folder of packages removes none of them.
#[test]
fn a_record_with_other_files_removes_none_of_them() {
    let folder = folder("");
    let packages = create_venv(folder.path());
    assert_eq!(run(folder.path(), &["python", "install"]).0, 0);
    let record = packages.join(concat!("herder-", env!("CARGO_PKG_VERSION"), ".dist-info/RECORD"));
    let outside = folder.path().join("app.py");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, format!("{},,\n../../../../app.py,,\n{text}", outside.display())).unwrap();
    assert_eq!(run(folder.path(), &["python", "install"]).0, 0);
    assert!(outside.exists());
}

const POOL: &str = "[pools.one]\napp = 'app.py:app'\npool_size = 1\n";

/// R64: a Python that is too old is refused by `check`, in one sentence.
#[test]
fn r64_check_refuses_a_python_that_is_too_old() {
    let folder = folder(&format!("{POOL}python = './python'\n"));
    let old = "import sys\nscript = sys.argv[2]\nsys.version_info = (3, 9, 18)\nexec(script)\n";
    fs::write(folder.path().join("old.py"), old).unwrap();
    write_script(folder.path(), "python", "#!/bin/sh\nexec python3 old.py \"$@\"\n");
    let (code, out, err) = run(folder.path(), &["check"]);
    assert_eq!((code, err.as_str()), (2, "error: 1 problem in herder.toml\n"), "{out}");
    assert!(out.starts_with("herder.toml: pools.one.python: "), "{out}");
    assert!(out.ends_with("is Python 3.9.18; Herder needs Python 3.10 or later\n"), "{out}");
    write_script(folder.path(), "python", "#!/bin/sh\necho no; exit 3\n");
    let (code, out, _) = run(folder.path(), &["check"]);
    assert!(code == 0 && out.contains("one: unknown version of Python: "), "{out}");
}

/// R74: `python` may be the folder of a project or of an environment, and `check` names its kind.
#[test]
fn r74_check_names_the_environment_of_a_project() {
    let folder = folder(&format!("{POOL}python = './project'\n"));
    let project = folder.path().join("project");
    fs::create_dir(&project).unwrap();
    let (code, out, _) = run(folder.path(), &["check"]);
    assert!(code == 2 && out.contains("has no environment: run `python3 -m venv .venv` there"), "{out}");
    create_venv(&project);
    let line = || {
        let (code, out, err) = run(folder.path(), &["check"]);
        assert_eq!((code, err.as_str()), (0, ""), "{out}");
        out.lines().next().unwrap().to_owned()
    };
    assert!(line().contains(", virtual environment "), "{}", line());
    fs::write(project.join("poetry.lock"), "").unwrap();
    assert!(line().contains(", Poetry environment "), "{}", line());
    let config = project.join(".venv/pyvenv.cfg");
    fs::write(&config, fs::read_to_string(&config).unwrap() + "uv = 0.9.1\n").unwrap();
    assert!(line().contains(", uv environment "), "{}", line());
    fs::create_dir(project.join(".venv/conda-meta")).unwrap();
    assert!(line().contains(", conda environment "), "{}", line());
    assert_eq!(run(&project, &["python", "install"]).0, 0);
    assert!(
        line().contains("herder 0.") && line().contains(", which is identical to that of this program"),
        "{}",
        line()
    );
    fs::remove_dir_all(project.join(".venv/conda-meta")).unwrap();
    symlink(".venv", project.join("linked")).unwrap();
    fs::write(folder.path().join("herder.toml"), format!("{POOL}python = './project/linked'\n")).unwrap();
    assert!(line().contains("project/linked"), "{}", line());
}

/// An app with inline dependencies runs in the environment that uv creates for its file.
#[test]
fn an_app_with_inline_dependencies_runs_in_the_environment_of_uv() {
    const APP: &str = "# /// script\n# dependencies = ['six']\n# ///\nimport os\nimport herder\napp = herder.App()\n
@app.command
def environment(): return os.environ.get('SCRIPT_ENVIRONMENT')
";
    let serve = |uv: &str| {
        let folder = folder("");
        fs::write(folder.path().join("script.py"), APP).unwrap();
        write_script(folder.path(), "uv", uv);
        write_script(folder.path(), "python", "#!/bin/sh\nSCRIPT_ENVIRONMENT=yes exec python3 \"$@\"\n");
        let path = format!("{}:{}", folder.path().display(), std::env::var("PATH").unwrap());
        (folder, path)
    };
    let (place, path) =
        serve("#!/bin/sh\necho \"$@\" >> uv.log\n[ \"$1\" = python ] && echo \"$PWD/python\"\nexit 0\n");
    let server = Server::start(place, &["script.py:app", "--pool-size", "1"], &[("PATH", &path)]);
    assert_eq!(server.call("script/environment", "{}", &[]).result(), "yes");
    let log = fs::read_to_string(server.file("uv.log")).unwrap();
    assert_eq!(log, "sync --quiet --script script.py\npython find --script script.py\n");
    let (place, path) = serve("#!/bin/sh\necho no such package >&2\nexit 1\n");
    let output = herder(place.path(), &["serve", "script.py:app"]).env("PATH", path).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(1) && err.contains("no such package") && err.contains("uv sync --script"),
        "{err}"
    );
}

/// `check` asks an interpreter in the environment of the first worker.
#[test]
fn an_interpreter_is_asked_in_the_environment_of_a_worker() {
    let folder = folder(&format!("{POOL}python = './python'\nenv_mode = 'clean'\nenv = {{ GPU = 'gpu{{slot}}' }}\n"));
    write_script(folder.path(), "python", "#!/bin/sh\nenv > seen\nexec python3 \"$@\"\n");
    let output = herder(folder.path(), &["check"]).env("OF_THE_HOST", "1").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let seen = fs::read_to_string(folder.path().join("seen")).unwrap();
    assert!(seen.contains("GPU=gpu0\n") && seen.contains("HERDER_SLOT=0\n"), "{seen}");
    assert!(seen.contains("PATH=") && !seen.contains("OF_THE_HOST"), "{seen}");
}
