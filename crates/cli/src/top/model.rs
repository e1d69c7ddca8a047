//! What `herder top` shows: the last snapshot, the history of rates, the events, and what the user has selected. Does no input and
//! no output.

use super::snapshot::{PoolView, Snapshot, WorkerView, one_line};
use std::{
    cmp::Ordering,
    collections::{BTreeMap, VecDeque},
};

/// The rates that are kept for each pool.
const HISTORY: usize = 240;
/// The events that are kept.
const MAX_EVENTS: usize = 200;

/// The rows of the screen that do not belong to a recorder: header and footer.
const OTHER_ROWS: usize = 2;

/// What the main part of the screen shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Screen {
    #[default]
    Workers,
    Commands,
    /// The recorder of a worker: its lines, and the first of them that is shown.
    Recorder {
        lines: Vec<String>,
        top: usize,
    },
    Help,
}

/// The order of the workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    #[default]
    Worker,
    State,
    Running,
    Rate,
    P99,
    Memory,
    Cpu,
}

impl Sort {
    const ALL: [(Self, &'static str); 7] = [
        (Self::Worker, "worker"),
        (Self::State, "state"),
        (Self::Running, "since"),
        (Self::Rate, "calls/s"),
        (Self::P99, "run p99"),
        (Self::Memory, "memory"),
        (Self::Cpu, "cpu"),
    ];

    pub(super) fn name(self) -> &'static str {
        Self::ALL.iter().find(|(each, _)| *each == self).map_or("", |(_, name)| name)
    }

    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|(each, _)| *each == self).unwrap_or(0);
        Self::ALL[(at + 1) % Self::ALL.len()].0
    }

    /// Compares two workers: numbers in descending order, texts and ids in ascending order.
    fn compare(self, a: &WorkerView, b: &WorkerView) -> Ordering {
        let number = |a: Option<f64>, b: Option<f64>| b.unwrap_or(-1.0).total_cmp(&a.unwrap_or(-1.0));
        let since = |worker: &WorkerView| worker.running.as_ref().map(|call| call.since_us);
        match self {
            Self::Worker => Ordering::Equal,
            Self::State => a.state.cmp(&b.state),
            Self::Running => since(b).cmp(&since(a)),
            Self::Rate => number(a.per_second, b.per_second),
            Self::P99 => b.p99_us.cmp(&a.p99_us),
            Self::Memory => b.memory.cmp(&a.memory),
            Self::Cpu => number(a.cpu, b.cpu),
        }
    }
}

/// A process that the user wants to kill.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) pool: String,
    pub(super) worker: String,
    pub(super) generation: u64,
}

/// What a key does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Moves in the list of the screen by this number of rows.
    Move(isize),
    Pool(isize),
    Commands,
    OpenRecorder,
    /// Asks whether to kill the process of the selected worker.
    AskKill,
    Kill,
    KeepWorker,
    Sort,
    Reverse,
    StartFilter,
    Type(char),
    DeleteChar,
    EndFilter,
    /// Leaves a screen, or clears the filter.
    Back,
    Pause,
    Help,
    Suspend,
    Quit,
    Redraw,
}

/// Everything that the screen is drawn from.
#[derive(Clone, Debug, Default)]
pub(super) struct Model {
    /// The URL of the server.
    pub(super) server: String,
    pub(super) snapshot: Option<Snapshot>,
    /// The time of day of the last snapshot, also of one that was not taken.
    pub(super) answered_at: String,
    /// Why the last request failed.
    pub(super) problem: Option<String>,
    pub(super) events: VecDeque<String>,
    /// Why there are no events.
    pub(super) no_events: Option<String>,
    pub(super) screen: Screen,
    pub(super) sort: Sort,
    pub(super) is_reversed: bool,
    pub(super) filter: String,
    pub(super) is_typing: bool,
    pub(super) is_paused: bool,
    /// The process to kill, once the user has confirmed it.
    pub(super) to_kill: Option<Process>,
    /// What has become of a kill. Shown until the next key.
    pub(super) notice: Option<String>,
    /// The height of the screen.
    pub(super) rows: usize,
    rates: BTreeMap<String, VecDeque<f64>>,
    pool: Option<String>,
    worker: Option<String>,
}

impl Model {
    /// Creates the model of a server. `pool` is selected, if it exists.
    pub(super) fn new(server: String, pool: Option<String>) -> Self {
        Self { server, pool, ..Self::default() }
    }

    /// Takes a new snapshot, unless the user has paused the screen.
    pub(super) fn take(&mut self, mut snapshot: Snapshot) {
        self.problem = None;
        if self.is_paused {
            return;
        }
        if let Some(earlier) = &self.snapshot {
            snapshot.add_rates(earlier);
        }
        for pool in &snapshot.pools {
            let rates = self.rates.entry(pool.name.clone()).or_default();
            rates.extend(pool.per_second);
            rates.drain(..rates.len().saturating_sub(HISTORY));
        }
        self.snapshot = Some(snapshot);
    }

