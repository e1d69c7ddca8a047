//! The call that is measured: a small echo, as an anonymous call or as one of a session.

use futures_util::future::LocalBoxFuture;
use herder::Pool;
use serde_json::{Value, json};
use std::rc::Rc;

/// The arguments of every small call.
pub fn arguments() -> Value {
    json!({ "x": 1, "text": "abcdefghijklmnopqrstuvwxyz012345" })
}

/// An echo through a pool whose app is the demo.
pub fn echo(pool: &Pool) -> impl Fn() -> LocalBoxFuture<'static, ()> + Clone + 'static {
    let (pool, arguments) = (pool.clone(), Rc::new(arguments()));
    move || {
        let (pool, arguments) = (pool.clone(), arguments.clone());
        Box::pin(async move {
            let _: Value = pool.call("echo", &*arguments).await.expect("an echo");
        })
    }
}
