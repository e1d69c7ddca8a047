//! The environment of workers, and unusual environments of the host. The table is in `docs/semantics.md`.

use crate::support::{Server, folder, herder, through, wait_until};
use serde_json::{Value, json};
use std::{
    fs,
    os::unix::fs::{chown, symlink},
    path::{Path, PathBuf},
    process::Command,
};
use tempfile::TempDir;

const APP: &str = r#"
import locale, os, sys
import herder
app = herder.App()

@app.command
def environment(names: list):
    return {name: os.environ.get(name) for name in names}

@app.command
def package():
    return os.path.dirname(herder.__file__)

@app.command
def interpreter():
    return sys.prefix

@app.command
def text(text: str, file: str):
    print(text)
    with open(file, "w") as written:
        written.write(text)
    return [text, written.encoding.lower(), sys.getfilesystemencoding(), sys.stdout.encoding.lower()]
"#;

const POOL: &str = "[pools.one]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n";

const THREADS: [&str; 5] =
    ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"];

fn place(config: &str) -> TempDir {
    let folder = folder(config);
    fs::write(folder.path().join("app.py"), APP).unwrap();
    folder
}

/// Starts a server, and waits until its pools are ready.
fn serve(folder: TempDir, change: impl FnOnce(&mut Command)) -> Server {
    let server = Server::in_environment(folder, change);
    server.until_ready();
    server
}

fn environment(server: &Server, pool: &str, names: &[&str], headers: &[(&str, &str)]) -> Value {
    server.call(&format!("{pool}/environment"), &json!({ "names": names }).to_string(), headers).result().clone()
}

/// The server's token is not in the environment of workers, unless a pool is given one explicitly. The host's other
/// variables are no secrets, and are inherited.
#[test]
fn the_hosts_token_does_not_reach_workers() {
    let given = POOL.replace("one", "given");
    let config = format!("{POOL}{given}env = {{ HERDER_TOKEN = 'mine' }}\n");
    let folder = place(&config);
    fs::write(folder.path().join("call.token"), "the-call\n").unwrap();
    let server = serve(folder, |command| {
        let tokens =
            [("HERDER_TOKEN", "s3cret"), ("HERDER_CALL_TOKEN_FILE", "call.token"), ("HERDER_METRICS_TOKEN", "numb3rs")];
        command.envs(tokens).env("HERDER_LOG", "info").env("HERDER_URL", "http://h:1");
    });
    let shown = [("Authorization", "Bearer s3cret")];
    let names = ["HERDER_TOKEN", "HERDER_CALL_TOKEN_FILE", "HERDER_METRICS_TOKEN", "HERDER_LOG", "HERDER_URL"];
    let expected = |token: Value| json!({ "HERDER_TOKEN": token, "HERDER_CALL_TOKEN_FILE": null, "HERDER_METRICS_TOKEN": null, "HERDER_LOG": "info", "HERDER_URL": "http://h:1" });
    assert_eq!(environment(&server, "one", &names, &shown), expected(Value::Null));
    assert_eq!(environment(&server, "given", &names, &shown), expected("mine".into()));
}

/// A command that is started in a folder that was removed, such as one that a new checkout has replaced.
#[test]
fn a_current_folder_that_was_removed_is_reported() {
    let folder = folder("");
    fs::create_dir(folder.path().join("gone")).unwrap();
    let check = herder(&folder.path().join("gone"), &["check", "app.py:app"]);
    let output = through("sh", &["-c", "rmdir ../gone; exec \"$0\" \"$@\""], &check).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && error.contains("change to one first"), "{error}");
}

/// A host that another host's worker has started may have variables of that worker. They mean nothing to its own workers.
#[test]
fn the_variables_of_another_host_do_not_reach_workers() {
    let names = ["HERDER_TEMPLATE", "HERDER_FRESH_SOURCES", "HERDER_TERMINAL"];
    let server = serve(place(POOL), |command| _ = command.envs(names.map(|name| (name, "1"))));
    let unset = names.map(|name| (name.to_owned(), Value::Null)).into_iter().collect();
    assert_eq!(environment(&server, "one", &names, &[]), Value::Object(unset));
}

