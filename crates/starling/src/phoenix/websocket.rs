//! `/socket/websocket`.

use std::net::IpAddr;
use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::{Request, Response, header};
use starling_core::{ErrorCode, Refusal};
use starling_proto::phoenix::{PROTOCOL, PhoenixSession};

use super::{SUBPROTOCOL, TOKEN_PREFIX, claims, forbidden, may_come_later, serializer};
use crate::http::Body;
use crate::shared::Shared;
use crate::upgrade::{Refused, admit, begin, joined, new_identity, switch};
use crate::worker::new_connection_id;

const UNPADDED: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

/// Answers a request for `/socket/websocket`: with 101 and a connection on a worker, or with a reason why not.
pub(crate) async fn websocket<B>(shared: &Arc<Shared>, request: Request<B>, client: IpAddr) -> Response<Body> {
    accept(shared, request, client).await.unwrap_or_else(|response| *response)
}

async fn accept<B>(shared: &Arc<Shared>, request: Request<B>, client: IpAddr) -> Result<Response<Body>, Refused> {
    let live = shared.live.load_full();
    let handshake = begin(shared, &live, &request, client)?;
    let query = request.uri().query().unwrap_or_default();
    let serializer = serializer(query, true)?;
    let offered = joined(request.headers(), header::SEC_WEBSOCKET_PROTOCOL).unwrap_or_default();
    let token = offered_token(&offered)?;
    let claims = claims(shared, &live, request.headers(), query, token.as_deref()).await?;
    let identity = new_identity(&live, PROTOCOL, new_connection_id());
    let admitted = admit(shared, &live, identity, claims, may_come_later(&live))
        .await
        .map_err(|refused| forbidden(&refused.refusal()))?;
    let subprotocol = offered.split(',').any(|name| name.trim() == SUBPROTOCOL).then_some(SUBPROTOCOL);
    Ok(switch(shared, request, handshake, admitted, Box::new(PhoenixSession::new(serializer)), subprotocol).await)
}

/// The token among the offered subprotocols. In spite of its name it comes in either alphabet of base64.
fn offered_token(offered: &str) -> Result<Option<String>, Refused> {
    let Some(encoded) = offered.split(',').find_map(|name| name.trim().strip_prefix(TOKEN_PREFIX)) else {
        return Ok(None);
    };
    let decode = |alphabet| GeneralPurpose::new(alphabet, UNPADDED).decode(encoded).ok();
    let decoded = decode(&STANDARD).or_else(|| decode(&URL_SAFE));
    match decoded.and_then(|bytes| String::from_utf8(bytes).ok()) {
        Some(token) => Ok(Some(token)),
        None => Err(forbidden(&Refusal::new(ErrorCode::TokenInvalid, "the token is not base64"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_beside_the_subprotocol() {
        for (offered, token) in [
            ("", Some(None)),
            ("phoenix", Some(None)),
            ("phoenix, base64url.bearer.phx.YS5iLmM", Some(Some("a.b.c"))),
            ("phoenix,base64url.bearer.phx.YS5iLmM=", Some(Some("a.b.c"))),
            ("phoenix, base64url.bearer.phx.Pz8_", Some(Some("???"))),
            ("phoenix, base64url.bearer.phx.Pz8/", Some(Some("???"))),
            ("phoenix, base64url.bearer.phx.*", None),
            ("phoenix, base64url.bearer.phx._w", None),
        ] {
            assert_eq!(offered_token(offered).ok(), token.map(|token| token.map(str::to_owned)), "{offered}");
        }
    }
}
