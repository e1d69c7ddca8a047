//! Draws the screen from the model. Pure: writes into a buffer.

use super::{
    cells::{bytes, count, number, sparkline, time},
    columns::{self, Rows},
    keys::HELP,
    model::{Model, Process, Screen},
    palette::Palette,
    snapshot::PoolView,
    tables::{COMMANDS, POOLS, STATE, WORKERS},
};
use ratatui_core::{buffer::Buffer, layout::Rect, style::Style};

/// From this height on, events are shown.
const HEIGHT_WITH_EVENTS: u16 = 16;
/// The widest sparkline.
const MAX_SPARKLINE: usize = 60;

/// Draws one frame into the area.
pub(super) fn frame(model: &Model, buffer: &mut Buffer, palette: Palette) {
    let mut page = Page { model, palette, rest: buffer.area, buffer };
    page.header();
    page.footer();
    match &model.screen {
        Screen::Help => page.help(),
        Screen::Recorder { lines, top } => page.recorder(lines, *top),
        Screen::Workers | Screen::Commands => page.overview(),
    }
}

/// Returns one frame as text: all pools, all workers and all commands of the selected pool.
pub(super) fn text(model: &Model, width: u16) -> String {
    let pool = model.pool().map(|(_, pool)| pool);
    let rows = model.pools().len() + pool.map_or(0, |pool| pool.workers.len() + pool.commands.len());
    let height = u16::try_from(rows + 10).unwrap_or(u16::MAX);
    let mut buffer = Buffer::empty(Rect::new(0, 0, width, height));
    let mut page = Page { model, palette: Palette { has_colors: false }, rest: buffer.area, buffer: &mut buffer };
    page.header();
    page.pools(model.pools().len());
    if let Some(pool) = pool {
        page.summary(pool);
        page.workers(pool.workers.len());
        if !pool.commands.is_empty() {
            page.line("", Style::new());
            page.commands(pool);
        }
    }
    let lines = (0..height).map(|y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>());
    let lines: Vec<String> = lines.map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n").trim_end().to_owned()
}

/// What is left of a frame that is being drawn.
struct Page<'a> {
    model: &'a Model,
    palette: Palette,
    rest: Rect,
    buffer: &'a mut Buffer,
}