/// A thread count that is set in the host's environment is kept for the workers of each pool that inherits it. A clean
/// environment does not contain it.
#[test]
fn thread_counts_of_the_hosts_environment_stay() {
    let clean = POOL.replace("one", "clean");
    let config = format!("{POOL}numeric_threads = 2\n{clean}numeric_threads = 2\nenv_mode = 'clean'\n");
    let server = serve(place(&config), |command| {
        THREADS.iter().for_each(|name| _ = command.env_remove(name));
        command.env("MKL_NUM_THREADS", "7").env("NUMEXPR_NUM_THREADS", "");
    });
    let counts = |[omp, openblas, mkl, numexpr, veclib]: [&str; 5]| {
        json!({ "OMP_NUM_THREADS": omp, "OPENBLAS_NUM_THREADS": openblas, "MKL_NUM_THREADS": mkl,
            "NUMEXPR_NUM_THREADS": numexpr, "VECLIB_MAXIMUM_THREADS": veclib })
    };
    assert_eq!(environment(&server, "one", &THREADS, &[]), counts(["2", "2", "7", "", "2"]));
    assert_eq!(environment(&server, "clean", &THREADS, &[]), counts(["2"; 5]));
}

/// If the home directory is unusable, workers start all the same: the package is written to a temporary directory, and
/// the log contains the reason. Workers see the unchanged HOME.
#[test]
fn workers_start_without_a_home_folder() {
    let homes = tempfile::tempdir().unwrap();
    let theirs = homes.path().join("theirs");
    fs::create_dir(&theirs).unwrap();
    // Only root can give a directory away. If this test cannot, it uses a directory of root.
    let other = rustix::process::getuid().as_raw() + 1;
    let theirs = if chown(&theirs, Some(other), None).is_ok() { theirs } else { PathBuf::from("/root") };
    let theirs = theirs.to_str().unwrap();
    for (home, why) in [
        (None, None),
        (Some(""), None),
        (Some("relative/home"), None),
        (Some("/nonexistent"), Some("cannot use HOME")),
        (Some("/proc"), Some("cannot use HOME")),
        (Some(theirs), Some("cannot use HOME")),
    ] {
        let folder = place(POOL);
        let temporary = folder.path().join("tmp");
        fs::create_dir(&temporary).unwrap();
        let server = serve(folder, |command| {
            command.env_remove("XDG_CACHE_HOME").env("TMPDIR", &temporary).env_remove("HOME");
            home.map(|home| command.env("HOME", home));
        });
        assert_eq!(environment(&server, "one", &["HOME"], &[]), json!({ "HOME": home }), "{home:?}");
        let package = server.call("one/package", "{}", &[]).result().as_str().unwrap().to_owned();
        assert!(package.starts_with(temporary.canonicalize().unwrap().to_str().unwrap()), "{home:?}: {package}");
        assert_eq!(server.log().matches("is written to a temporary folder").count(), why.iter().len(), "{home:?}");
        assert!(why.is_none_or(|why| server.log().contains(why)), "{home:?}");
    }
}

/// If the interpreter of a virtual environment does not exist, the next candidate is used, and a warning names both. An
/// environment with an interpreter is used without a log line.
#[test]
fn a_stale_virtual_environment_is_reported() {
    let envs = tempfile::tempdir().unwrap();
    let (missing, empty, valid) = (envs.path().join("missing"), envs.path().join("empty"), envs.path().join("valid"));
    fs::create_dir(&empty).unwrap();
    virtual_env(&valid);
    let nothing = |_: &Path| ();
    let base = prefix(None, &nothing, &[]);
    for stale in [&missing, &empty] {
        assert_eq!(prefix(Some(stale), &nothing, &[stale]), base, "{stale:?}");
    }
    let beside = prefix(Some(&missing), &virtual_env, &[&missing]);
    assert!(beside.ends_with(".venv"), "{beside}");
    let dangling = |venv: &Path| {
        fs::create_dir_all(venv.join("bin")).unwrap();
        symlink(envs.path().join("no-python"), venv.join("bin/python")).unwrap();
    };
    assert_eq!(prefix(None, &dangling, &[Path::new(".venv")]), base);
    assert_eq!(prefix(Some(&valid), &dangling, &[]), valid.to_str().unwrap());
}

/// Starts a server with this `VIRTUAL_ENV`, and with `.venv` created by `beside`. Returns the prefix of its worker's
/// interpreter. The log has one warning for each of `stale`, and no other.
fn prefix(variable: Option<&Path>, beside: &dyn Fn(&Path), stale: &[&Path]) -> String {
    let folder = place(POOL);
    beside(&folder.path().join(".venv"));
    let server = serve(folder, |command| _ = variable.map(|variable| command.env("VIRTUAL_ENV", variable)));
    let prefix = server.call("one/interpreter", "{}", &[]).result().as_str().unwrap().to_owned();
    let log = server.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("WARN") && line.contains("bin/python")).collect();
    assert_eq!(warnings.len(), stale.len(), "{log}");
    for (warning, stale) in warnings.iter().zip(stale) {
        assert!(warning.contains(stale.to_str().unwrap()) && warning.contains("pool=one"), "{warning}");
    }
    prefix
}

