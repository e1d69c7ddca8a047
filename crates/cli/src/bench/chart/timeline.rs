//! `timeline-N.svg`: a track for each call slot, with a bar for each call, idle time in grey, and the number of waiting
//! calls.

use super::super::{
    plan::Plan,
    row::Row,
    spread::{percent, time, workers},
};
use super::axis::{Scale, tick};
use super::page::{Anchor, Page, Swatch, coordinate, rectangle, titled_mark};
use super::tracks::{Track, tracks, waiting};
use herder::efficiency::{EfficiencyReport, WorkerStart, concurrency::Operation};
use std::time::Duration;

const WIDTH: f64 = 1000.0;
const LEFT: f64 = 84.0;
const RIGHT: f64 = WIDTH - 88.0;
/// The top of the first track.
const TOP: f64 = 146.0;
/// The top and the bottom of the graph of waiting calls.
const WAITING: (f64, f64) = (96.0, 134.0);
const BELOW: f64 = 48.0;
/// The height of a track, including the space to the next one. Few tracks are higher than many.
const TRACK_HEIGHT: f64 = 26.0;
const LOW_TRACK_HEIGHT: f64 = 17.0;
const FEW: usize = 16;
/// The largest number of tracks that fit on a page.
const MAX_TRACKS: usize = 96;
/// The largest number of bars on a page and on one track; more bars could not be distinguished.
const MAX_BARS: usize = 2000;
const MAX_BARS_PER_TRACK: usize = 80;
/// The smallest visible width of a bar.
const MIN_BAR_WIDTH: f64 = 1.5;

/// Returns the chart of a row's middle run.
pub(in super::super) fn timeline(plan: &Plan, row: &Row) -> String {
    let run = row.middle();
    let title = format!("{}: {}, {} callers", plan.call(), workers(row.workers), row.callers);
    Timeline::of(run, plan.start).draw(&title)
}

struct Timeline<'a> {
    run: &'a EfficiencyReport,
    tracks: Vec<Track<'a>>,
    call_slot: f64,
    /// The start and the end of the run.
    begun: u64,
    ended: u64,
    /// The part of the run that is drawn.
    window: (u64, u64),
}

impl<'a> Timeline<'a> {
    fn of(run: &'a EfficiencyReport, start: WorkerStart) -> Self {
        let (begun, ended) = (run.window.started, run.window.ended);
        let tracks = tracks(run.workers, run.concurrency, &run.operations);
        let call_slot = if tracks.len() <= FEW { TRACK_HEIGHT } else { LOW_TRACK_HEIGHT };
        let window = window((begun, ended), run.operations.len(), tracks.len(), start);
        Self { run, tracks, call_slot, begun, ended, window }
    }

    fn draw(&self, title: &str) -> String {
        let shown = self.tracks.len().min(MAX_TRACKS);
        let bottom = TOP + shown as f64 * self.call_slot;
        let second = self.subtitle();
        let mut page = Page::new(WIDTH, bottom + BELOW, title, &second, &self.described());
        legend(&mut page);
        self.axis(&mut page, bottom);
        self.waiting(&mut page);
        for (index, track) in self.tracks.iter().take(MAX_TRACKS).enumerate() {
            self.call_slot(&mut page, TOP + index as f64 * self.call_slot, track);
        }
        page.done()
    }

    /// Returns the subtitle, which says which part of the run is drawn.
    fn subtitle(&self) -> String {
        let all = self.run.operations.len();
        let seen = self
            .tracks
            .iter()
            .take(MAX_TRACKS)
            .flat_map(|track| &track.calls)
            .filter(|call| self.is_seen(call))
            .count();
        let length = time(Duration::from_nanos(self.ended - self.begun));
        let call_slots = match self.tracks.len() {
            call_slots if call_slots > MAX_TRACKS => format!("; the first {MAX_TRACKS} of {call_slots} call slots"),
            _ => String::new(),
        };
        let efficiency = percent(self.run.account.efficiency);
        if self.window == (self.begun, self.ended) {
            return format!("all {all} calls in {length}, {efficiency} efficient{call_slots}");
        }
        let (shown, from) = (self.window.1 - self.window.0, self.window.0 - self.begun);
        let [shown, from] = [shown, from].map(|nanos| time(Duration::from_nanos(nanos)));
        format!(
            "{shown} starting at {from} of a run of {length}: {seen} of {all} calls; the run is {efficiency} efficient{call_slots}"
        )
    }

