//! The routes for one worker: its stack, and its end.

use super::{
    actions,
    pools::{Pools, worker_id},
    refusal::Refusal,
};
use crate::Pool;
use actix_web::{HttpRequest, HttpResponse, Result, http::header, web};
use herder_actors::{Error, Generation, WorkerRef};
use serde::Deserialize;
use serde_json::json;

/// What a kill requires of its query.
const GENERATION_REQUIRED: &str =
    "it must be generation=N, with the generation of the process from `GET /v1/pools/{pool}/workers`";

/// The query of a kill. The generation is required: the worker that a person has seen may have been replaced.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct KillQuery {
    generation: u32,
}

/// `POST /v1/pools/{pool}/workers/{id}/kill?generation=`. Answers when the process has exited.
pub(super) async fn kill(
    request: HttpRequest,
    path: web::Path<(String, String)>,
    pools: web::Data<Pools>,
) -> Result<HttpResponse> {
    let (pool, worker) = path.into_inner();
    let pool = pools.find(&pool)?;
    let id = worker_id(&worker)?;
    let query = request.query_string();
    let KillQuery { generation } = web::Query::<KillQuery>::from_query(query)
        .map_err(|_| Refusal::BadQuery { query: query.into(), message: GENERATION_REQUIRED.into() })?
        .into_inner();
    let process = WorkerRef { id, generation: Generation(generation) };
    check_generation(pool, process).await?;
    match pool.kill_noted(process, actions::role(&request)).await {
        Err(Error::NoSuchWorker { .. }) => Err(Refusal::WrongGeneration { process, current: None }.into()),
        other => {
            other?;
            Ok(HttpResponse::Ok().json(json!({ "killed": true, "worker": id, "generation": generation })))
        }
    }
}

/// Refuses a process that is not the present one of its slot.
async fn check_generation(pool: &Pool, process: WorkerRef) -> Result<()> {
    let workers = pool.workers().await?;
    let Some(current) = workers.iter().find(|worker| worker.id == process.id) else {
        let message = format!("worker {} does not exist", process.id);
        return Err(Error::NoSuchWorker { message }.into());
    };
    if current.process() != process {
        return Err(Refusal::WrongGeneration { process, current: Some(current.generation) }.into());
    }
    Ok(())
}

/// `GET /v1/pools/{pool}/workers/{id}/stack`: the stacks as text.
pub(super) async fn stack(path: web::Path<(String, String)>, pools: web::Data<Pools>) -> Result<HttpResponse> {
    let (pool, worker) = path.into_inner();
    let stack = pools.find(&pool)?.stack(worker_id(&worker)?).await?;
    let text = format!("worker {}.{}\n{}\n", stack.worker, stack.generation, stack.stack);
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"));
    response.insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    Ok(response.body(text))
}
