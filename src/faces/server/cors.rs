//! What browsers let pages of other origins do. The origins that the operator names may use the
//! server as its own pages do.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The headers that a page may send where its browser does not say which it wants to send.
const USUAL: &str = "authorization, content-type, last-event-id";
/// The longest list of headers that a browser may ask for, in bytes.
const LONGEST: usize = 1024;

/// Lets pages of `origin` read an answer. `asked`: the headers that such a page wants to send.
/// OpenAI's clients send many of their own.
pub(super) fn allow(headers: &mut HeaderMap, origin: HeaderValue, asked: Option<HeaderValue>) {
    let sent = asked.filter(are_names).unwrap_or(HeaderValue::from_static(USUAL));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, DELETE"));
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, sent);
    headers.insert(VARY, HeaderValue::from_static("origin, access-control-request-headers"));
}

/// Whether a list consists of names of headers and is not too long to be sent back.
fn are_names(list: &HeaderValue) -> bool {
    let names = list.as_bytes().split(|byte| *byte == b',');
    list.len() <= LONGEST && names.into_iter().all(|name| HeaderName::from_bytes(name.trim_ascii()).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_send_the_headers_that_it_asks_for() {
        let allowed = |asked: Option<&str>| {
            let mut headers = HeaderMap::new();
            let asked = asked.map(|asked| HeaderValue::from_str(asked).unwrap());
            allow(&mut headers, HeaderValue::from_static("https://talks.example"), asked);
            assert!(headers[VARY].to_str().unwrap().contains("access-control-request-headers"));
            headers[ACCESS_CONTROL_ALLOW_HEADERS].to_str().unwrap().to_owned()
        };
        let of_openai = "authorization,content-type,x-stainless-arch, x-stainless-retry-count";
        assert_eq!(allowed(Some(of_openai)), of_openai);
        assert_eq!(allowed(None), USUAL);
        for wrong in ["", "a,,b", "two words", "a:b", "<script>", &"x".repeat(LONGEST + 1)] {
            assert_eq!(allowed(Some(wrong)), USUAL, "{wrong}");
        }
    }
}
