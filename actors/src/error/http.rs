//! The error as an actix-web response: its problem, its status, and `Retry-After` where waiting helps.

use super::{Error, ErrorDetail, text::whole_seconds};
use crate::ErrorId;
use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{StatusCode, header},
};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether responses of [`ResponseError`] are in full.
static FULL: AtomicBool = AtomicBool::new(false);

/// Sets how much of an [`Error`] a handler of your own shows that gives it back with `?`, for the whole process. Brief unless called: an
/// error does not see whether the server is on loopback. The routes of pools have a setting of their own.
pub fn set_error_detail(detail: ErrorDetail) {
    FULL.store(detail == ErrorDetail::Full, Ordering::Relaxed);
}

impl Error {
    /// The error as a response, in this detail. `error_id` is for the kinds of errors that keep none.
    pub fn to_response(&self, detail: ErrorDetail, error_id: Option<ErrorId>) -> HttpResponse {
        let mut response = HttpResponseBuilder::new(self.status_code());
        if let Some(wait) = self.retry_after() {
            response.insert_header((header::RETRY_AFTER, whole_seconds(wait).as_secs().to_string()));
        }
        let mut problem = self.problem_in(detail);
        problem.error_id = problem.error_id.or(error_id);
        response.insert_header((header::CONTENT_TYPE, "application/problem+json"));
        response.body(serde_json::to_string(&problem).unwrap_or_default())
    }
}

impl ResponseError for Error {
    fn status_code(&self) -> StatusCode {
        StatusCode::from_u16(self.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    fn error_response(&self) -> HttpResponse {
        let full = FULL.load(Ordering::Relaxed);
        self.to_response(if full { ErrorDetail::Full } else { ErrorDetail::Brief }, None)
    }
}