impl Page<'_> {
    /// Takes rows from the top.
    fn take(&mut self, rows: u16) -> Rect {
        let rows = rows.min(self.rest.height);
        let taken = Rect { height: rows, ..self.rest };
        self.rest = Rect { y: self.rest.y + rows, height: self.rest.height - rows, ..self.rest };
        taken
    }

    fn line(&mut self, text: &str, style: Style) {
        let area = self.take(1);
        if area.height > 0 {
            self.buffer.set_stringn(area.x, area.y, text, usize::from(area.width), style);
        }
    }

    fn header(&mut self) {
        let model = self.model;
        let (ready, size) =
            model.pools().iter().fold((0, 0), |(ready, size), pool| (ready + pool.ready, size + pool.size));
        let mut parts = vec![format!("herder {}", env!("CARGO_PKG_VERSION")), model.server.replacen("http://", "", 1)];
        match model.pools().len() {
            0 => {}
            1 => parts.push(format!("1 pool, {ready} of {size} workers ready")),
            pools => parts.push(format!("{pools} pools, {ready} of {size} workers ready")),
        }
        if model.is_paused {
            parts.push("PAUSED".into());
        }
        self.line(&fitting(&parts, self.rest.width), self.palette.title());
        match (&model.problem, &model.snapshot) {
            // The figures below are old: a server that hangs must not look like a quiet one.
            (Some(problem), _) => {
                let text = format!("no figures since {}, trying again: {}", model.answered_at, first_line(problem));
                self.line(&text, self.palette.alert());
            }
            (None, None) => self.line("waiting for the answer of the server", self.palette.dim()),
            (None, Some(_)) => {}
        }
    }

    /// Draws the keys in the last row.
    fn footer(&mut self) {
        let model = self.model;
        let Some(y) = self.rest.bottom().checked_sub(1).filter(|_| self.rest.height > 0) else { return };
        self.rest.height -= 1;
        let mut style = self.palette.dim();
        let text = if let Some(Process { pool, worker, generation }) = &model.to_kill {
            style = self.palette.alert();
            format!("kill worker {worker} (generation {generation}) of {pool}? y/N")
        } else if let Some(notice) = &model.notice {
            style = self.palette.title();
            notice.clone()
        } else if model.is_typing {
            format!("filter: {}_   Enter keeps it, Esc clears it", model.filter)
        } else {
            let order = if model.is_reversed { ", reversed" } else { "" };
            let parts = match model.screen {
                Screen::Workers => vec![
                    "q quit".into(),
                    "? help".into(),
                    "Enter recorder".into(),
                    "c commands".into(),
                    format!("s sort: {}{order}", model.sort.name()),
                    if model.filter.is_empty() { "/ filter".into() } else { format!("/ filter: {}", model.filter) },
                    "Tab pool".into(),
                    "K kill".into(),
                    "p pause".into(),
                ],
                Screen::Commands => {
                    vec!["q quit".into(), "? help".into(), "c workers".into(), "Tab pool".into(), "p pause".into()]
                }
                Screen::Recorder { .. } | Screen::Help => {
                    vec!["q quit".into(), "Esc back".into(), "Up/Down scroll".into()]
                }
            };
            fitting(&parts, self.rest.width)
        };
        self.buffer.set_stringn(self.rest.x, y, text, usize::from(self.rest.width), style);
    }

    fn help(&mut self) {
        self.line("", Style::new());
        for (keys, meaning) in HELP {
            self.line(&format!("{keys:<21} {meaning}"), Style::new());
        }
        self.line("", Style::new());
        for text in [
            "RUNS, SINCE    the call that runs longest in a worker, and for how long",
            "RUN, QUEUE     how long calls ran and waited since the start of their pool",
            "waiting, wait  calls in the queue, and the estimated wait of a new one",
            "CPU, MEMORY    cores in use; resident memory",
            "-              the server does not have it: a basic pool, or no `worker_metrics`",
        ] {
            self.line(text, self.palette.dim());
        }
    }

    fn recorder(&mut self, lines: &[String], top: usize) {
        for line in lines.iter().skip(top) {
            self.line(line, Style::new());
        }
    }

    fn overview(&mut self) {
        let height = self.buffer.area.height;
        self.pools(usize::from(height / 4).max(1));
        let Some((_, pool)) = self.model.pool() else { return };
        self.summary(pool);
        let least = match height {
            ..HEIGHT_WITH_EVENTS => 0,
            HEIGHT_WITH_EVENTS..30 => 4,
            _ => height / 6,
        };
        // Events get what the table does not need, but for an empty line.
        let rows = match self.model.screen {
            Screen::Commands => pool.commands.len(),
            _ => self.model.workers().len().max(1),
        };
        let needed = u16::try_from(rows + 2).unwrap_or(u16::MAX);
        let most = self.rest.height.saturating_sub(least);
        let main = if least == 0 { most } else { most.min(needed) };
        let below = Rect { y: self.rest.y + main, height: self.rest.height - main, ..self.rest };
        self.rest.height = main;
        match self.model.screen {
            Screen::Commands => self.commands(pool),
            _ => self.workers(usize::MAX),
        }
        self.rest = below;
        self.events();
    }

    fn pools(&mut self, most: usize) {
        let pools: Vec<&PoolView> = self.model.pools().iter().collect();
        if pools.is_empty() {
            return;
        }
        let rows = pools.len().min(most);
        let area = self.take(u16::try_from(rows + 1).unwrap_or(u16::MAX));
        let rows = Rows { rows: &pools, selected: self.model.pool().map(|(at, _)| at), state: STATE };
        columns::draw(self.buffer, area, &POOLS, &rows, self.palette);
    }

    /// Draws what the pool does as a whole, and its problems.
    fn summary(&mut self, pool: &PoolView) {
        let width = usize::from(self.rest.width);
        let head = format!("── {} ", pool.name);
        let rate = format!(" {} calls/s ", number(pool.per_second));
        let used = head.chars().count() + rate.chars().count();
        let bars = sparkline(&self.model.rates(), width.saturating_sub(used + 3).min(MAX_SPARKLINE).min(width / 2));
        let rule = width.saturating_sub(used + bars.chars().count());
        let y = self.rest.y;
        self.line(&format!("{head}{}{rate}{bars}", "─".repeat(rule)), self.palette.title());
        let bars_at = self.rest.x + u16::try_from(width.saturating_sub(bars.chars().count())).unwrap_or(0);
        let bars_area = Rect::new(bars_at, y, self.rest.right().saturating_sub(bars_at), 1);
        self.buffer.set_style(bars_area.intersection(self.buffer.area), self.palette.rate());
        let mut parts = vec![format!("waiting {} of {}", count(pool.waiting), count(pool.limit))];
        parts.push(format!("ok {}", count(pool.ok)));
        parts.push(format!("failed {}", count(pool.failed)));
        parts.push(format!("lost {}", count(pool.lost)));
        parts.extend((pool.timed_out > 0).then(|| format!("timed out {}", count(pool.timed_out))));
        parts.extend((pool.refused > 0).then(|| format!("refused {}", count(pool.refused))));
        parts.extend(pool.wait_us.filter(|wait| *wait > 0).map(|wait| format!("wait {}", time(Some(wait)))));
        let longest = pool.longest.as_ref();
        parts.extend(longest.map(|call| format!("longest {} {}", call.command, time(Some(call.since_us)))));
        parts.extend(pool.memory.map(|memory| format!("memory {}", bytes(Some(memory)))));
        self.line(&fitting(&parts, self.rest.width), Style::new());
        let mut problems = Vec::new();
        problems.extend(pool.breaker.as_ref().map(|state| format!("breaker {state}")));
        problems.extend((pool.quarantined > 0).then(|| format!("{} quarantined", pool.quarantined)));
        problems.extend(pool.start_error.as_ref().map(|error| format!("failed start: {}", first_line(error))));
        if !problems.is_empty() {
            self.line(&problems.join("  "), self.palette.alert());
        }
    }

    fn workers(&mut self, most: usize) {
        let workers = self.model.workers();
        let rows = u16::try_from(workers.len().min(most) + 1).unwrap_or(u16::MAX);
        let area = self.take(rows);
        let selected = self.model.selected(&workers);
        let rows = Rows { rows: &workers, selected: Some(selected), state: STATE };
        columns::draw(self.buffer, area, &WORKERS, &rows, self.palette);
        if workers.is_empty() {
            let text = if self.model.filter.is_empty() { "no workers" } else { "no worker matches the filter" };
            self.line(text, self.palette.dim());
        }
    }

    fn commands(&mut self, pool: &PoolView) {
        let commands: Vec<_> = pool.commands.iter().collect();
        if commands.is_empty() {
            return self.line("the server sends no figures of commands", self.palette.dim());
        }
        let area = self.take(u16::try_from(commands.len() + 1).unwrap_or(u16::MAX));
        let rows = Rows { rows: &commands, selected: None, state: "" };
        columns::draw(self.buffer, area, &COMMANDS, &rows, self.palette);
    }

    /// Draws the last events that fit, the newest last.
    fn events(&mut self) {
        if self.rest.height < 2 {
            return;
        }
        let width = usize::from(self.rest.width);
        let head = "── events ";
        self.line(&format!("{head}{}", "─".repeat(width.saturating_sub(head.chars().count()))), self.palette.title());
        let model = self.model;
        if let Some(reason) = &model.no_events {
            return self.line(&format!("none: {reason}"), self.palette.dim());
        }
        let fitting = usize::from(self.rest.height);
        for event in model.events.iter().skip(model.events.len().saturating_sub(fitting)) {
            self.line(event, Style::new());
        }
    }
}

/// Joins as many parts as fit into a line.
fn fitting(parts: &[String], width: u16) -> String {
    let mut line = String::new();
    for part in parts {
        let gap = if line.is_empty() { "" } else { "  " };
        if !line.is_empty() && line.chars().count() + gap.len() + part.chars().count() > usize::from(width) {
            break;
        }
        line = line + gap + part;
    }
    line
}

fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
