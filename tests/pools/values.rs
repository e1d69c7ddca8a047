//! The conversion of values between Rust and Python through JSON, as `serde_json` and Python's `json` write and read it (R41).
//! The table in `docs/semantics.md` describes the same.

use super::steps::answer;
use herder::{
    Error,
    session::{RebindReason, Routing},
    testing::{TestPool, pool},
};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const APP: &str = "
import herder
app = herder.App()

@app.command
def shown(**values) -> str:
    return repr(values)

@app.command
def given(code: str):
    return eval(code)

@app.command
def nested(levels: int):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value
";

async fn values_pool() -> TestPool {
    pool("values", |context| {
        context.file("app.py", APP);
        context.basic().app("app.py:app").cwd(context.dir()).pool_size(1).build()
    })
    .await
}

/// Bytes in serde's data model, as `serde_bytes` serializes them.
struct Raw(&'static [u8]);

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

#[derive(Serialize)]
struct Arguments {
    text: &'static str,
    float: f64,
    nan: f64,
    infinite: f32,
    none: Option<u8>,
    large: u128,
    small: i128,
    keys: BTreeMap<u8, bool>,
    raw: Raw,
}

/// R41: arguments reach Python as `docs/semantics.md` describes. A map whose keys are not strings is refused before it is sent.
#[tokio::test]
async fn r41_arguments_round_trip_to_python() {
    let pool = values_pool().await;
    let arguments = Arguments {
        text: "žluť \u{2615}\0",
        float: 5.155_555_555_555_555_6e23,
        nan: f64::NAN,
        infinite: f32::NEG_INFINITY,
        none: None,
        large: u128::MAX,
        small: i128::MIN,
        keys: BTreeMap::from([(7, true)]),
        raw: Raw(b"\0\xff"),
    };
    let shown = pool.call::<String>("shown", &arguments).await.unwrap();
    let numbers = format!("'large': {}, 'small': {}", u128::MAX, i128::MIN);
    let expected = format!(
        "{{'text': 'žluť \u{2615}\\x00', 'float': 5.1555555555555556e+23, 'nan': None, 'infinite': None, 'none': None, {numbers}, \
         'keys': {{'7': True}}, 'raw': [0, 255]}}"
    );
    assert_eq!(shown, expected);

    let refused = pool.call::<String>("shown", &map_with_tuple_keys()).await.unwrap_err();
    assert!(
        matches!(&refused, Error::Malformed { message, .. } if message.contains("key must be a string")),
        "{refused:?}"
    );
    assert!(!refused.may_have_run());
    pool.shutdown_and_check().await;
}

/// Returns a map whose keys cannot be strings in JSON.
fn map_with_tuple_keys() -> BTreeMap<&'static str, BTreeMap<(u8, u8), u8>> {
    BTreeMap::from([("pairs", BTreeMap::from([((1, 2), 3)]))])
}

/// R41: results of Python reach Rust exactly, up to the nesting that `serde_json` reads.
#[tokio::test]
async fn r41_results_round_trip_to_rust() {
    let pool = values_pool().await;
    let given = |code: &str| answer(pool.call::<Value>("given", &json!({ "code": code })).reply());

    let keys = given("{1: 'a', 2: 'b'}").await.unwrap();
    assert_eq!(keys.json(), &br#"{"1":"a","2":"b"}"#[..]);
    assert_eq!(keys.decode::<BTreeMap<u32, char>>().unwrap(), BTreeMap::from([(1, 'a'), (2, 'b')]));

    let large = given("2 ** 70").await.unwrap();
    assert_eq!((large.decode::<u128>().unwrap(), large.json()), (1 << 70, &(1_u128 << 70).to_string().into()));
    assert_eq!(large.decode::<Value>().unwrap(), json!(2_f64.powi(70)), "the nearest float");
    assert!(matches!(large.decode::<u64>(), Err(Error::Decode { .. })));

    let float = given("5.1555555555555556e+23").await.unwrap();
    assert_eq!(float.decode::<f64>().unwrap(), 5.155_555_555_555_555_6e23, "exactly");
    assert_eq!(
        given("(1, 'x', None)").await.unwrap().decode::<(u8, String, Option<u8>)>().unwrap(),
        (1, "x".into(), None)
    );

    for (levels, readable) in [(127, true), (128, false)] {
        let nested = answer(pool.call::<Value>("nested", &json!({ "levels": levels })).reply()).await.unwrap();
        assert_eq!(nested.json().len(), 2 * levels, "the JSON text is complete in either case");
        assert_eq!(nested.decode::<Value>().is_ok(), readable, "{levels} levels");
    }
    pool.shutdown_and_check().await;
}

/// R20: a routing is written as HTTP responses show it.
#[test]
fn r20_routing_is_serialized_as_in_responses() {
    let [new, busy] = [Routing::New, Routing::Rebound(RebindReason::Busy)].map(|it| serde_json::to_value(it).unwrap());
    assert_eq!((new, busy), (json!({ "routing": "new" }), json!({ "routing": "rebound", "why": "busy" })));
}
