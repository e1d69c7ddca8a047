//! `herder kill` with a real server and a real worker.

use crate::support::{Server, herder, wait_until};

#[test]
fn a_worker_is_killed_and_replaced() {
    let server = Server::with("[pools.shop]\napp = 'app.py:app'\npool_size = 1\noverflow = 0\n");
    let kill = |args: &[&str]| {
        let mut command = herder(server.folder.path(), &["kill", "shop"]);
        let output = command.args(args).args(["--url", &server.url()]).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout) + &text(output.stderr))
    };
    let (code, text) = kill(&["w1", "--generation", "2"]);
    assert!(code == 1 && text.contains("wrong-generation (409)"), "{text}");
    assert_eq!(kill(&["w1"]), (0, "killed w1.1 of pool `shop`\n".into()));
    wait_until("another process is ready", || {
        let worker = &server.get("/v1/pools/shop/workers").json["workers"][0];
        worker["generation"] == 2 && worker["state"] == "ready"
    });
    assert_eq!(kill(&["w9"]), (1, "error: pool `shop` has no worker `w9`; it has w1\n".into()));
}
