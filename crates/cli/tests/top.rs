//! `herder top` and `herder status --watch` with a real server; `top` also on a pseudoterminal.

use crate::support::{Server, herder};
use herder::testing::Signal;
use std::{
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::Stdio,
};

const POOL: &str = "[pools.shop]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n";

#[test]
fn one_frame_is_printed_as_text() {
    let server = Server::with(POOL);
    server.call("shop/echo", "{}", &[]);
    let (code, frame, err) = server.run(&["top", "--once"]);
    assert_eq!((code, err.as_str()), (0, ""), "{frame}");
    assert!(frame.contains("1 pool, 1 of 1 workers ready\nPOOL "), "{frame}");
    assert!(frame.contains("\nshop ") && frame.contains("\nw1 ") && !frame.contains('\u{1b}'), "{frame}");
    let (code, _, err) = server.run(&["top", "--once", "shoe"]);
    assert_eq!((code, err), (1, format!("error: unknown pool `shoe`; the server at {} has shop\n", server.url())));
    let (code, _, err) = server.run(&["top"]);
    assert!(code == 2 && err.contains("`herder top --once`"), "{err}");
}

/// Each output has the time; Ctrl-C ends it.
#[test]
#[expect(clippy::disallowed_methods, reason = "the child is herder itself, and is waited for")]
fn status_is_printed_again_and_again() {
    let server = Server::with(POOL);
    let mut command = herder(server.folder.path(), &["status", "--watch=100ms", "--url", &server.url()]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let heads = lines.filter(|line| line.ends_with("every 100ms, Ctrl-C stops")).take(3).count();
    herder::testing::signal(child.id(), Signal::INT).unwrap();
    assert_eq!((heads, child.wait().unwrap().signal()), (3, Some(2)));
}

#[cfg(target_os = "linux")]
mod on_a_terminal {
    use super::*;
    use crate::support::{
        terminal::{open_terminal, record},
        wait_until,
    };
    use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
    use std::{
        fs::File,
        io::Write,
        os::fd::OwnedFd,
        process::Child,
        sync::{Arc, Mutex},
    };

    /// `herder top` with a terminal.
    struct Top {
        child: Child,
        keyboard: File,
        screen: Arc<Mutex<String>>,
        /// Keeps the terminal open, and what it shows readable, after the program has ended.
        _terminal: OwnedFd,
    }

    impl Top {
        fn start(server: &Server) -> Self {
            Self::start_on(server, "xterm")
        }

        #[expect(clippy::disallowed_methods, reason = "the child is herder itself, and is waited for")]
        fn start_on(server: &Server, term: &str) -> Self {
            let (keyboard, terminal) = open_terminal();
            let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
            tcsetwinsize(&keyboard, size).unwrap();
            let screen = Arc::<Mutex<String>>::default();
            record(keyboard.try_clone().unwrap(), Arc::clone(&screen));
            let mut command = herder(server.folder.path(), &["top", "--interval", "100ms", "--url", &server.url()]);
            command
                .stdin(terminal.try_clone().unwrap())
                .stdout(terminal.try_clone().unwrap())
                .stderr(Stdio::null())
                .env("TERM", term);
            Self { child: command.spawn().unwrap(), keyboard, screen, _terminal: terminal }
        }

        fn press(&mut self, keys: &str) {
            self.screen.lock().unwrap().clear();
            self.keyboard.write_all(keys.as_bytes()).unwrap();
        }

        fn until(&self, text: &str) {
            wait_until(text, || self.screen.lock().unwrap().contains(text));
        }

        /// Waits for a word. Only what has changed is drawn, which may be a part of the word, so it is drawn again (Ctrl-L).
        fn until_drawn(&mut self, word: &str) {
            wait_until(word, || {
                self.keyboard.write_all(b"\x0c").unwrap();
                self.screen.lock().unwrap().contains(word)
            });
        }
    }

    impl Drop for Top {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("--- the screen\n{:?}", self.screen.lock());
            }
            _ = self.child.kill();
            _ = self.child.wait();
        }
    }

    #[test]
    fn keys_change_the_screen_and_the_terminal_is_restored() {
        let server = Server::with(POOL);
        let mut top = Top::start(&server);
        top.until("\u{1b}[?1049h");
        top.until_drawn("WORKER");
        server.call("shop/die", "{}", &[]);
        top.until_drawn("status"); // an event: exit status 3
        let raw = tcgetattr(&top.keyboard).unwrap();
        top.press("?");
        top.until_drawn("PgDn");
        top.press("?");
        top.until_drawn("WORKER");
        top.press("\r");
        top.until_drawn("DIRECTION");
        top.press("??"); // not Esc: with the next key, it could be taken for one with Alt
        top.until_drawn("WORKER");
        let pid = || server.call("shop/pid", "{}", &[]).result().clone();
        let before = pid();
        top.until_drawn(&before.to_string()); // the row of the worker has its process
        top.press("K");
        top.until_drawn("of shop? y/N");
        top.press("n");
        top.until_drawn("Enter recorder");
        assert_eq!(pid(), before, "the answer was no");
        top.press("Ky");
        top.until_drawn("killed worker w1 (generation 2) of shop");
        assert_ne!(pid(), before);
        top.press("q");
        assert_eq!(top.child.wait().unwrap().code(), Some(0));
        top.until("\u{1b}[?1049l");
        let after = tcgetattr(&top.keyboard).unwrap();
        assert_ne!(after.local_modes, raw.local_modes);

        for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::QUIT, 131)] {
            let mut top = Top::start(&server);
            top.until_drawn("WORKER");
            herder::testing::signal(top.child.id(), signal).unwrap();
            assert_eq!(top.child.wait().unwrap().code(), Some(code));
            top.until("\u{1b}[?1049l");
            assert_eq!(tcgetattr(&top.keyboard).unwrap().local_modes, after.local_modes);
        }
    }

    #[test]
    fn a_terminal_without_escape_sequences_gets_none() {
        let server = Server::with(POOL);
        for term in ["dumb", ""] {
            let mut top = Top::start_on(&server, term);
            assert_eq!(top.child.wait().unwrap().code(), Some(2));
            assert_eq!(*top.screen.lock().unwrap(), "");
        }
    }

    /// A server that hangs, here because it is stopped, is shown as such; when it goes on, its figures are new again.
    #[test]
    fn a_server_that_hangs_is_shown_with_the_time_of_the_last_figures() {
        let server = Server::with(POOL);
        let mut top = Top::start(&server);
        top.until_drawn("WORKER");
        herder::testing::signal(server.pid(), Signal::STOP).unwrap();
        top.until_drawn("no figures since ");
        herder::testing::signal(server.pid(), Signal::CONT).unwrap();
        server.call("shop/die", "{}", &[]);
        let next = server.call("shop/pid", "{}", &[]).result().to_string();
        top.until_drawn(&next);
    }
}
