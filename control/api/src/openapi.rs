//! The document: what all operations have in common is added here, once.

use crate::once;
use crate::problem::{Body, Kind, PROBLEM_JSON};
use crate::routes::config::Format;
use crate::routes::papers::PaperFormat;
use utoipa::OpenApi as _;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Content, ContentBuilder, ObjectBuilder, OpenApi, PathItem, Ref, RefOr, Required, Response,
    ResponseBuilder, SecurityRequirement, Type,
};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Switchyard",
        version = "1",
        description = "What people may ask of the box. Times are Unix milliseconds, rates bytes a second, amounts decimal \
                       strings of smallest units. Lists come in pages: `next` of one is the `cursor` of the next.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    tags(
        (name = "box", description = "Who asks, and how the box stands"),
        (name = "configuration", description = "One typed tree: candidate, diff, commit, confirm, rollback"),
        (name = "tenants", description = "Who is on the box; made and changed in the configuration"),
        (name = "tokens", description = "Who may talk to the box"),
        (name = "market", description = "What is for sale, and buying it"),
        (name = "leases", description = "Leases, and what their owners do with them"),
        (name = "ledger", description = "Accounts, statements, invoices"),
        (name = "audit", description = "Who did what"),
        (name = "drain", description = "Emptying ports and vswitches before maintenance"),
        (name = "store", description = "Copies of the store, and whether it is in order"),
        (name = "vswitches", description = "Moving vswitches between boxes; private keys never move by this API"),
        (name = "live", description = "The running dataplane"),
        (name = "events", description = "What happens, as it happens"),
        (name = "taps", description = "Packets as they pass"),
    ),
    // Those that stand in queries alone are not found by themselves.
    components(schemas(Body, Format, PaperFormat)),
)]
struct Head;

/// What stands before the paths.
pub(crate) fn head() -> OpenApi {
    Head::openapi()
}

/// The document with what all operations have in common.
pub(crate) fn finished(mut document: OpenApi) -> OpenApi {
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", bearer);
    for kind in Kind::ALL {
        let response = RefOr::T(problem(kind));
        components.responses.insert(kind.name().to_owned(), response);
    }
    document.security = Some(vec![SecurityRequirement::new::<_, [&str; 0], &str>("token", [])]);
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            finish(path, method, operation);
        }
    }
    document
}

fn problem(kind: Kind) -> Response {
    let body = RefOr::Ref(Ref::from_schema_name("Problem"));
    let content: Content = ContentBuilder::new().schema(Some(body)).build();
    ResponseBuilder::new().description(kind.title()).content(PROBLEM_JSON, content).build()
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    [
        ("get", &mut item.get),
        ("put", &mut item.put),
        ("post", &mut item.post),
        ("delete", &mut item.delete),
        ("patch", &mut item.patch),
    ]
    .into_iter()
    .filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn finish(path: &str, method: &str, operation: &mut Operation) {
    // Names of handlers are unique in their files alone.
    let resource = path.trim_start_matches("/api/v1/").replace(['{', '}'], "");
    operation.operation_id = Some(format!("{method}_{}", resource.replace(['/', '-'], "_")));
    for kind in Kind::ALL {
        let status = kind.status().as_str().to_owned();
        let response = RefOr::Ref(Ref::from_response_name(kind.name()));
        operation.responses.responses.entry(status).or_insert(response);
    }
    if method != "get" {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(128))
            .build();
        let key = ParameterBuilder::new()
            .name(once::HEADER)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("The request is done once, however often it is sent with this key"))
            .schema(Some(text))
            .build();
        operation.parameters.get_or_insert_default().push(RefOr::T(key));
    }
}
