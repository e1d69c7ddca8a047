//! The error responses of the document: one component for each set of errors that routes share. Pure data.

use serde_json::{Map, Value, json};

/// A response component: its name, the status, and the last parts of the `type` of its problems.
type Response = (&'static str, &'static str, &'static str);

const RESPONSES: [Response; 38] = [
    ("BadRequest", "400", "`bad-request`"),
    ("BadQuery", "400", "`bad-query`, `bad-request`"),
    ("BadLevel", "400", "`bad-body`: the body is no level; `bad-request`"),
    ("BadEventId", "400", "`bad-query`, `bad-header`, `bad-request`"),
    ("InvalidSession", "400", "`invalid-session`, `bad-request`"),
    ("CallRefused", "400", "`malformed`, `invalid-session`, `bad-header`, `unknown-header`, `bad-body`, `bad-request`"),
    ("Unauthorized", "401", "`token-missing`, `token-wrong`"),
    ("Forbidden", "403", "`foreign-host`, `foreign-origin`, `foreign-site`, `wrong-role`"),
    ("UnknownPool", "404", "`unknown-pool`"),
    ("UnknownWorker", "404", "`unknown-pool`, `no-such-worker`"),
    ("UnknownBatch", "404", "`unknown-pool`, `unknown-command`: no command of this name runs in batches"),
    ("UnknownSession", "404", "`unknown-pool`, `session-not-found`"),
    ("NotQuarantined", "404", "`unknown-pool`, `not-quarantined`"),
    ("CallNotFound", "404", "`unknown-command`, `session-not-found`"),
    ("RequestTimeout", "408", "`head-timeout`"),
    ("CallTimeout", "408", "`body-timeout`, `head-timeout`"),
    ("NameTaken", "409", "`pool-name-taken`"),
    ("WrongGeneration", "409", "`wrong-generation`: another process runs in this slot; `pool-name-taken`"),
    ("NoHistory", "409", "`bind`: the pool has no affinity; `pool-name-taken`"),
    ("CallConflict", "409", "`worker-busy`, `pool-name-taken`"),
    ("SessionGone", "410", "`session-worker-lost`, `session-expired`"),
    ("TooLarge", "413", "`too-large`: the arguments or the result"),
    ("ExpectationFailed", "417", "`unmet-expectation`"),
    (
        "Unprocessable",
        "422",
        "`bad-arguments`, with `errors`: each argument that does not fit; `rejected`, `poison-call`",
    ),
    ("TooManyCalls", "429", "`queue-full`, `overloaded`, `session-quota`"),
    ("TooManySessionCalls", "429", "`queue-full`, `session-queue-full`, `overloaded`, `session-quota`"),
    ("HeadTooLarge", "431", "`head-too-large`"),
    ("Internal", "500", "`internal`"),
    ("CallFailed", "500", "`exception`: the handler raised; `unencodable`, `cancelled`, `decode`, `internal`"),
    ("WorkerLost", "502", "`worker-lost`"),
    ("NotReady", "503", "`not-ready`, with `pools`: the health of each pool"),
    ("TooManyReaders", "503", "`too-many-readers`: 256 clients read the events"),
    ("BuffersFull", "503", "`buffers-full`"),
    ("PoolUnavailable", "503", "`pool-closed`, `pool-ending`, `forked`"),
    (
        "CallUnavailable",
        "503",
        "`queue-timeout`, `pool-failed`, `breaker-open`, `buffers-full`, `pool-closed`, `pool-ending`, `forked`",
    ),
    ("OtherRejection", "4XX", "`rejected`: a handler may choose any status from 400 to 499"),
    ("DeadlineExceeded", "504", "`deadline-exceeded`"),
    ("WrongVersion", "505", "`wrong-version`"),
];

/// Returns the response components.
pub(super) fn components() -> Map<String, Value> {
    RESPONSES.iter().map(|response| (response.0.to_owned(), component(response))).collect()
}

fn component((_, status, errors): &Response) -> Value {
    let mut component = json!({
        "description": errors,
        "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
    });
    if let Some((name, header)) = header(status) {
        component["headers"] = json!({ name: header });
    }
    component
}

fn header(status: &str) -> Option<(&'static str, Value)> {
    match status {
        "401" => Some(("WWW-Authenticate", json!({ "schema": { "type": "string" } }))),
        "429" | "503" => {
            let schema = json!({ "type": "integer", "minimum": 1 });
            let description = "Seconds until the next attempt may succeed, if known.";
            Some(("Retry-After", json!({ "description": description, "schema": schema })))
        }
        _ => None,
    }
}

/// Returns the status of a response component.
#[cfg(test)]
pub(super) fn status(name: &str) -> Option<&'static str> {
    RESPONSES.iter().find(|response| response.0 == name).map(|response| response.1)
}
