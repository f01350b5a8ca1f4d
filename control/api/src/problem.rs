//! Errors as `application/problem+json` (RFC 9457).

use crate::live::LiveError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use domain::leases::LeaseError;
use domain::tree::{EditError, Place, TreeError};
use domain::{Refusal, Time};
use serde::Serialize;
use service::{DataplaneError, ServiceError};
use store::StoreError;
use utoipa::ToSchema;

/// Media type of errors.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// Why something was not done.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    problems: Vec<Flaw>,
    retry_after_s: Option<u64>,
}

/// What kind of error it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Malformed,
    Unauthorized,
    Forbidden,
    NotFound,
    Method,
    NotAcceptable,
    Conflict,
    Version,
    TooLarge,
    MediaType,
    Invalid,
    TooMany,
    Internal,
    Away,
    Timeout,
}

impl Kind {
    /// All of them, for the document.
    pub(crate) const ALL: [Self; 15] = [
        Self::Malformed,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Method,
        Self::NotAcceptable,
        Self::Conflict,
        Self::Version,
        Self::TooLarge,
        Self::MediaType,
        Self::Invalid,
        Self::TooMany,
        Self::Internal,
        Self::Away,
        Self::Timeout,
    ];

    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::Malformed => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Version => StatusCode::PRECONDITION_FAILED,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Away => StatusCode::SERVICE_UNAVAILABLE,
            Self::Timeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Method => "method",
            Self::NotAcceptable => "not_acceptable",
            Self::Conflict => "conflict",
            Self::Version => "version",
            Self::TooLarge => "too_large",
            Self::MediaType => "media_type",
            Self::Invalid => "invalid",
            Self::TooMany => "too_many",
            Self::Internal => "internal",
            Self::Away => "away",
            Self::Timeout => "timeout",
        }
    }

    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Malformed => "The request does not read",
            Self::Unauthorized => "A token is needed that holds",
            Self::Forbidden => "Not for who asks",
            Self::NotFound => "There is none, or none that who asks may see",
            Self::Method => "Not a method of this resource",
            Self::NotAcceptable => "There is no such representation",
            Self::Conflict => "It does not go with what holds",
            Self::Version => "It is of another version",
            Self::TooLarge => "The body is too large",
            Self::MediaType => "The body is of another type",
            Self::Invalid => "What is asked makes no sense",
            Self::TooMany => "Too many requests",
            Self::Internal => "What must not happen; the log says more",
            Self::Away => "What is needed is away",
            Self::Timeout => "It took too long; it may still be done",
        }
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ProblemPart)]
pub(crate) struct Flaw {
    /// Where, as in `vswitch.red.vif.2.mtu`; empty: in the request as a whole.
    pub(crate) place: String,
    /// What is there.
    pub(crate) found: String,
    /// What would be allowed.
    pub(crate) allowed: String,
}

impl From<domain::tree::Problem> for Flaw {
    fn from(problem: domain::tree::Problem) -> Self {
        let domain::tree::Problem { place, found, allowed } = problem;
        Self { place: place.to_string(), found, allowed }
    }
}

