//! Buffers in pools of both worker types.

use crate::pools::steps::answer;
use herder::testing::pool;
use serde_json::{Value, json};

/// R43: pools of both types pass buffers, also in a session.
#[tokio::test]
async fn buffers_exist_in_both_worker_types() {
    const APP: &str = "
import herder
app = herder.App()

@app.command
def swap(x: bytes, y: memoryview):
    return [y, x]
";
    for is_basic in [true, false] {
        let pool = pool("buffers", |context| {
            context.file("app.py", APP);
            if is_basic {
                context.basic().app("app.py:app").pool_size(1).overflow(0).build()
            } else {
                context.enhanced().app("app.py:app").pool_size(1).overflow(0).build()
            }
        })
        .await;
        let swap = pool.call::<Value>("swap", &json!({})).attach("x", &b"a"[..]).attach("y", &b"b"[..]);
        let reply = answer(swap.session("ann").take_buffers().reply()).await.unwrap();
        let found: Vec<_> = reply.buffers().iter().map(|buffer| (buffer.pointer(), &buffer.bytes()[..])).collect();
        assert_eq!((reply.json(), found), (&"[null,null]".into(), vec![("/0", &b"b"[..]), ("/1", &b"a"[..])]));
        pool.shutdown_and_check().await;
    }
}