    pub(super) fn add_event(&mut self, text: &str) {
        self.events.push_back(one_line(text));
        self.events.drain(..self.events.len().saturating_sub(MAX_EVENTS));
    }

    pub(super) fn show_recorder(&mut self, text: &str) {
        self.screen = Screen::Recorder { lines: text.lines().map(one_line).collect(), top: 0 };
    }

    pub(super) fn pools(&self) -> &[PoolView] {
        self.snapshot.as_ref().map(|snapshot| snapshot.pools.as_slice()).unwrap_or_default()
    }

    /// Returns the position and the view of the selected pool, else of the first one.
    pub(super) fn pool(&self) -> Option<(usize, &PoolView)> {
        let pools = self.pools();
        let at = pools.iter().position(|pool| Some(&pool.name) == self.pool.as_ref()).unwrap_or(0);
        Some((at, pools.get(at)?))
    }

    /// Returns the history of the selected pool's rate, oldest first.
    pub(super) fn rates(&self) -> Vec<f64> {
        let rates = self.pool().and_then(|(_, pool)| self.rates.get(&pool.name));
        rates.map(|rates| rates.iter().copied().collect()).unwrap_or_default()
    }

    /// Returns the workers of the selected pool that match the filter, in order.
    pub(super) fn workers(&self) -> Vec<&WorkerView> {
        let all = self.pool().map(|(_, pool)| pool.workers.as_slice()).unwrap_or_default();
        let mut workers: Vec<&WorkerView> = all.iter().filter(|worker| self.matches(worker)).collect();
        // Stable: workers that are equal stay in the order of the server.
        workers.sort_by(|a, b| self.sort.compare(a, b));
        if self.is_reversed {
            workers.reverse();
        }
        workers
    }

    fn matches(&self, worker: &WorkerView) -> bool {
        let command = worker.running.as_ref().map(|call| call.command.as_str()).unwrap_or_default();
        let texts = [worker.id.as_str(), worker.state.as_str(), worker.health.as_str(), command];
        let filter = self.filter.to_lowercase();
        texts.iter().any(|text| text.to_lowercase().contains(&filter))
    }

    /// Returns the position of the selected worker among `workers`; 0 if it is gone.
    pub(super) fn selected(&self, workers: &[&WorkerView]) -> usize {
        workers.iter().position(|worker| Some(&worker.id) == self.worker.as_ref()).unwrap_or(0)
    }

    /// Returns the pool and the worker whose recorder is to be opened.
    pub(super) fn target(&self) -> Option<(String, String)> {
        let workers = self.workers();
        let worker = workers.get(self.selected(&workers))?;
        Some((self.pool()?.1.name.clone(), worker.id.clone()))
    }

    /// Asks whether to kill the process of the selected worker.
    fn ask_kill(&mut self) {
        let workers = self.workers();
        let Some((worker, (_, pool))) = workers.get(self.selected(&workers)).zip(self.pool()) else { return };
        match worker.pid {
            Some(_) => {
                let (pool, worker, generation) = (pool.name.clone(), worker.id.clone(), worker.generation);
                self.to_kill = Some(Process { pool, worker, generation });
            }
            None => self.notice = Some(format!("worker {} of {} has no process at the moment", worker.id, pool.name)),
        }
    }

    /// Does what a key says, as far as it changes only this.
    pub(super) fn apply(&mut self, action: &Action) {
        match action {
            Action::Move(rows) => self.move_by(*rows),
            Action::Pool(by) => self.select_pool(*by),
            Action::Commands => self.toggle(Screen::Commands),
            Action::Help => self.toggle(Screen::Help),
            Action::Sort => self.sort = self.sort.next(),
            Action::Reverse => self.is_reversed = !self.is_reversed,
            Action::StartFilter => (self.is_typing, self.screen) = (true, Screen::Workers),
            Action::Type(char) => self.filter.push(*char),
            Action::DeleteChar => _ = self.filter.pop(),
            Action::EndFilter => self.is_typing = false,
            Action::Back => self.back(),
            Action::Pause => self.is_paused = !self.is_paused,
            Action::AskKill => self.ask_kill(),
            Action::KeepWorker => self.to_kill = None,
            Action::OpenRecorder | Action::Kill | Action::Suspend | Action::Quit | Action::Redraw => {}
        }
    }

    fn toggle(&mut self, screen: Screen) {
        self.screen = if self.screen == screen { Screen::Workers } else { screen };
    }

    fn back(&mut self) {
        if self.screen == Screen::Workers {
            self.filter.clear();
        }
        self.is_typing = false;
        self.screen = Screen::Workers;
    }