/// An error, as RFC 9457 has it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body {
    /// Kind of the error, for programs: `urn:switchyard:problem:` and a word.
    #[serde(rename = "type")]
    #[schema(example = "urn:switchyard:problem:conflict")]
    kind: String,
    /// The same for people.
    title: &'static str,
    /// HTTP status.
    status: u16,
    /// What was attempted, what was found, what is allowed.
    detail: String,
    /// What is wrong, place by place.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    problems: Vec<Flaw>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), problems: Vec::new(), retry_after_s: None }
    }

    /// A value of the request that is out of what is allowed.
    pub(crate) fn invalid(place: &str, found: impl ToString, allowed: impl ToString) -> Self {
        let (found, allowed) = (found.to_string(), allowed.to_string());
        let detail = format!("{place}: {found}; expected {allowed}");
        let flaw = Flaw { place: place.to_owned(), found, allowed };
        Self { problems: vec![flaw], ..Self::new(Kind::Invalid, detail) }
    }

    pub(crate) fn not_found(what: &'static str, name: impl ToString) -> Self {
        ServiceError::NotFound { what, name: name.to_string() }.into()
    }

    pub(crate) fn too_many(detail: impl Into<String>, retry_after_s: u64) -> Self {
        Self { retry_after_s: Some(retry_after_s), ..Self::new(Kind::TooMany, detail) }
    }

    /// For the log alone: who asks is told that it says more.
    pub(crate) fn internal(what: &dyn std::fmt::Display) -> Self {
        tracing::error!("{what}");
        Self::new(Kind::Internal, "the box failed; its log says more")
    }

    fn at(kind: Kind, place: &Place, error: &dyn std::fmt::Display, allowed: &str) -> Self {
        let flaw = Flaw {
            place: place.to_string(),
            found: error.to_string(),
            allowed: allowed.to_owned(),
        };
        Self { problems: vec![flaw], ..Self::new(kind, error.to_string()) }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { kind, detail, problems, retry_after_s } = self;
        let status = kind.status();
        let body = Body {
            kind: format!("urn:switchyard:problem:{}", kind.name()),
            title: kind.title(),
            status: status.as_u16(),
            detail,
            problems,
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if kind == Kind::Unauthorized {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        let text = error.to_string();
        let of = |kind| Self::new(kind, text.clone());
        match error {
            ServiceError::Forbidden(_) | ServiceError::Quota(_) => of(Kind::Forbidden),
            ServiceError::NotFound { .. } => of(Kind::NotFound),
            ServiceError::Invalid { what, found, expected } => Self::invalid(what, found, expected),
            ServiceError::Problems(problems) => {
                let problems = problems.into_iter().map(Flaw::from).collect();
                Self { problems, ..of(Kind::Invalid) }
            }
            ServiceError::Conflict(places) => {
                let flaw = |place: Place| Flaw {
                    place: place.to_string(),
                    found: "changed by somebody else meanwhile".into(),
                    allowed: "what is there now: rebase, and change it again".into(),
                };
                let problems = places.into_iter().take(100).map(flaw).collect();
                Self { problems, ..of(Kind::Conflict) }
            }
            ServiceError::Version { .. } => of(Kind::Version),
            ServiceError::Nothing
            | ServiceError::Unconfirmed { .. }
            | ServiceError::Drained(_)
            | ServiceError::Books(_)
            | ServiceError::Invoice(_) => of(Kind::Conflict),
            ServiceError::KeyReused(_)
            | ServiceError::Grant(_)
            | ServiceError::Source(_)
            | ServiceError::Quote(_) => of(Kind::Invalid),
            ServiceError::Dataplane(DataplaneError::Refused(_)) => of(Kind::Invalid),
            ServiceError::Dataplane(DataplaneError::Away(_)) => of(Kind::Away),
            ServiceError::Edit(error) => error.into(),
            ServiceError::Tree(error) => error.into(),
            ServiceError::Lease(error) => Self::new(lease(&error), text),
            ServiceError::Statement(_) | ServiceError::Internal(_) => Self::internal(&text),
            ServiceError::Store(error) => error.into(),
        }
    }
}

impl From<EditError> for Problem {
    fn from(error: EditError) -> Self {
        match &error {
            EditError::Nothing(place) => {
                Self::at(Kind::Invalid, place, &error, "a place where something is")
            }
            EditError::NoTable(place) => {
                Self::at(Kind::Invalid, place, &error, "a place below a table")
            }
            EditError::Type { place, error: found } => {
                Self::at(Kind::Invalid, place, found, "a value of the type that belongs there")
            }
        }
    }
}

impl From<TreeError> for Problem {
    fn from(error: TreeError) -> Self {
        // Its whole text would show the line, and a password in it.
        let text = match &error {
            TreeError::Text(error) => error.message().to_owned(),
            TreeError::Schema(error) => error.to_string(),
        };
        Self::new(Kind::Invalid, text)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Number(number) => Self::invalid("number", number, "less than 2^63"),
            error @ (StoreError::Sql(_)
            | StoreError::File { .. }
            | StoreError::Value { .. }
            | StoreError::Newer { .. }
            | StoreError::Damaged(_)) => Self::internal(&error),
        }
    }
}

impl From<LiveError> for Problem {
    fn from(error: LiveError) -> Self {
        let kind = match error {
            LiveError::Away(_) => Kind::Away,
            LiveError::Refused(_) => Kind::Conflict,
        };
        Self::new(kind, error.to_string())
    }
}

fn lease(error: &LeaseError) -> Kind {
    match error {
        LeaseError::NoLease(_) => Kind::NotFound,
        LeaseError::State { .. } | LeaseError::Paid { .. } | LeaseError::Overlap { .. } => {
            Kind::Conflict
        }
        LeaseError::Past { .. } | LeaseError::NoVif(_) | LeaseError::Rate { .. } => Kind::Invalid,
        LeaseError::Refused(refusal) => match refusal {
            Refusal::Full { .. } | Refusal::Taken(_) | Refusal::Unknown(_) | Refusal::TooMany => {
                Kind::Conflict
            }
            Refusal::UnknownSide(_) => Kind::NotFound,
            Refusal::BadSlot(_)
            | Refusal::BadRate(_)
            | Refusal::BadBurst { .. }
            | Refusal::NotLater { .. }
            | Refusal::SplitTime { .. }
            | Refusal::SplitRate { .. } => Kind::Invalid,
        },
    }
}

/// A time of a request; what is later than any that the box knows is refused.
pub(crate) fn time(place: &'static str, ms: u64) -> Result<Time, Problem> {
    let time = Time(ms);
    if time > Time::MAX {
        return Err(Problem::invalid(place, ms, format!("at most {}", Time::MAX.0)));
    }
    Ok(time)
}
