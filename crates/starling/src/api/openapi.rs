//! The OpenAPI 3.1 document, made from the calls themselves.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use http::StatusCode;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{Components, ContentBuilder, OpenApi, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, OpenApi as _, ToSchema};

use super::answer::{Answer, ErrorObject, json_text};
use super::routes::{Calls, Visit};

/// The name of the way in with `key:secret`.
const BASIC: &str = "appBasic";
/// The name of the way in with the secret alone.
const SECRET: &str = "appSecret";

const DESCRIPTION: &str = "Publish, look at channels, and act on users and connections from a backend. \
    Each app signs in with its own credentials and sees nothing of another. Names in paths are percent-encoded.";

static DOCUMENT: LazyLock<Vec<u8>> =
    LazyLock::new(|| document().to_json().expect("a document has nothing that JSON cannot say").into_bytes());

/// This document
///
/// The same for everybody, so without credentials.
#[utoipa::path(
    get, path = "/api/openapi.json", tag = "meta",
    security(()),
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value)),
)]
pub(super) async fn get_openapi(_: Visit) -> Answer {
    Ok(json_text(StatusCode::OK, DOCUMENT.clone()))
}

pub(super) fn document() -> OpenApi {
    let mut document = Calls::openapi();
    document.info.title = "Starling HTTP API".to_owned();
    document.info.description = Some(DESCRIPTION.to_owned());
    document.security = Some([BASIC, SECRET].map(|name| SecurityRequirement::new(name, [""; 0])).into());
    let components = document.components.get_or_insert_with(Components::new);
    for (name, scheme, description) in [
        (BASIC, HttpAuthScheme::Basic, "An app's key and secret."),
        (SECRET, HttpAuthScheme::Bearer, "An app's secret."),
        (super::ticket::USER, HttpAuthScheme::Bearer, "A user's JWT."),
    ] {
        let scheme = HttpBuilder::new().scheme(scheme).description(Some(description)).build();
        components.add_security_scheme(name, SecurityScheme::Http(scheme));
    }
    document
}

/// The refusals that every call of an app may meet.
pub(super) struct Refused;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let statuses = [
            ("400", "The request is not of its form; nothing was done"),
            ("401", "No app's credentials"),
            ("403", "No channel rule allows this channel; nothing was done"),
            ("413", "A payload or the body is too large; nothing was done"),
            ("503", "The engine is not available"),
        ];
        let error = RefOr::Ref(utoipa::openapi::Ref::from_schema_name(ErrorObject::name()));
        statuses
            .map(|(status, description)| {
                let content = ContentBuilder::new().schema(Some(error.clone())).build();
                let response = ResponseBuilder::new().description(description).content("application/json", content);
                (status.to_owned(), RefOr::T(response.build()))
            })
            .into()
    }
}
