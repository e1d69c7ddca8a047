//! The threads of the server: by default one for the connections and all pools, else several, and one for each pool.

use crate::support::{Server, folder, is_alive, wait_until};
use herder::testing::Signal;
use serde_json::json;
use std::{collections::BTreeSet, fs, net::TcpStream};

const TWO_POOLS: &str = "[pools.one]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n[pools.two]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n";

/// Returns the names of the server's threads.
fn threads(server: &Server) -> BTreeSet<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().flatten();
    tasks.filter_map(|task| Some(fs::read_to_string(task.path().join("comm")).ok()?.trim().to_owned())).collect()
}

/// Calls both pools, then signals the server while a call runs, and waits for its end.
fn serve_and_drain(mut server: Server) {
    server.until_ready();
    let pids = ["one/pid", "two/pid"].map(|command| server.call(command, "{}", &[]).result().as_u64().unwrap());
    let idle = TcpStream::connect(server.address).unwrap(); // must not delay the shutdown
    let body = json!({ "file": server.file("go") }).to_string();
    let running = server.background("two/wait", &body, &[]);
    server.until_queue("two", 0, 1);
    server.signal(Signal::TERM);
    wait_until("no connection is accepted", || TcpStream::connect(server.address).is_err());
    fs::write(server.file("go"), "").unwrap();
    assert_eq!(running.join().unwrap().result(), "waited");
    assert_eq!(server.wait().code(), Some(0));
    for pool in ["one", "two"] {
        assert!(server.log().contains(&format!("pool `{pool}` stopped in")), "{}", server.log());
    }
    wait_until("the workers have exited", || pids.iter().all(|&pid| !is_alive(pid)));
    drop(idle);
}

/// R30: by default the connections and the pools share the main thread, and the server drains them in order.
#[test]
fn r30_connections_and_pools_share_one_thread() {
    let server = Server::start(folder(TWO_POOLS), &[], &[]);
    server.until_ready();
    let threads = threads(&server);
    let own = |name: &str| threads.iter().any(|thread| thread.starts_with(name));
    assert!(!own("herder-one") && !own("herder-two") && !own("actix"), "{threads:?}");
    serve_and_drain(server);
}

/// R30: with more HTTP threads, each pool has a thread of its own, and the server drains the same way.
#[test]
fn r30_with_more_http_threads_each_pool_has_its_own_thread() {
    let server = Server::start(folder(TWO_POOLS), &["--threads", "2"], &[]);
    server.until_ready();
    let threads = threads(&server);
    assert!(threads.contains("herder-one") && threads.contains("herder-two"), "{threads:?}");
    serve_and_drain(server);
}
