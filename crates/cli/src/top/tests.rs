//! Frames at several sizes, as snapshots.

use super::{
    draw,
    model::{Action, Model},
    palette::Palette,
    snapshot::{PoolView, Snapshot},
};
use insta::assert_snapshot;
use ratatui_core::{backend::TestBackend, terminal::Terminal};
use serde_json::{Value, json};

/// A busy pool with figures for each worker.
fn carts() -> Value {
    let worker = |number: u64, state: &str, running: Value| {
        json!({
            "id": format!("w{number}"), "generation": number, "pid": 41000 + number, "state": state, "health": "healthy",
            "in_flight": running.as_array().map_or(0, Vec::len), "operations": 3000 * number, "sessions": 12, "overflow": false,
            "running": running, "per_second": 130.25 * number as f64, "run_us": { "p50": 800, "p99": 12_400 * number },
            "resident_bytes": (90 + number) << 20, "cpu": 0.3 * number as f64,
        })
    };
    json!({
        "pool": "carts", "worker_type": "enhanced", "state": "running", "pool_size": 4, "active_sessions": 1234,
        "uptime_ms": 4_000_000, "per_second": 1302.5, "memory_bytes": 412_u64 << 20, "cpu": 1.83,
        "queue": { "waiting": 3, "limit": 1024, "in_flight": 3, "estimated_wait_ms": 12 },
        "outcomes": { "ok": 123_456, "failed": 7, "lost": 1 }, "breaker": { "state": "half_open" }, "quarantined": 2,
        "running": { "count": 3, "longest": { "command": "price", "since_us": 4_200_000 } },
        "workers": [
            worker(1, "busy", json!([{ "command": "price", "since_us": 4_200_000 }, { "command": "add", "since_us": 900 }])),
            worker(2, "busy", json!([{ "command": "recommend_for_all", "since_us": 21_000 }])),
            worker(3, "ready", json!([])),
            worker(4, "initializing", json!([])),
        ],
        "commands": {
            "price": { "calls": 120_000, "errors": { "exception": 6 }, "per_second": 1290.0,
                       "queue_us": { "p50": 10, "p99": 2_100 }, "run_us": { "p50": 800, "p99": 12_000, "max": 4_200_000 } },
            "add": { "calls": 0, "errors": {}, "per_second": 0.0, "queue_us": null, "run_us": null },
        },
    })
}

/// An idle basic pool of an older server, which sends no figures.
fn basic() -> Value {
    json!({
        "pool": "basic", "worker_type": "basic", "state": "running", "pool_size": 1, "uptime_ms": 1000,
        "queue": { "waiting": 0, "limit": 64, "in_flight": 0 }, "outcomes": { "ok": 0, "failed": 0, "lost": 0 },
        "workers": [{ "id": "w1", "generation": 1, "pid": 7, "state": "ready", "health": "healthy", "in_flight": 0,
                      "operations": 0, "overflow": false }],
    })
}

fn model(pools: &[Value]) -> Model {
    let mut model = Model::new("http://127.0.0.1:7878".into(), None);
    for rate in [100.0, 400.0, 900.0, 0.0] {
        let mut pools: Vec<PoolView> = pools.iter().map(PoolView::of).collect();
        pools[0].per_second = Some(rate);
        model.take(Snapshot { pools });
    }
    model.take(Snapshot { pools: pools.iter().map(PoolView::of).collect() });
    model.add_event("16:10:23  carts  w2  exited: signal 9 (SIGKILL)");
    model.add_event("16:10:24  carts  w2  the worker is ready");
    model
}

fn drawn(model: &Model, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw::frame(model, frame.buffer_mut(), Palette { has_colors: false })).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y: u16| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn frames_fit_the_terminal() {
    let mut model = model(&[carts(), basic()]);
    assert_snapshot!("wide", drawn(&model, 120, 30));
    assert_snapshot!("usual", drawn(&model, 80, 24));
    assert_snapshot!("narrow", drawn(&model, 40, 20));
    model.apply(&Action::Commands);
    assert_snapshot!("commands", drawn(&model, 80, 16));
    model.apply(&Action::Help);
    assert_snapshot!("help", drawn(&model, 80, 24));
    model.apply(&Action::Back);
    model.answered_at = "16:10:25Z".into();
    model.problem = Some("cannot reach http://127.0.0.1:7878: refused\n  check".into());
    model.apply(&Action::StartFilter);
    model.apply(&Action::Type('p'));
    assert_snapshot!("filter_and_problem", drawn(&model, 80, 12));
    (model.problem, model.is_typing) = (None, false);
    model.apply(&Action::AskKill);
    assert_snapshot!("kill", drawn(&model, 80, 12));
    model.apply(&Action::KeepWorker);
    model.notice = Some("worker w1 of carts was not killed: the process of worker w1 has generation 2 now".into());
    assert_snapshot!("kill_refused", drawn(&model, 80, 12));
    let mut overloaded = carts();
    (overloaded["outcomes"]["timed_out"], overloaded["outcomes"]["refused"]) = (json!(4), json!(18));
    model.take(Snapshot { pools: vec![PoolView::of(&overloaded)] });
    assert!(drawn(&model, 80, 12).contains("  lost 1  timed out 4  refused 18\n"));
    for (width, height) in [(1, 1), (5, 2), (40, 3), (300, 4)] {
        drawn(&model, width, height);
    }
}

#[test]
fn one_frame_as_text_has_everything() {
    assert_snapshot!("once", draw::text(&model(&[carts(), basic()]), 120));
    assert_snapshot!("once_basic", draw::text(&model(&[basic()]), 80));
}

/// A frame of 1,000 workers shows the selected one, and differs from the next frame only where something has changed.
#[test]
fn a_thousand_workers_do_not_flicker() {
    let mut pool = carts();
    let worker = pool["workers"][2].clone();
    let workers: Vec<Value> = (1..=1000)
        .map(|number| {
            let mut worker = worker.clone();
            worker["id"] = json!(format!("w{number}"));
            worker
        })
        .collect();
    pool["workers"] = json!(workers);
    let mut model = model(&[pool.clone()]);
    model.apply(&Action::Move(700));
    let before = drawn(&model, 80, 24);
    assert!(before.contains("\nw701 "), "{before}");
    pool["workers"][700]["pid"] = json!(99_999);
    model.take(Snapshot { pools: vec![PoolView::of(&pool)] });
    let after = drawn(&model, 80, 24);
    let changed = before.lines().zip(after.lines()).filter(|(before, after)| before != after);
    let changed: Vec<&str> = changed.map(|(_, after)| after).collect();
    assert!(
        matches!(changed[..], [rate, worker] if rate.starts_with("── carts") && worker.contains("99999")),
        "{changed:?}"
    );
}