    fn described(&self) -> String {
        let call_slots = self
            .tracks
            .iter()
            .take(MAX_TRACKS)
            .map(|track| format!("{} {} busy", name(track), percent(self.busy(track))));
        format!("Utilization of each call slot: {}", call_slots.collect::<Vec<_>>().join(", "))
    }

    fn x(&self) -> Scale {
        Scale { from: self.millis(self.window.0), to: self.millis(self.window.1), at: (LEFT, RIGHT) }
    }

    fn at(&self, moment: u64) -> f64 {
        self.x().position(self.millis(moment))
    }

    /// Returns the milliseconds since the start of the run.
    fn millis(&self, moment: u64) -> f64 {
        moment.saturating_sub(self.begun) as f64 / 1e6
    }

    fn is_seen(&self, call: &Operation) -> bool {
        call.ended.0 > self.window.0 && call.started.0 < self.window.1
            || call.started == call.ended && self.holds(call.ended.0)
    }

    fn holds(&self, moment: u64) -> bool {
        (self.window.0..=self.window.1).contains(&moment)
    }

    /// Returns the share of the drawn time in which a call ran on this track.
    fn busy(&self, track: &Track<'_>) -> f64 {
        let (from, to) = self.window;
        let ran = |call: &&Operation| call.ended.0.min(to).saturating_sub(call.started.0.max(from));
        track.calls.iter().map(ran).sum::<u64>() as f64 / (to - from).max(1) as f64
    }

    fn axis(&self, page: &mut Page, bottom: f64) {
        for number in self.x().ticks(8.0) {
            let at = self.x().position(number);
            page.line("grid", (at, WAITING.0), (at, bottom));
            page.line("axis", (at, bottom), (at, bottom + 5.0));
            page.text("quiet", at, bottom + 19.0, Anchor::Middle, &tick(number));
        }
        page.line("axis", (LEFT, bottom), (RIGHT, bottom));
        page.text(
            "quiet",
            f64::midpoint(LEFT, RIGHT),
            bottom + 38.0,
            Anchor::Middle,
            "milliseconds since the start of the run",
        );
        page.text("quiet", RIGHT + 8.0, TOP - 8.0, Anchor::Start, "busy");
    }

    fn waiting(&self, page: &mut Page) {
        let steps = waiting(&self.run.operations);
        let most = steps.iter().map(|step| step.1).max().unwrap_or(0);
        let y = Scale { from: 0.0, to: most.max(1) as f64, at: (WAITING.1, WAITING.0) };
        let before = steps.iter().rfind(|step| step.0 <= self.window.0).map_or(0, |step| step.1);
        let mut path = format!("M{} {} V{}", LEFT, WAITING.1, coordinate(y.position(before as f64)));
        for (moment, count) in steps.into_iter().filter(|step| self.holds(step.0)) {
            path += &format!(" H{} V{}", coordinate(self.at(moment)), coordinate(y.position(count as f64)));
        }
        page.path("wait", &format!("{path} H{RIGHT} V{} Z", WAITING.1));
        page.text("quiet", LEFT - 8.0, WAITING.1 - 2.0, Anchor::End, "waiting");
        page.text("quiet", RIGHT + 8.0, WAITING.0 + 9.0, Anchor::Start, &format!("up to {most}"));
    }

