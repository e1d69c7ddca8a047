//! The JSON of the server has no object with a duplicate key: parsers disagree on which value counts, and strict ones refuse it.

use super::routes;
use crate::Pool;
use actix_web::{
    App,
    test::{TestRequest, call_and_read_body, init_service},
};
use herder_actors::PoolConfig;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::{collections::HashSet, fmt, time::Duration};

/// Any JSON value whose objects have no duplicate keys. `serde_json::Value` cannot show them: it keeps the last one.
struct UniqueKeys;

impl<'de> Deserialize<'de> for UniqueKeys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueKeysVisitor)
    }
}

struct UniqueKeysVisitor;

impl<'de> Visitor<'de> for UniqueKeysVisitor {
    type Value = UniqueKeys;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate keys")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueKeys, A::Error> {
        let mut keys = HashSet::new();
        while let Some((key, UniqueKeys)) = map.next_entry::<String, UniqueKeys>()? {
            if !keys.insert(key.clone()) {
                return Err(serde::de::Error::custom(format!("duplicate key `{key}`")));
            }
        }
        Ok(UniqueKeys)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<UniqueKeys, A::Error> {
        while items.next_element::<UniqueKeys>()?.is_some() {}
        Ok(UniqueKeys)
    }

    fn visit_bool<E>(self, _: bool) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_i64<E>(self, _: i64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_u64<E>(self, _: u64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_f64<E>(self, _: f64) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_str<E>(self, _: &str) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }

    fn visit_unit<E>(self) -> Result<UniqueKeys, E> {
        Ok(UniqueKeys)
    }
}

#[test]
fn a_duplicate_key_is_found_at_any_depth() {
    assert!(serde_json::from_str::<UniqueKeys>(r#"[{"a": {"b": 1, "c": null}}, -1, 0.5, true]"#).is_ok());
    assert!(serde_json::from_str::<UniqueKeys>(r#"[{"a": {"b": 1, "b": 1}}]"#).is_err());
    assert!(serde_json::from_str::<IgnoredAny>(r#"{"b": 1, "b": 1}"#).is_ok(), "other readers do not find it");
}

/// R38: also while the pool does not answer, and after it has ended.
#[actix_web::test]
async fn r38_lists_and_statuses_have_no_duplicate_keys() {
    let config = PoolConfig::basic("unique").command(["sleep", "1000"]).pool_size(1).overflow(0);
    let pool = Pool::start(config.build().unwrap()).without_waiting().await.unwrap();
    let app = init_service(App::new().configure(routes(&pool))).await;
    for has_ended in [false, true] {
        for path in ["/v1/pools", "/v1/pools/unique", "/v1/pools/unique/workers", "/v1/pools/unique/call/x"] {
            let body = call_and_read_body(&app, TestRequest::get().uri(path).to_request()).await;
            let checked = serde_json::from_slice::<UniqueKeys>(&body);
            assert!(checked.is_ok(), "{path}, ended: {has_ended}: {:?} in {body:?}", checked.err());
        }
        let _ = pool.shutdown(Duration::ZERO).await; // the second time it has ended already
    }
}