/// R74: a worker imports the package that is installed for its interpreter if it equals the host's; otherwise the host's. The
/// log says so once per pool.
#[test]
fn r74_an_installed_package_is_used_only_if_it_equals_the_hosts() {
    let used = |change: &dyn Fn(&Path), level: &str, reason: &str| {
        let folder = place(&POOL.replace("pool_size = 1", "pool_size = 2"));
        let site_packages = install_package(&folder.path().join(".venv"));
        change(&site_packages.join("herder"));
        let server = serve(folder, |command| {
            _ = command.env_remove("PYTHONDONTWRITEBYTECODE").env_remove("PYTHONPYCACHEPREFIX");
        });
        let log = server.log();
        let lines: Vec<_> = log.lines().filter(|line| line.contains("the installed Python package")).collect();
        let [line] = lines[..] else { panic!("not one line: {log}") };
        assert!(
            line.contains(level) && line.contains(reason) && line.contains(site_packages.to_str().unwrap()),
            "{line}"
        );
        let imported = PathBuf::from(server.call("one/package", "{}", &[]).result().as_str().unwrap());
        imported.starts_with(&site_packages)
    };
    assert!(used(&|_| (), "INFO", "pool=one"));
    let replace = |file: PathBuf, old: &str, new: &str| {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(old));
        fs::write(file, text.replace(old, new)).unwrap();
    };
    let other_version =
        |package: &Path| replace(package.join("__init__.py"), "__version__ = \"", "__version__ = \"0.0.");
    assert!(!used(&other_version, "WARN", "it has version 0.0."));
    let changed = |package: &Path| replace(package.join("codec.py"), "import", "import sys\nimport");
    assert!(!used(&changed, "WARN", "its codec.py differs"));
}

/// Creates a virtual environment in which the package is installed. Returns its folder of packages.
fn install_package(venv: &Path) -> PathBuf {
    virtual_env(venv);
    let script = "import sysconfig; print(sysconfig.get_path('purelib'))";
    let found = Command::new(venv.join("bin/python")).args(["-c", script]).output().unwrap();
    assert!(found.status.success(), "{found:?}"); // an empty path would be the source tree
    let site_packages = PathBuf::from(String::from_utf8(found.stdout).unwrap().trim());
    let package = site_packages.join("herder");
    fs::create_dir_all(&package).unwrap();
    for file in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../python/src/herder")).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), package.join(file.file_name())).unwrap();
        }
    }
    site_packages
}

/// Creates the minimum that Python accepts as a virtual environment.
fn virtual_env(folder: &Path) {
    let found = Command::new("python3").args(["-c", "import sys; print(sys.executable)"]).output().unwrap();
    let python = PathBuf::from(String::from_utf8(found.stdout).unwrap().trim());
    fs::create_dir_all(folder.join("bin")).unwrap();
    symlink(&python, folder.join("bin/python")).unwrap();
    let home = python.parent().unwrap().display();
    fs::write(folder.join("pyvenv.cfg"), format!("home = {home}\n")).unwrap();
}

/// In the C locale, which services have by default, the text of workers is UTF-8: output, file names and files.
#[test]
fn text_is_utf_8_in_the_locale_of_c() {
    const LOCALE: [&str; 5] = ["LANG", "LC_ALL", "LC_CTYPE", "PYTHONUTF8", "PYTHONCOERCECLOCALE"];
    for set in [vec![], vec![("LANG", "C")], vec![("LC_ALL", "POSIX")], vec![("LANG", ""), ("LC_ALL", "C")]] {
        let server = serve(place(POOL), |command| {
            [&LOCALE[..], &["PYTHONIOENCODING"]].concat().iter().for_each(|name| _ = command.env_remove(name));
            command.envs(set.iter().copied());
        });
        let file = server.file("žluť ☕.txt");
        let body = json!({ "text": "žluť ☕", "file": file }).to_string();
        let texts = server.call("one/text", &body, &[]).result().clone();
        assert_eq!(texts, json!(["žluť ☕", "utf-8", "utf-8", "utf-8"]), "{set:?}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "žluť ☕", "{set:?}");
        wait_until("the text is logged unchanged", || server.log().contains("žluť ☕"));
    }
}