    fn call_slot(&self, page: &mut Page, top: f64, track: &Track<'_>) {
        let (height, middle) = (self.call_slot - 4.0, top + (self.call_slot - 4.0) / 2.0);
        page.put(rectangle("idle", LEFT, top, RIGHT - LEFT, height));
        page.text("", LEFT - 8.0, middle + 4.0, Anchor::End, &name(track));
        page.text("quiet", RIGHT + 8.0, middle + 4.0, Anchor::Start, &percent(self.busy(track)));
        let seen = || track.calls.iter().copied().filter(|call| self.is_seen(call));
        let transits = seen().flat_map(|call| [(call.sent, call.started), (call.ended, call.answered)]);
        let transits = transits
            .map(|(from, to)| format!("M{} {middle} H{}", coordinate(self.at(from.0)), coordinate(self.at(to.0))));
        page.path("transit", &transits.collect::<Vec<_>>().join(" "));
        for call in seen() {
            let (from, to) = (self.at(call.started.0), self.at(call.ended.0));
            let bar = rectangle("run", from, top + 2.0, (to - from).max(MIN_BAR_WIDTH), height - 4.0);
            page.put(titled_mark(bar, &describe(call)));
        }
    }
}

/// Returns the part of the run to draw: all of it if there are few calls; otherwise the start of a cold run, or the
/// middle of a warm one.
fn window((begun, ended): (u64, u64), calls: usize, call_slots: usize, start: WorkerStart) -> (u64, u64) {
    let most = MAX_BARS.min(MAX_BARS_PER_TRACK * call_slots);
    if calls <= most {
        return (begun, ended);
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a part of a length is a length")]
    let length = ((ended - begun) as f64 * most as f64 / calls as f64) as u64;
    let from = match start {
        WorkerStart::Warm => begun + (ended - begun - length) / 2,
        WorkerStart::Cold => begun,
    };
    (from, from + length)
}

fn legend(page: &mut Page) {
    let entries: [(&str, Swatch); 4] = [
        ("a call runs", |page, x, y| page.put(rectangle("run", x, y - 6.0, 22.0, 12.0))),
        ("a call or its result is in transit", |page, x, y| page.line("transit", (x, y), (x + 22.0, y))),
        ("idle", |page, x, y| page.put(rectangle("idle", x, y - 6.0, 22.0, 12.0))),
        ("number of calls waiting for a call slot", |page, x, y| page.put(rectangle("wait", x, y - 6.0, 22.0, 12.0))),
    ];
    page.legend(72.0, &entries);
}

/// Returns the name of a track: `w2`, or `w2 · 3` for the third call slot of a worker with several.
fn name(track: &Track<'_>) -> String {
    match track.call_slot {
        None => track.worker.to_string(),
        Some(place) => format!("{} · {place}", track.worker),
    }
}

fn describe(call: &Operation) -> String {
    let span = |from: u64, to: u64| time(Duration::from_nanos(to.saturating_sub(from)));
    format!(
        "{} generation {}: waited {}, ran {}, result received {} later",
        call.worker.id,
        call.worker.generation,
        span(call.queued.0, call.sent.0),
        span(call.started.0, call.ended.0),
        span(call.ended.0, call.answered.0)
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{call, report, two_workers};
    use super::*;
    use roxmltree::{Document, Node};

    fn of_class<'a>(chart: &'a Document<'_>, class: &str) -> Vec<Node<'a, 'a>> {
        chart.descendants().filter(|node| node.attribute("class") == Some(class)).collect()
    }

    fn number(node: Node<'_, '_>, attribute: &str) -> f64 {
        node.attribute(attribute).unwrap().parse().unwrap()
    }

    fn bars<'a>(chart: &'a Document<'_>) -> Vec<Node<'a, 'a>> {
        of_class(chart, "run").into_iter().filter(|bar| bar.parent().unwrap().has_tag_name("g")).collect()
    }

    fn is_within_the_page(chart: &Document<'_>) {
        let page = of_class(chart, "page")[0];
        for text in chart.descendants().filter(|node| node.has_tag_name("text")) {
            // The average width of a character of these sizes, in the fonts of the style, is smaller than this.
            let letter = if text.attribute("class") == Some("title") { 9.5 } else { 7.0 };
            let width = letter * text.text().unwrap_or_default().trim().chars().count() as f64;
            let x = number(text, "x");
            let (left, right) = match text.attribute("text-anchor").unwrap() {
                "start" => (x, x + width),
                "end" => (x - width, x),
                _ => (x - width / 2.0, x + width / 2.0),
            };
            assert!(left >= 0.0 && right <= number(page, "width"), "{:?} is cut off", text.text());
            assert!(number(text, "y") <= number(page, "height"));
        }
    }

    /// Each call is a bar on the track of its worker; its length is the duration of the call.
    #[test]
    fn each_call_is_a_bar() {
        let run = two_workers();
        let text = Timeline::of(&run, WorkerStart::Warm).draw("sleep <&>: 2 workers");
        let chart = Document::parse(&text).unwrap();
        let bars = bars(&chart);
        assert_eq!(bars.len(), 4);
        let tops: Vec<f64> = bars.iter().map(|bar| number(*bar, "y")).collect();
        assert!(tops[0] == tops[1] && tops[2] == tops[3] && tops[0] < tops[2], "{tops:?}");
        let scale = (RIGHT - LEFT) / 31.6;
        for (bar, (from, to)) in bars.iter().zip([(1.0, 11.0), (11.5, 21.5), (1.0, 21.0), (21.5, 31.5)]) {
            assert!((number(*bar, "x") - (LEFT + from * scale)).abs() < 0.02);
            assert!((number(*bar, "width") - (to - from) * scale).abs() < 0.02);
        }
        assert_eq!(
            bars[1].parent().unwrap().first_element_child().unwrap().text().unwrap(),
            "w1 generation 1: waited 11.4 ms, ran 10.0 ms, result received 100 µs later"
        );
        assert_eq!(of_class(&chart, "title")[0].text().unwrap().trim(), "sleep <&>: 2 workers");
        assert!(text.contains("all 4 calls in 31.6 ms"), "{text}");
        is_within_the_page(&chart);
        insta::with_settings!({ prepend_module_to_snapshot => false }, {
            insta::assert_snapshot!("timeline.svg", text);
        });
    }

    /// For many calls, only a part of the run is drawn, and the subtitle says which.
    #[test]
    fn a_long_run_is_drawn_in_part_and_says_so() {
        let calls: Vec<_> =
            (0..400).map(|at| call(1, 0.0, 1.0 + 10.0 * f64::from(at), 10.0 + 10.0 * f64::from(at))).collect();
        let run = report(1, &calls);
        let seen = |start| {
            let text = Timeline::of(&run, start).draw("many");
            let chart = Document::parse(&text).unwrap();
            is_within_the_page(&chart);
            let second = chart.descendants().filter(|node| node.has_tag_name("text")).nth(1).unwrap();
            (bars(&chart).len(), second.text().unwrap().trim().to_owned())
        };
        let (warm, middle) = seen(WorkerStart::Warm);
        assert!(middle.starts_with("800 ms starting at 1.60 s of a run of 4.00 s: "), "{middle}");
        assert!((80..=82).contains(&warm) && middle.contains(&format!(" {warm} of 400 calls")), "{warm}: {middle}");
        let (cold, begin) = seen(WorkerStart::Cold);
        assert!(
            begin.starts_with("800 ms starting at 0.00 µs of a run") && (80..=82).contains(&cold),
            "{cold}: {begin}"
        );
    }

    /// If there are more tracks than fit on the page, the subtitle says so.
    #[test]
    fn timeline_with_many_call_slots_is_truncated_and_says_so() {
        let calls: Vec<_> = (1..=200).map(|worker| call(worker, 0.0, 1.0, 10.0)).collect();
        let run = report(200, &calls);
        let text = Timeline::of(&run, WorkerStart::Warm).draw(&"a title without an end ".repeat(9));
        let chart = Document::parse(&text).unwrap();
        assert_eq!(bars(&chart).len(), MAX_TRACKS);
        assert!(text.contains("the first 96 of 200 call slots"), "{text}");
        is_within_the_page(&chart);
    }
}
