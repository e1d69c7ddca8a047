//! `herder top`: a live view of a server on a terminal. `sources` sends what is new, `model` holds what is shown, `draw` draws it.

mod cells;
mod columns;
mod draw;
mod events;
mod keys;
mod model;
mod palette;
mod screen;
mod snapshot;
mod sources;
mod tables;
#[cfg(test)]
mod tests;

use crate::{
    args::Top,
    client::Client,
    console::{Style, is_dumb},
    error::{CommandError, EndSignal, Outcome},
    table,
    watch::time_of_day,
};
use model::{Action, Model};
use palette::Palette;
use ratatui_crossterm::crossterm::event::KeyEvent;
use screen::Screen;
use snapshot::Snapshot;
use sources::{Signals, Update};
use std::{
    io::{self, IsTerminal},
    sync::mpsc::{self, Sender},
};

/// The width of a frame of `--once` that is not printed to a terminal.
const WIDTH: u16 = 120;

/// Shows the server until the user quits.
pub(crate) fn run(options: &Top) -> Outcome {
    let client = Client::of(&options.server)?;
    let has_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    if !options.once && !has_terminal {
        return Err(CommandError::usage("`herder top` needs a terminal; `herder top --once` prints one frame as text"));
    }
    if !options.once && is_dumb() {
        return Err(CommandError::usage(
            "`herder top` needs a terminal that obeys escape sequences, and TERM is `dumb` or not set; `herder top --once` \
             prints one frame as text",
        ));
    }
    let mut model = Model::new(client.base().to_owned(), options.pool.clone());
    // A server that does not answer, or has no such pool, is an error before anything is drawn.
    model.take(Snapshot::ask(&client)?);
    model.answered_at = time_of_day();
    check_pool(&client, &model, options)?;
    if options.once {
        let width = table::terminal_size().map_or(WIDTH, |(columns, _)| columns);
        table::print_line(&draw::text(&model, width));
        return Ok(());
    }
    match show(&client, options, model)? {
        None | Some(EndSignal::Interrupt) => Ok(()),
        Some(signal) => Err(CommandError::Interrupted(signal)),
    }
}

fn check_pool(client: &Client, model: &Model, options: &Top) -> Outcome {
    let names: Vec<&str> = model.pools().iter().map(|pool| pool.name.as_str()).collect();
    match &options.pool {
        Some(pool) if !names.contains(&pool.as_str()) => Err(CommandError::failed(format_args!(
            "unknown pool `{pool}`; the server at {} has {}",
            client.base(),
            names.join(", ")
        ))),
        _ => Ok(()),
    }
}

/// Draws a frame for each update. Returns the signal that stopped it, if there was one.
fn show(client: &Client, options: &Top, mut model: Model) -> Outcome<Option<EndSignal>> {
    let (sender, updates) = mpsc::channel();
    let palette = Palette { has_colors: Style::of_stdout().has_colors };
    let signals = Signals::register().map_err(CommandError::failed)?;
    let mut screen = Screen::open().map_err(CommandError::failed)?;
    sources::start(client, options.interval, signals, &sender)?;
    loop {
        let drawn = screen.draw(|buffer| {
            model.rows = usize::from(buffer.area.height);
            draw::frame(&model, buffer, palette);
        });
        drawn.map_err(CommandError::failed)?;
        // The sender is here, so there is always another update.
        let Ok(first) = updates.recv() else { return Ok(None) };
        // Everything that waits is taken before the next frame: held keys would otherwise wait for slow terminals.
        for update in std::iter::once(first).chain(updates.try_iter()) {
            match take(update, &mut model, &mut screen, client, &sender)? {
                Next::Continue => {}
                Next::End(signal) => return Ok(signal),
            }
        }
    }
}

enum Next {
    Continue,
    End(Option<EndSignal>),
}

fn take(
    update: Update,
    model: &mut Model,
    screen: &mut Screen,
    client: &Client,
    updates: &Sender<Update>,
) -> Outcome<Next> {
    match update {
        Update::Snapshot(snapshot) => {
            model.take(snapshot);
            model.answered_at = time_of_day();
        }
        Update::Problem(problem) => model.problem = Some(problem),
        Update::Connected => model.no_events = None,
        Update::Event(text) => model.add_event(&text),
        Update::NoEvents(reason) => model.no_events = Some(reason),
        Update::Recorder(text) => model.show_recorder(&text),
        Update::Killed(text) => model.notice = Some(text),
        Update::Resized => {}
        Update::Stop(signal) => return Ok(Next::End(Some(signal))),
        Update::Suspend => screen.suspend(false).map_err(CommandError::failed)?,
        Update::Key(key) => return pressed(key, model, screen, client, updates),
    }
    Ok(Next::Continue)
}

fn pressed(
    key: KeyEvent,
    model: &mut Model,
    screen: &mut Screen,
    client: &Client,
    updates: &Sender<Update>,
) -> Outcome<Next> {
    let Some(action) = keys::action(model, key) else { return Ok(Next::Continue) };
    if action != Action::Redraw {
        model.notice = None;
    }
    match action {
        Action::Quit => return Ok(Next::End(None)),
        Action::Suspend => screen.suspend(true).map_err(CommandError::failed)?,
        Action::Redraw => screen.clear().map_err(CommandError::failed)?,
        Action::OpenRecorder => open_recorder(model, client, updates)?,
        Action::Kill => kill(model, client, updates)?,
        action => model.apply(&action),
    }
    Ok(Next::Continue)
}

fn kill(model: &mut Model, client: &Client, updates: &Sender<Update>) -> Outcome {
    let Some(process) = model.to_kill.take() else { return Ok(()) };
    model.notice = Some(format!("killing worker {} of {}", process.worker, process.pool));
    sources::kill_process(client, process, updates)
}

fn open_recorder(model: &Model, client: &Client, updates: &Sender<Update>) -> Outcome {
    match model.target() {
        Some((pool, worker)) => sources::ask_recorder(client, pool, worker, updates),
        None => Ok(()),
    }
}
