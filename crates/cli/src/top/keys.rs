//! What the keys do. Pure.

use super::model::{Action, Model, Screen};
use ratatui_crossterm::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// The rows of a page.
const PAGE: isize = 10;

/// The keys, for the help.
pub(super) const HELP: [(&str, &str); 13] = [
    ("Left, Right, Tab", "select another pool"),
    ("Up, Down, PgUp, PgDn", "select another worker (also k, j), or scroll"),
    ("Home, End", "the first, the last worker"),
    ("Enter", "the recorder of the selected worker"),
    ("K", "kill the process of the selected worker, after a question"),
    ("c", "the commands of the pool instead of its workers"),
    ("s", "sort: worker, state, since, calls/s, run p99, memory, cpu"),
    ("r", "reverse the order"),
    ("/", "show workers with a text in id, state, health or command"),
    ("p, Space", "pause and continue"),
    ("Esc", "back; clears the filter"),
    ("Ctrl-L", "draw the screen again"),
    ("q, Ctrl-C", "quit"),
];

/// Returns what a key does. `None` if it does nothing.
pub(super) fn action(model: &Model, key: KeyEvent) -> Option<Action> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('z') => Some(Action::Suspend),
            KeyCode::Char('l') => Some(Action::Redraw),
            _ => None,
        };
    }
    if model.to_kill.is_some() {
        Some(answer(key.code))
    } else if model.is_typing {
        typed(key.code)
    } else {
        pressed(model, key.code)
    }
}

/// A key that answers whether to kill a worker: all but `y` mean no.
fn answer(code: KeyCode) -> Action {
    match code {
        KeyCode::Char('y' | 'Y') => Action::Kill,
        _ => Action::KeepWorker,
    }
}

/// A key while the filter is typed.
fn typed(code: KeyCode) -> Option<Action> {
    Some(match code {
        KeyCode::Char(char) => Action::Type(char),
        KeyCode::Backspace => Action::DeleteChar,
        KeyCode::Enter => Action::EndFilter,
        KeyCode::Esc => Action::Back,
        KeyCode::Up => Action::Move(-1),
        KeyCode::Down => Action::Move(1),
        _ => return None,
    })
}

fn pressed(model: &Model, code: KeyCode) -> Option<Action> {
    Some(match code {
        KeyCode::Up | KeyCode::Char('k') => Action::Move(-1),
        KeyCode::Down | KeyCode::Char('j') => Action::Move(1),
        KeyCode::PageUp => Action::Move(-PAGE),
        KeyCode::PageDown => Action::Move(PAGE),
        KeyCode::Home => Action::Move(isize::MIN / 2),
        KeyCode::End => Action::Move(isize::MAX / 2),
        KeyCode::Left | KeyCode::BackTab => Action::Pool(-1),
        KeyCode::Right | KeyCode::Tab => Action::Pool(1),
        KeyCode::Enter if model.screen == Screen::Workers => Action::OpenRecorder,
        KeyCode::Char('K') if model.screen == Screen::Workers => Action::AskKill,
        KeyCode::Char('c') => Action::Commands,
        KeyCode::Char('s') => Action::Sort,
        KeyCode::Char('r') => Action::Reverse,
        KeyCode::Char('/') => Action::StartFilter,
        KeyCode::Char('p' | ' ') => Action::Pause,
        KeyCode::Char('?' | 'h') => Action::Help,
        KeyCode::Esc => Action::Back,
        KeyCode::Char('q') => Action::Quit,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::model::Process;

    #[test]
    fn letters_are_typed_while_the_filter_is_edited() {
        let mut model = Model::default();
        let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
        assert_eq!(action(&model, key(KeyCode::Char('q'))), Some(Action::Quit));
        model.apply(&Action::StartFilter);
        assert_eq!(action(&model, key(KeyCode::Char('q'))), Some(Action::Type('q')));
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(action(&model, interrupt), Some(Action::Quit));
    }

    #[test]
    fn only_y_kills_a_worker() {
        let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
        let mut model = Model::default();
        assert_eq!(action(&model, key(KeyCode::Char('y'))), None);
        assert_eq!(action(&model, key(KeyCode::Char('K'))), Some(Action::AskKill));
        model.to_kill = Some(Process { pool: "a".into(), worker: "w1".into(), generation: 1 });
        for code in
            [KeyCode::Enter, KeyCode::Esc, KeyCode::Up, KeyCode::Char('n'), KeyCode::Char('K'), KeyCode::Char('q')]
        {
            assert_eq!(action(&model, key(code)), Some(Action::KeepWorker), "{code:?}");
        }
        assert_eq!(action(&model, key(KeyCode::Char('y'))), Some(Action::Kill));
    }
}
