//! The pages: the demo of `--dev`, and the dashboard. A few files that need nothing else, so that they work offline.

use std::io::Read;
use std::sync::LazyLock;

use aws_lc_rs::digest;
use flate2::read::GzDecoder;
use http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use super::answer::{Answer, Failure, typed};
use crate::gzip;

const POLICY: &str = "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:";

/// Where the dashboard is.
const DASHBOARD: &str = "/admin/";

/// One file of a page.
pub(super) struct File {
    path: &'static str,
    content_type: &'static str,
    content: &'static [u8],
    /// Whether `content` is compressed with gzip.
    is_packed: bool,
}

const FILES: [File; 7] = [
    File {
        path: "/",
        content_type: "text/html; charset=utf-8",
        content: include_bytes!("../../assets/demo/index.html"),
        is_packed: false,
    },
    File {
        path: "/style.css",
        content_type: "text/css; charset=utf-8",
        content: include_bytes!("../../assets/demo/style.css"),
        is_packed: false,
    },
    File {
        path: "/app.js",
        content_type: "text/javascript; charset=utf-8",
        content: include_bytes!("../../assets/demo/app.js"),
        is_packed: false,
    },
    // Made by sdk/demo/build.mjs.
    File {
        path: "/clients.js",
        content_type: "text/javascript; charset=utf-8",
        content: include_bytes!("../../assets/demo/clients.js.gz"),
        is_packed: true,
    },
    File {
        path: DASHBOARD,
        content_type: "text/html; charset=utf-8",
        content: include_bytes!("../../assets/admin/index.html"),
        is_packed: false,
    },
    File {
        path: "/admin/style.css",
        content_type: "text/css; charset=utf-8",
        content: include_bytes!("../../assets/admin/style.css"),
        is_packed: false,
    },
    File {
        path: "/admin/app.js",
        content_type: "text/javascript; charset=utf-8",
        content: include_bytes!("../../assets/admin/app.js"),
        is_packed: false,
    },
];

/// Changes with the contents of any file.
static TAG: LazyLock<HeaderValue> = LazyLock::new(|| {
    let mut hash = digest::Context::new(&digest::SHA256);
    FILES.iter().for_each(|file| hash.update(file.content));
    let hex: String = hash.finish().as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::from_str(&format!("\"{hex}\"")).expect("hexadecimal digits are a header value")
});

/// The file of the demo at a path.
pub(super) fn demo(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path && !path.starts_with(DASHBOARD))
}

/// The file of the dashboard at a path.
pub(super) fn dashboard(path: &str) -> Option<&'static File> {
    FILES.iter().find(|file| file.path == path && path.starts_with(DASHBOARD))
}

/// The file itself, or 304 for a browser that has it.
pub(super) fn serve(file: &File, method: &Method, headers: &HeaderMap) -> Answer {
    if method != Method::GET && method != Method::HEAD {
        return Err(Failure::method_not_allowed("GET, HEAD"));
    }
    let is_known = headers.get(IF_NONE_MATCH).is_some_and(|known| *known == *TAG);
    let stays_packed = file.is_packed && gzip::takes_gzip(headers);
    let (status, content) = match is_known {
        true => (StatusCode::NOT_MODIFIED, Vec::new()),
        false if file.is_packed && !stays_packed => (StatusCode::OK, unpacked(file.content)),
        false => (StatusCode::OK, file.content.to_vec()),
    };
    let mut response = typed(status, file.content_type, content);
    let headers = response.headers_mut();
    if file.is_packed {
        gzip::mark(headers, stays_packed);
    }
    headers.insert(ETAG, TAG.clone());
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    Ok(response)
}

fn unpacked(content: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    GzDecoder::new(content).read_to_end(&mut whole).expect("a file of the build, which is whole");
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packed_file_is_unpacked_for_who_does_not_take_it_so() {
        let clients = demo("/clients.js").unwrap();
        let plain = serve(clients, &Method::GET, &HeaderMap::new()).unwrap();
        assert!(plain.headers().get("content-encoding").is_none());
        assert!(unpacked(clients.content).starts_with(b"// Made by sdk/demo/build.mjs of @starling/client"));
        let headers = HeaderMap::from_iter([(http::header::ACCEPT_ENCODING, HeaderValue::from_static("gzip, br"))]);
        let packed = serve(clients, &Method::GET, &headers).unwrap();
        assert_eq!(packed.headers()["content-encoding"], "gzip");
        assert_eq!(packed.headers()["vary"], "Accept-Encoding");
    }

    #[test]
    fn a_browser_that_has_the_file_is_told_so() {
        let index = demo("/").unwrap();
        let first = serve(index, &Method::GET, &HeaderMap::new()).unwrap();
        assert_eq!(
            (first.status(), &first.headers()["content-security-policy"]),
            (StatusCode::OK, &HeaderValue::from_static(POLICY))
        );
        let mut headers = HeaderMap::new();
        headers.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        assert_eq!(serve(index, &Method::GET, &headers).unwrap().status(), StatusCode::NOT_MODIFIED);
        assert!(serve(index, &Method::POST, &headers).is_err());
        assert!(demo("/nothing").is_none() && dashboard("/nothing").is_none());
        assert!(demo("/admin/").is_none() && dashboard("/").is_none(), "each page is apart");
    }
}
