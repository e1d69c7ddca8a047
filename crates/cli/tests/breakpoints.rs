//! `breakpoint()` in `herder dev` at a terminal, which is a pseudoterminal here.

use crate::{
    dev::Dev,
    support::{
        Reply, folder, herder, post,
        terminal::{open_terminal, record},
        through, wait_until,
    },
};
use herder::testing::Signal;
use rustix::termios::{LocalModes, SpecialCodeIndex, tcgetattr};
use serde_json::json;
use std::{
    fs::{self, File},
    io::Write,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread::{self, JoinHandle},
};

const APP: &str = "import os
import herder
app = herder.App()

@app.command
def price() -> int:
    amount = 3
    breakpoint()
    amount += 0
    return amount

@app.command
def pid() -> int:
    return os.getpid()
";

/// Limits that would end the call, and then its worker.
const CONFIG: &str = "[pools.app]
app = 'app.py:app'
timeout = '100ms'
queue.timeout = '50ms'
cancel.interrupt = '10ms'
cancel.kill = '20ms'
";

/// `herder dev` with a terminal.
struct Session {
    dev: Dev,
    keyboard: File,
    screen: Arc<Mutex<String>>,
}

impl Session {
    fn start(change: impl FnOnce(&mut Command)) -> Self {
        let folder = folder(CONFIG);
        fs::write(folder.path().join("app.py"), APP).unwrap();
        let (keyboard, terminal) = open_terminal();
        let screen = Arc::<Mutex<String>>::default();
        record(keyboard.try_clone().unwrap(), Arc::clone(&screen));
        // `setsid` makes its standard input the controlling terminal of a new session, and becomes the program.
        let mut command = through("setsid", &["--ctty"], &herder(folder.path(), &["dev"]));
        command.env("TMPDIR", folder.path()).env("TERM", "dumb").env_remove("PYTHONBREAKPOINT").stdin(terminal);
        change(&mut command);
        let session = Self { dev: Dev::spawn(folder, command), keyboard, screen };
        session.dev.until("ready app in");
        session
    }

    fn call(&self, command: &str) -> JoinHandle<Reply> {
        let (request, address) = (post(&format!("/v1/pools/app/call/{command}"), "{}"), self.dev.address);
        thread::spawn(move || request.send(address))
    }

    /// Makes a call that stops at the breakpoint.
    fn stopped_call(&self) -> JoinHandle<Reply> {
        self.screen.lock().unwrap().clear();
        let call = self.call("price");
        wait_until("a prompt in the handler", || {
            let screen = self.screen.lock().unwrap();
            screen.split_once("app.py(").is_some_and(|(_, rest)| rest.contains("(Pdb) "))
        });
        call
    }

    fn press(&mut self, keys: &str) {
        self.keyboard.write_all(keys.as_bytes()).unwrap();
    }

    fn until(&self, text: &str) {
        wait_until(text, || self.screen.lock().unwrap().contains(text));
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the screen\n{}", self.screen.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

#[test]
fn breakpoint_gets_the_terminal_and_gives_it_back() {
    let mut session = Session::start(|_| ());
    let modes = tcgetattr(&session.keyboard).unwrap();
    let call = session.stopped_call();
    session.press("p amount * 100\n");
    session.until("300");
    // Ctrl-C is for the debugger: the host would stop.
    session.press("\x03");
    session.until("KeyboardInterrupt");
    // Another call waits. Its own deadline is longer than all limits of the pool, which do not apply.
    let waiting = post("/v1/pools/app/call/pid", "{}").header("Herder-Timeout", "300ms").send(session.dev.address);
    waiting.problem(504, "deadline-exceeded");
    session.press("n\np 20 * 20\n");
    session.until("400");
    session.press("amount = 50\nc\n");
    assert_eq!(call.join().unwrap().result(), &json!(50));
    // The host reads the terminal again.
    session.press("r\n");
    session.dev.until("reloading: by hand");
    session.dev.until("reloaded app in");

    // A newer save does not end the call that a person looks at.
    let call = session.stopped_call();
    let app = session.dev.folder.path().join("app.py");
    fs::write(&app, format!("{APP}# 1\n")).unwrap();
    session.dev.until_times("reloaded app in", 2);
    fs::write(&app, format!("{APP}# 2\n")).unwrap();
    session.dev.until("leave the debugger with `c` or `q`");
    session.press("c\n");
    assert_eq!(call.join().unwrap().result(), &json!(3));
    session.dev.until_times("reloaded app in", 3);

    let call = session.stopped_call();
    session.press("q\n");
    let problem = call.join().unwrap();
    assert!(problem.problem(500, "exception")["detail"].to_string().contains("BdbQuit"), "{problem:?}");

    let pid = session.call("pid").join().unwrap().result().as_u64().unwrap();
    let call = session.stopped_call();
    herder::testing::signal(u32::try_from(pid).unwrap(), Signal::KILL).unwrap();
    call.join().unwrap().problem(502, "worker-lost");
    session.press("r\n");
    session.dev.until_times("reloading: by hand", 2);
    let after = tcgetattr(&session.keyboard).unwrap();
    assert!(after.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO));
    assert_eq!(after.local_modes, modes.local_modes);
    assert_eq!(after.special_codes[SpecialCodeIndex::VSUSP], modes.special_codes[SpecialCodeIndex::VSUSP]);
    session.press("\x03");
    session.dev.until_ended();
    let mut left = fs::read_dir(session.dev.folder.path()).unwrap();
    assert!(left.all(|entry| !entry.unwrap().file_name().to_string_lossy().starts_with("herder-dev-")));
}

/// A temporary folder whose path is too long for a socket, and no home folder. The Python package is then in the temporary folder,
/// which is watched here: what the program writes is no save.
#[test]
fn a_long_temporary_folder_costs_neither_breakpoints_nor_reloads() {
    let session = Session::start(|command| {
        let long = command.get_current_dir().unwrap().join("long-".repeat(30));
        fs::create_dir(&long).unwrap();
        command.env("TMPDIR", long).env_remove("HOME").env_remove("XDG_CACHE_HOME");
    });
    let call = session.stopped_call();
    let mut keyboard = &session.keyboard;
    keyboard.write_all(b"c\n").unwrap();
    assert_eq!(call.join().unwrap().result(), &json!(3));
    fs::write(session.dev.folder.path().join("app.py"), format!("{APP}# 1\n")).unwrap();
    session.dev.until("reloaded app in");
    let log = session.dev.log();
    assert_eq!(log.matches("reloading: ").count(), 1, "{log}");
    assert!(log.contains("reloading: app.py changed"), "{log}");
}
