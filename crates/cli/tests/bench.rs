//! `herder bench`: measures a user's pool at several sizes, and reports a table, JSON and charts (R45, R46, R48).

use crate::support::{folder, herder, is_alive, wait_until};
use herder::testing::{Signal, signal};
use roxmltree::{Document, Node};
use serde_json::{Value, json};
use std::{
    fs,
    io::Read,
    path::Path,
    process::{Child, Stdio},
};

/// Runs `herder bench`. Returns the exit code, standard output and standard error.
fn bench(folder: &Path, args: &[&str]) -> (i32, String, String) {
    let output = herder(folder, &[&["bench"], args].concat()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

const CONFIG: &str = "[pools.kept]\nworker_type = 'enhanced'\napp = 'app.py:app'\npool_size = 7\noverflow = 3\n\
                      [pools.two]\napp = 'app.py:app'\nconcurrency = 2\n";

fn json_of(folder: &Path, name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(folder.join(name)).unwrap()).unwrap()
}

fn seconds(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// Checks that the losses of the call slots add up to the difference between the ideal and the measured time.
fn check_sum_of_losses(row: &Value, run: &Value) {
    let lost: f64 = run["losses"].as_object().unwrap().values().map(seconds).sum();
    let total = row["call_slots"].as_f64().unwrap() * (seconds(&run["measured"]) - seconds(&run["ideal"]));
    assert!((lost - total).abs() <= 0.01 * total.max(1e-6), "{lost} of {total}: {run}");
    let efficiency = seconds(&run["ideal"]) / seconds(&run["measured"]);
    assert!((seconds(&run["efficiency"]) - efficiency).abs() < 1e-6, "{run}");
}

/// Checks that the page documents each name of the JSON, and each loss.
fn check_that_every_name_is_documented(document: &Value) {
    let page = include_str!("../../../docs/bench.md");
    let is_there = |name: &str| page.contains(&format!("`{name}`")) || page.contains(&format!("`.{name}`"));
    let row = &document["rows"][0];
    let run = &row["runs"][0];
    for part in [document, row, run, &run["operations"][0], &row["latency"], &run["losses"]] {
        for name in part.as_object().unwrap().keys() {
            let listed = [
                format!("rows[].{name}"),
                format!("..{name}"),
                format!("{name}[]"),
                format!("rows[].{name}[]"),
                format!("..{name}[]"),
            ];
            assert!(
                is_there(name) || listed.iter().any(|name| is_there(name)),
                "docs/bench.md does not say what `{name}` is"
            );
        }
    }
}

fn of_class<'a>(chart: &'a Document<'_>, class: &str) -> Vec<Node<'a, 'a>> {
    chart.descendants().filter(|node| node.attribute("class") == Some(class)).collect()
}

/// R45: on the demo pool, with defaults except for few calls: a table, a document whose losses add up, and charts with
/// a bar for each call.
#[test]
#[expect(clippy::too_many_lines, reason = "checks the table, the JSON and the charts of one run")]
fn r45_a_bench_of_the_demo() {
    let folder = folder("");
    let args = [
        "--workers",
        "2,1,2",
        "--operations",
        "30",
        "--rounds",
        "2",
        "--svg",
        "charts",
        "--json=bench.json",
        "--json-operations",
    ];
    let (code, out, err) = bench(folder.path(), &args);
    assert_eq!((code, err.as_str()), (0, ""), "no progress bar without a terminal: {out}");
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[0], "pool basic, sleep {\"ms\":5}; warm; the median of 2 rounds");
    assert!(lines[2].starts_with("WORKERS  CALLERS  CALLS/S  P50 ") && lines[2].ends_with("LARGEST LOSS"), "{out}");
    assert!(
        lines[3].starts_with("1        2  ") && lines[4].starts_with("2        4  "),
        "each number once, in ascending order: {out}"
    );
    assert!(
        out.contains("\n1 worker: one call at a time")
            && out.contains("\n2 workers: calls overlapped: up to 2 at once"),
        "{out}"
    );

    let document = json_of(folder.path(), "bench.json");
    assert_eq!(document["arguments"], json!({"ms": 5}));
    assert_eq!([&document["pool"], &document["command"], &document["start"]], ["basic", "sleep", "warm"]);
    let rows = document["rows"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["workers"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2]);
    for row in rows {
        assert_eq!(
            (row["call_slots"].clone(), row["callers"].as_u64().unwrap()),
            (row["workers"].clone(), 2 * row["workers"].as_u64().unwrap())
        );
        assert_eq!(row["runs"].as_array().unwrap().len(), 2);
        for run in row["runs"].as_array().unwrap() {
            check_sum_of_losses(row, run);
            assert_eq!((&run["calls"], &run["failed"]), (&json!(30), &json!(0)));
            assert!(seconds(&run["work"]) >= 0.15, "30 calls sleep 5 ms each: {run}");
            let calls = run["operations"].as_array().unwrap();
            assert_eq!(calls.len(), 30);
            for call in calls {
                let moments = ["queued_ns", "sent_ns", "started_ns", "ended_ns", "answered_ns"]
                    .map(|name| call[name].as_u64().unwrap());
                assert!(moments.is_sorted(), "{call}");
            }
        }
    }
    check_that_every_name_is_documented(&document);
    assert!(rows[1]["runs"][0]["verdict"]["concurrent"]["peak"] == 2, "{document}");
    assert!(seconds(&rows[1]["speed_up"]["min"]) > 0.0 && rows[1]["ideal_speed_up"] == 2.0);

    for workers in [1, 2] {
        let text = fs::read_to_string(folder.path().join(format!("charts/timeline-{workers}.svg"))).unwrap();
        let chart = Document::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let bars = of_class(&chart, "run").into_iter().filter(|bar| bar.parent().unwrap().has_tag_name("g"));
        assert_eq!(bars.count(), 30, "a bar for each call");
        assert!(text.contains("all 30 calls in "));
        assert!(text.contains("prefers-color-scheme: dark"));
    }
    let text = fs::read_to_string(folder.path().join("charts/speed-up.svg")).unwrap();
    let chart = Document::parse(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    assert_eq!(of_class(&chart, "point").len(), 3, "two points, and the one of the legend");
    assert!(out.contains("\nchart written to charts/timeline-2.svg"), "{out}");
}

/// R48: a cold run starts with the pool, and the time of its start is the loss `start_up`. Without a file name, the
/// document is the last line.
#[test]
fn r48_a_cold_bench_accounts_for_start_up() {
    let folder = folder("");
    let (code, out, err) =
        bench(folder.path(), &["--cold", "--workers", "2", "--operations", "8", "--rounds", "1", "--json"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    let document: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
    let run = &document["rows"][0]["runs"][0];
    assert_eq!(document["start"], "cold");
    check_sum_of_losses(&document["rows"][0], run);
    // Whether it is the largest loss depends on the machine. In a warm run it would be zero.
    assert!(seconds(&run["losses"]["start_up"]) > 0.0, "{run}");
    assert_eq!(run.get("operations"), None, "only with --json-operations");
}

/// The measured pool has the user's configuration, except for its size: its sessions and its concurrency.
#[test]
fn a_bench_uses_the_configuration_of_the_pool() {
    let folder = folder(CONFIG);
    let some = ["--workers", "2", "--operations", "12", "--rounds", "1", "--json"];
    let last = |args: &[&str]| {
        let (code, out, err) = bench(folder.path(), &[args, &some].concat());
        assert_eq!(code, 0, "{out}{err}");
        serde_json::from_str::<Value>(out.lines().last().unwrap()).unwrap()
    };
    let kept = last(&["--pool", "kept", "--command", "count", "--sessions", "4", "--callers", "3"]);
    assert_eq!(
        (&kept["sessions"], &kept["rows"][0]["callers"], &kept["rows"][0]["call_slots"]),
        (&json!(4), &json!(3), &json!(2))
    );
    let two = last(&["herder.toml", "--pool", "two", "--command", "echo", "--args", r#"{"x": "<&>"}"#]);
    assert_eq!(
        (&two["rows"][0]["call_slots"], &two["rows"][0]["callers"]),
        (&json!(4), &json!(8)),
        "concurrency counts"
    );
    let app = last(&["app.py:app", "--command", "pid"]);
    assert_eq!(app["pool"], "app");
}

#[test]
fn invalid_arguments_exit_with_2() {
    let folder = folder(CONFIG);
    for (args, expected) in [
        (&["--command", "echo"][..], "the file has several pools; name one with --pool: `kept`, `two`"),
        (&["--pool", "kept"], "no command given; name one with --command"),
        (&["--pool", "nope", "--command", "echo"], "unknown pool `nope`; available pools: `kept`, `two`"),
        (&["--pool", "kept", "--command", "nope"], "unknown command `nope`; available commands: echo"),
        (&["--pool", "kept", "--command", "count"], "count needs a session"),
        (&["--pool", "kept", "--command", "wait"], "missing argument 'file'"),
        (&["--pool", "kept", "--command", "echo", "--args", "[]"], "the arguments are not a JSON object"),
        (&["--pool", "two", "--command", "echo", "--sessions", "2"], "--sessions needs an enhanced pool"),
        (&["--args", "{}"], "--command <COMMAND>"),
        (&["--workers", "0"], "0 is not in 1..=1024"),
        (&["--workers", "1,x"], "invalid value 'x' for '--workers"),
        (&["--workers", ""], "for '--workers"),
        (&["--operations", "5", "--seconds", "5"], "cannot be used with"),
        (&["--warm", "--cold"], "cannot be used with"),
        (&["--json-operations"], "--json"),
        (&["none.toml"], "none.toml: No such file"),
        (
            &["herder.toml", "--enhanced", "--pool", "kept", "--command", "echo"],
            "--enhanced cannot be used with the file",
        ),
    ] {
        let (code, out, err) = bench(folder.path(), args);
        assert_eq!((code, out.as_str()), (2, ""), "{args:?} {err}");
        assert!(err.contains(expected), "{args:?} {err}");
    }
}

/// Failed calls are reported with the first error, below the figures of the others.
#[test]
fn failed_calls_exit_with_1() {
    let folder = folder("");
    let app = "import itertools\nimport herder\napp = herder.App()\nnumbers = itertools.count(1)\n\
               @app.command\ndef some():\n    if next(numbers) % 4 == 0: raise ValueError('on purpose')\n\
               @app.command\ndef none(): raise KeyError('never')\n";
    fs::write(folder.path().join("odd.py"), app).unwrap();
    let run = |command| {
        let args = [
            "odd.py:app",
            "--command",
            command,
            "--workers",
            "1",
            "--operations",
            "20",
            "--rounds",
            "1",
            "--json=x.json",
        ];
        bench(folder.path(), &args)
    };
    let (code, out, err) = run("some");
    assert_eq!(code, 1, "{out}{err}");
    assert!(
        err.starts_with(
            "error: 5 of 20 calls failed and are excluded from the results; first error: ValueError: on purpose"
        ),
        "{err}"
    );
    let document = json_of(folder.path(), "x.json");
    assert_eq!((&document["rows"][0]["failed"], &document["rows"][0]["runs"][0]["calls"]), (&json!(5), &json!(15)));
    let (code, out, err) = run("none");
    assert_eq!((code, out.as_str()), (1, ""), "{err}");
    assert!(err.starts_with("error: KeyError: 'never'"), "{err}");
}

/// A pool that cannot start is an error, and a directory that cannot be created is reported before anything is
/// measured.
#[test]
fn invalid_bench_plans_are_refused_with_the_reason() {
    let folder = folder("");
    fs::write(folder.path().join("broken.py"), "import nonsense_that_is_not_there\n").unwrap();
    let (code, out, err) = bench(folder.path(), &["broken.py:app", "--command", "echo", "--workers", "1"]);
    assert!(code == 1 && out.is_empty() && err.contains("nonsense_that_is_not_there"), "{err}");
    let (code, out, err) = bench(folder.path(), &["--svg", "app.py"]);
    assert!(code == 1 && out.is_empty() && err.contains("cannot write app.py"), "{err}");
}

/// A running command. It is killed if a test fails; its watchdog then kills the workers.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Ctrl-C lets the running call end, and the workers stop as at a regular shutdown: their exit handlers run. Tested on
/// the first pool, which tries the command, and on the next one, which is measured.
#[test]
#[expect(clippy::disallowed_methods, reason = "the child is herder itself, and is reaped below")]
fn a_signal_shuts_the_pool_down_gracefully() {
    let app = "import atexit, os, pathlib, time\nimport herder\napp = herder.App()\n\
               with open('starts', 'a') as file: file.write('x')\n\
               number = os.path.getsize('starts')\n\
               atexit.register(lambda: pathlib.Path(f'ended{number}').touch())\n\
               @app.command\ndef hang():\n    pathlib.Path(f'pid{number}').write_text(str(os.getpid()))\n    \
               while not os.path.exists(f'go{number}'): time.sleep(0.01)\n";
    for (start, pool) in [("--warm", 1), ("--warm", 2), ("--cold", 2)] {
        let folder = folder("");
        let path = |name: &str, number: u32| folder.path().join(format!("{name}{number}"));
        fs::write(folder.path().join("slow.py"), app).unwrap();
        (1..pool).for_each(|before| fs::write(path("go", before), "").unwrap());
        let args = ["bench", "slow.py:app", "--command", "hang", "--workers", "1", "--operations", "3", start];
        let mut command = herder(folder.path(), &args);
        let mut running = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        let mut pid = None;
        wait_until("a call runs", || {
            pid = fs::read_to_string(path("pid", pool)).ok().and_then(|text| text.parse::<u64>().ok());
            pid.is_some()
        });
        signal(running.0.id(), Signal::INT).unwrap();
        fs::write(path("go", pool), "").unwrap();
        let mut output = String::new();
        running.0.stderr.take().unwrap().read_to_string(&mut output).unwrap();
        assert_eq!(output, "error: SIGINT: stopped before completion\n");
        assert_eq!(running.0.wait().unwrap().code(), Some(130), "{start}");
        assert!(path("ended", pool).exists(), "{start}: the worker was killed");
        wait_until("the worker has exited", || !is_alive(pid.unwrap()));
    }
}
