//! The error as an actix-web response: problem document, status, and `Retry-After` where waiting helps.

use super::{Error, ErrorDetail, ErrorId, kinds::whole_seconds};
use actix_web::{
    HttpResponse, HttpResponseBuilder, ResponseError,
    http::{StatusCode, header},
};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether responses of [`ResponseError`] contain all details.
static FULL: AtomicBool = AtomicBool::new(false);

/// Sets the detail of responses for an [`Error`] that a handler of your application returns with `?`, for the whole process.
/// Brief by default, since an error does not know whether the server listens on loopback only. Herder's own routes have their
/// own setting.
pub fn set_error_detail(detail: ErrorDetail) {
    FULL.store(detail == ErrorDetail::Full, Ordering::Relaxed);
}

impl Error {
    /// Returns the error as a response with this detail. `error_id` is used for kinds of errors that keep no id.
    pub fn to_response(&self, detail: ErrorDetail, error_id: Option<ErrorId>) -> HttpResponse {
        let status = self.status_code();
        let mut response = HttpResponseBuilder::new(status);
        if status.canonical_reason().is_none() {
            // A handler chose it. The status line would say `<unknown status code>` otherwise.
            response.reason(if status.as_u16() == 425 { "Too Early" } else { "Rejected" });
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Attempts;
    use herder_core::{Generation, WorkerId, WorkerRef};

    /// Statuses that handlers choose, with and without a name of their own.
    #[test]
    fn status_of_a_rejection_has_a_reason_phrase() {
        for (status, phrase) in [(409, "Conflict"), (425, "Too Early"), (499, "Rejected")] {
            let worker = WorkerRef { id: WorkerId(1), generation: Generation(1) };
            let (message, code, data, attempts) = ("no".into(), None, None, Attempts::default());
            let error = Error::Rejected { message, code, data, status: Some(status), worker, attempts };
            let response = error.to_response(ErrorDetail::Brief, None);
            assert_eq!((response.status().as_u16(), response.head().reason()), (status, phrase));
        }
    }
}
