//! The error of a call as a response. Pure data.

use actix_web::{
    HttpResponse, ResponseError,
    http::{StatusCode, header},
};
use herder_actors::{Error, ErrorDetail, ErrorId};
use std::time::Duration;

/// The error of a call, with the id under which it was logged. `wait` is set if this server knows a better
/// `Retry-After` than the error.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub(super) struct CallErrorResponse {
    pub(super) error: Error,
    pub(super) id: ErrorId,
    pub(super) wait: Option<Duration>,
}

impl CallErrorResponse {
    pub(super) fn new(error: Error, id: ErrorId) -> Self {
        Self { error, id, wait: None }
    }

    pub(super) fn response(&self, detail: ErrorDetail) -> HttpResponse {
        let mut response = self.error.to_response(detail, Some(self.id));
        if let Some(wait) = self.wait {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(header::RETRY_AFTER, seconds.max(1).into());
        }
        response
    }
}

impl ResponseError for CallErrorResponse {
    fn status_code(&self) -> StatusCode {
        self.error.status_code()
    }

    fn error_response(&self) -> HttpResponse {
        self.response(ErrorDetail::Brief)
    }
}