    fn move_by(&mut self, rows: isize) {
        if let Screen::Recorder { lines, top } = &mut self.screen {
            let last = lines.len().saturating_sub(self.rows.saturating_sub(OTHER_ROWS).max(1));
            *top = top.saturating_add_signed(rows).min(last);
            return;
        }
        let workers = self.workers();
        let at = self.selected(&workers).saturating_add_signed(rows).min(workers.len().saturating_sub(1));
        self.worker = workers.get(at).map(|worker| worker.id.clone());
    }

    fn select_pool(&mut self, by: isize) {
        let Some((at, _)) = self.pool() else { return };
        let count = self.pools().len();
        let at = (at + count).saturating_add_signed(by) % count;
        self.pool = self.pools().get(at).map(|pool| pool.name.clone());
        self.worker = None;
        if matches!(self.screen, Screen::Recorder { .. } | Screen::Help) {
            self.screen = Screen::Workers;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> Model {
        let worker = |(id, rate): (&str, f64)| WorkerView {
            id: id.into(),
            state: if id == "w2" { "busy" } else { "ready" }.into(),
            per_second: Some(rate),
            ..WorkerView::default()
        };
        let workers: Vec<_> = [("w1", 1.0), ("w2", 3.0), ("w3", 2.0)].into_iter().map(worker).collect();
        let pool = |name: &str| PoolView { name: name.into(), workers: workers.clone(), ..PoolView::default() };
        let mut model = Model::new("http://h:1".into(), Some("b".into()));
        model.take(Snapshot { pools: vec![pool("a"), pool("b")] });
        model
    }

    fn ids(model: &Model) -> Vec<&str> {
        model.workers().iter().map(|worker| worker.id.as_str()).collect()
    }

    #[test]
    fn workers_are_sorted_and_filtered_and_stay_selected() {
        let mut model = model();
        assert_eq!((model.pool().unwrap().0, ids(&model)), (1, vec!["w1", "w2", "w3"]));
        model.apply(&Action::Move(1));
        assert_eq!(model.target(), Some(("b".into(), "w2".into())));
        while model.sort != Sort::Rate {
            model.apply(&Action::Sort);
        }
        assert_eq!(ids(&model), ["w2", "w3", "w1"]);
        assert_eq!(model.selected(&model.workers()), 0, "the same worker, at another place");
        model.apply(&Action::Reverse);
        assert_eq!(ids(&model), ["w1", "w3", "w2"]);
        model.apply(&Action::Move(-99));
        assert_eq!(model.target(), Some(("b".into(), "w1".into())));
        model.apply(&Action::StartFilter);
        "BUSY".chars().for_each(|char| model.apply(&Action::Type(char)));
        assert_eq!(ids(&model), ["w2"]);
        model.apply(&Action::Back);
        assert_eq!((ids(&model).len(), model.is_typing), (3, false));
        model.apply(&Action::Pool(1));
        assert_eq!(model.pool().unwrap().0, 0, "after the last pool comes the first");
    }

    #[test]
    fn the_process_of_the_question_is_the_one_that_was_selected() {
        let mut model = model();
        let mut snapshot = model.snapshot.clone().unwrap();
        model.apply(&Action::AskKill);
        assert_eq!(
            (model.to_kill.clone(), model.notice.as_deref()),
            (None, Some("worker w1 of b has no process at the moment"))
        );
        let worker = &mut snapshot.pools[1].workers[0];
        (worker.pid, worker.generation) = (Some(7), 3);
        model.take(snapshot.clone());
        model.apply(&Action::AskKill);
        snapshot.pools[1].workers[0].generation = 4;
        model.take(snapshot);
        let asked = Process { pool: "b".into(), worker: "w1".into(), generation: 3 };
        assert_eq!(model.to_kill, Some(asked), "its successor is another process");
        model.apply(&Action::KeepWorker);
        assert_eq!(model.to_kill, None);
    }

    #[test]
    fn a_recorder_is_scrolled_to_its_last_lines() {
        let mut model = Model { rows: 12, ..model() };
        model.show_recorder(&"line\n".repeat(25));
        model.apply(&Action::Move(isize::MAX / 2));
        assert!(matches!(model.screen, Screen::Recorder { top: 15, .. }), "{:?}", model.screen);
        model.apply(&Action::Move(-1));
        assert!(matches!(model.screen, Screen::Recorder { top: 14, .. }));
    }

    #[test]
    fn a_paused_screen_stays() {
        let mut model = model();
        model.apply(&Action::Pause);
        model.take(Snapshot::default());
        assert_eq!(model.pools().len(), 2);
        model.apply(&Action::Pause);
        model.take(Snapshot::default());
        assert_eq!((model.pools().len(), model.target()), (0, None));
        model.apply(&Action::Pool(1));
    }
}
