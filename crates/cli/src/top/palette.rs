//! The styles of the screen: colors of the terminal's own palette, which fit light and dark ones, or none (`NO_COLOR`).

use ratatui_core::style::{Color, Modifier, Style};

#[derive(Clone, Copy, Debug)]
pub(super) struct Palette {
    pub(super) has_colors: bool,
}

impl Palette {
    pub(super) fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    pub(super) fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    pub(super) fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    pub(super) fn alert(self) -> Style {
        self.colored(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn rate(self) -> Style {
        self.colored(Color::Cyan)
    }

    /// Returns the style of the state of a pool or a worker.
    pub(super) fn state(self, state: &str) -> Style {
        match state {
            "running" | "ready" => self.colored(Color::Green),
            "busy" => self.colored(Color::Cyan),
            "idle" | "starting" | "initializing" | "draining" | "terminating" => self.colored(Color::Yellow),
            "degraded" | "failed" | "stopped" | "terminated" => self.alert(),
            _ => Style::new(),
        }
    }

    fn colored(self, color: Color) -> Style {
        if self.has_colors { Style::new().fg(color) } else { Style::new() }
    }
}
