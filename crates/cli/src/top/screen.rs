//! The terminal while `herder top` runs: raw mode and the alternate screen. Restores both when it is dropped, before the process is
//! stopped, and in a panic.

use ratatui_core::{buffer::Buffer, layout::Rect, terminal::Terminal};
use ratatui_crossterm::{
    CrosstermBackend,
    crossterm::{
        cursor, execute,
        terminal::{EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode},
    },
};
use rustix::process::{Signal, getpid, kill_current_process_group, kill_process};
use std::{
    io::{self, BufWriter, Stdout},
    panic,
};

/// A frame is written at once, so that the terminal does not show parts of it.
const BUFFER: usize = 256 * 1024;

pub(super) struct Screen(Terminal<CrosstermBackend<BufWriter<Stdout>>>);

impl Screen {
    /// Takes the terminal.
    pub(super) fn open() -> io::Result<Self> {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |about| {
            restore();
            before(about);
        }));
        enter()?;
        // From here on, dropping it restores the terminal.
        let screen = Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(BUFFER, io::stdout())));
        screen.map(Self).inspect_err(|_| restore())
    }

    /// Draws a frame. Only what differs from the previous one is written.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        self.0.draw(|frame| draw(frame.buffer_mut())).map(drop)
    }

    /// Draws everything again with the next frame.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        // `Terminal::clear` asks the terminal for the position of the cursor, and the thread that reads keys would take the answer.
        let size = self.0.size()?;
        self.0.resize(Rect::new(0, 0, size.width, size.height))
    }

    /// Gives the terminal back, stops this process (or its group, as Ctrl-Z does), and takes the terminal when it is continued.
    pub(super) fn suspend(&mut self, group: bool) -> io::Result<()> {
        restore();
        // SIGSTOP instead of SIGTSTP, which has a handler here.
        match group {
            true => kill_current_process_group(Signal::STOP)?,
            false => kill_process(getpid(), Signal::STOP)?,
        }
        enter()?;
        self.clear()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn enter() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(io::stdout(), EnterAlternateScreen, cursor::Hide)
}

fn restore() {
    _ = execute!(io::stdout(), LeaveAlternateScreen, cursor::Show);
    _ = disable_raw_mode();
}
