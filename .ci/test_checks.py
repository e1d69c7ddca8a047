"""The checks of this folder turn red on what they are there for: `python3 -m unittest discover .ci`."""

import importlib.machinery
import importlib.util
import json
import re
import unittest
from pathlib import Path

HERE = Path(__file__).resolve().parent


def script(name):
    """A check as a module."""
    loader = importlib.machinery.SourceFileLoader(name, str(HERE / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


instructions, timing = script("instructions"), script("timing")


class Timing(unittest.TestCase):
    """A sleep or a bound in a test is found; texts, comments and other code are left alone."""

    def lines(self, path, text):
        return [number for number, _ in timing.offences(path, text)]

    def test_rust(self):
        for line in [
            "std::thread::sleep(WAIT);", "tokio::time::sleep(WAIT).await;", "use tokio::time::{Instant, sleep_until};",
            "assert!(begun.elapsed() < LIMIT);", "assert!(LIMIT > begun.elapsed());", "assert!(took.as_millis() <= 5);",
        ]:  # fmt: skip
            self.assertEqual(self.lines("crates/x/tests/a.rs", f"fn a() {{\n    {line}\n}}\n"), [2], line)
            self.assertEqual(self.lines("crates/x/src/a.rs", f"{line}\n#[cfg(test)]\nmod tests {{\n{line}\n}}"), [4], line)
            self.assertEqual(self.lines("crates/x/src/a.rs", f"fn a() {{\n    {line}\n}}\n"), [], line)
            self.assertEqual(self.lines("tests/a.rs", f"// timing: polls a file\n{line}\n"), [], line)

    def test_rust_names(self):
        """What is imported, named or split over lines before it is used; the statement's first line is told."""
        for first, text in {
            1: [
                "use tokio::time::{\n    Instant,\n    sleep as nap,\n};", "use actix_rt::time::sleep;", "std::thread::sleep_ms(5);",
                "rustix::thread::nanosleep(&pause);", "tokio::time::interval(PAUSE).tick().await;", "assert!(\n    begun.elapsed()\n        < LIMIT,\n);",
                "assert!(Instant::now() - begun <= LIMIT);", "assert!(Instant::now() < begun + LIMIT);", "assert_eq!(begun.elapsed().as_secs(), 0);",
                "assert!((LEAST..LIMIT).contains(&begun.elapsed()));", "if begun.elapsed() > LIMIT {\n    panic!(\"slow\");\n}",
                "while begun.elapsed() < PAUSE {}", "while Instant::now() < until {}", "timeout(Duration::from_millis(500), call).await.unwrap();",
                "tokio::time::timeout(Duration::from_secs(2), call).await.unwrap();", "events.recv_timeout(Duration::from_millis(5)).unwrap();",
                "debug_assert!(a && begun.elapsed() < LIMIT);",
            ],
            2: [
                "let spent = begun.elapsed();\nassert!(spent < LIMIT);", "let end = Instant::now();\nassert!(end - begun < LIMIT);",
                "let begun = Instant::now();\nassert!(end - begun < LIMIT);", "let spent: Duration = a.saturating_duration_since(b);\nassert!(LIMIT > spent);",
                "const SHORT: Duration = Duration::from_millis(50);\ntimeout(SHORT, call).await.unwrap();",
            ],
            3: ["let begun = Instant::now();\nlet spent = now - begun;\nassert!(spent.as_millis() < 100);"],
        }.items():  # fmt: skip
            for each in text:
                found = self.lines("tests/a.rs", each)
                last = 3 if "nap" in each else first  # where the name stands
                self.assertEqual(found, [last], each)
                self.assertEqual(self.lines("tests/a.rs", re.sub(r"^((.*\n){%d})" % (last - 1), r"\1// timing: why\n", each)), [], each)

    def test_rust_that_is_right(self):
        for line in [
            "assert!(begun.elapsed() >= LEAST);", "assert!(first < second);", "timeout(HANGING, call).await.unwrap();", "builder.timeout(Duration::from_millis(5));",
            "events.recv_timeout(Duration::from_secs(60)).unwrap();", "let begun = Instant::now();\nassert!(begun < end);", "if begun.elapsed() > LIMIT {\n    more();\n}",
            "assert_eq!(new(Instant::now()).text(), None);", "assert!(list.iter().collect::<Vec<_>>().len() < begun.elapsed());",
        ]:  # fmt: skip
            self.assertEqual(self.lines("tests/a.rs", line), [], line)

    def test_rust_behind_any_cfg(self):
        self.assertEqual(self.lines("src/a.rs", 'fn a() {}\n#[cfg(any(test, feature = "x"))]\nmod tests { std::thread::sleep(WAIT); }'), [3])

    def test_rust_texts(self):
        for line in ['python("time.sleep(9)");', 'r#"sleep(1) "quoted" "#;', "// sleep(1)", "assert!(begun.elapsed() > LEAST);", "sleep(&pool).await;"]:
            self.assertEqual(self.lines("tests/a.rs", line), [], line)

    def test_python(self):
        for line in [
            "time.sleep(1)", "asyncio.sleep(1)", "assert elapsed < 3", "assert time.time() - began - took < 1", "from time import sleep as nap",
            "assert 3 > time.monotonic() - began", "assert 0 <= time.perf_counter() - began <= 3", "assert round(elapsed) == 0", "event.wait(0.1)",
            "event.wait(timeout=5)", "select.select([], [], [], 0.1)", "if time.time() > limit: pytest.fail()", "if elapsed > 3: raise AssertionError",
            "while time.monotonic() < until: pass", "assert (\n    elapsed\n    < 3\n)",
        ]:  # fmt: skip
            self.assertEqual(self.lines("python/tests/test_a.py", f"import time\n{line}\n"), [2], line)
        for text in ["began = time.time()\nassert end - began < 3", "spent = time.time() - began\nassert spent < 3"]:
            self.assertEqual(self.lines("python/tests/test_a.py", text), [2], text)
        for line in ["assert time.time() - began > 3", "process.wait(timeout=60)", "began = time.time()\nassert began < end", "', '.join(['a'])", "gate.wait()", "if elapsed > 3: more()"]:
            self.assertEqual(self.lines("python/tests/test_a.py", line), [], line)
        self.assertEqual(self.lines("python/tests/test_a.py", 'start("time.sleep(1)")\nassert elapsed > 3\n'), [])
        self.assertEqual(self.lines("python/src/herder/demo.py", "time.sleep(1)"), [])
        self.assertEqual(self.lines("tests/faults/worker.py", "time.sleep(1)"), [])


class Instructions(unittest.TestCase):
    """A basic pool that pays for its neighbour is found, and figures that can't be right."""

    FIGURES = dict.fromkeys(instructions.CASES, 1500.0) | {"basic_alone": 1300.0, "basic_beside_enhanced": 1300.0}

    def faults(self, **changed):
        return instructions.faults(self.FIGURES | changed)

    def test_as_it_should_be(self):
        self.assertEqual(self.faults(), [])
        self.assertEqual(self.faults(basic_beside_enhanced=1306.0), [], "half a percent is left to the compiler")

    def test_a_neighbour_that_costs(self):
        for beside in (1307.0, 1293.0):
            found = self.faults(basic_beside_enhanced=beside)
            self.assertEqual(found, [f"R55: a basic pool's call costs 1300.0 instructions alone, {beside} beside an enhanced pool"])

    def test_figures_that_measure_nothing(self):
        self.assertEqual(len(self.faults(basic_session=1300.0)), 1)
        self.assertEqual(len(self.faults(basic_alone=9.0, basic_beside_enhanced=9.0)), 1)
        self.assertEqual(instructions.faults({"basic_alone": 1300.0})[0][:12], "not counted:")

    def test_the_bench_s_output(self):
        summary = {"id": "basic_alone", "profiles": [{"data": {"total": {"metrics": {"Ir": {"values": {"new": 5000}}}}}}]}
        self.assertEqual(instructions.counts([json.dumps(summary), ""], 10), {"basic_alone": 500.0})
        bench = instructions.BENCH.read_text(encoding="utf-8")
        self.assertEqual(set(re.findall(r"#\[bench::(\w+)", bench)), set(instructions.CASES))
        self.assertGreaterEqual(instructions.calls(), 1000)


if __name__ == "__main__":
    unittest.main()
