//! Who may do what: hosts, origins, tokens and numbers of connections. All of it is checked before
//! a request reaches a handler, and before a WebSocket is accepted.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use serde::{Deserialize, Serialize};

use super::reply::Problem;
use super::secret::Digest;

/// The most live sessions of one token, where its line says nothing else, and of one address
/// without a token.
const SESSIONS_PER_TOKEN: usize = 8;
const SESSIONS_PER_ADDRESS: usize = 4;
/// The shortest token, in characters.
const SHORTEST_TOKEN: usize = 16;

/// Who makes a request, as far as limits go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// The digest of the token.
    Token(Digest),
    Address(IpAddr),
}

/// The rules of a server.
pub(super) struct Guard {
    tokens_file: Option<PathBuf>,
    tokens: RwLock<Tokens>,
    /// Names that the `Host` header may have, besides `localhost` and addresses; `None`: any.
    hosts: Option<Vec<String>>,
    /// Origins besides the server's own, exactly as browsers write them.
    origins: Vec<String>,
    /// Addresses of proxies, which say whom they ask for.
    proxies: Vec<IpAddr>,
    /// The most sockets of one address.
    sockets: usize,
    counts: Arc<Mutex<HashMap<Count, usize>>>,
}

/// What is in the tokens file.
#[derive(Default)]
struct Tokens {
    lines: Vec<Token>,
    /// Counts readings of the file. A line number of an earlier reading is not valid any more.
    readings: u64,
}

/// A token by its line: who reads this learns nothing about the token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub at: usize,
    /// The reading of the file that numbered the lines.
    pub reading: u64,
}

/// A line of the tokens file: `TOKEN [SESSIONS]`.
struct Token {
    digest: Digest,
    sessions: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Count {
    Sockets(IpAddr),
    Sessions(Who),
}

/// A place among the sockets or the sessions. Dropping it frees the place.
pub(super) struct Place {
    counts: Arc<Mutex<HashMap<Count, usize>>>,
    of: Count,
}

impl Place {
    /// Whether it is a place among the sessions of `who`.
    pub(super) fn is_of(&self, who: &Who) -> bool {
        matches!(&self.of, Count::Sessions(of) if of == who)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.of);
            }
        }
    }
}

/// The tokens file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TokensError {
    #[error("{path}: {source}")]
    Read { path: String, source: std::io::Error },
    #[error("{path}, line {line}: {what}")]
    Line { path: String, line: usize, what: &'static str },
    #[error("{path}: it has no token")]
    Empty { path: String },
}

impl Guard {
    /// `tokens_file`: one token a line; `None`: nobody needs one. The others: see the fields.
    pub(super) fn new(
        tokens_file: Option<PathBuf>,
        hosts: Option<Vec<String>>,
        origins: Vec<String>,
        proxies: Vec<IpAddr>,
        sockets: usize,
    ) -> Result<Guard, TokensError> {
        let lines = tokens_file.as_deref().map(read_tokens).transpose()?.unwrap_or_default();
        Ok(Guard {
            tokens_file,
            tokens: RwLock::new(Tokens { lines, readings: 0 }),
            hosts,
            origins,
            proxies,
            sockets,
            counts: Arc::default(),
        })
    }

    /// Reads the tokens file again. After an error the former tokens stay.
    pub(super) fn reload(&self) -> Result<(), TokensError> {
        if let Some(path) = &self.tokens_file {
            let lines = read_tokens(path)?;
            let mut tokens = self.tokens.write().unwrap_or_else(PoisonError::into_inner);
            *tokens = Tokens { lines, readings: tokens.readings + 1 };
        }
        Ok(())
    }

    fn tokens(&self) -> RwLockReadGuard<'_, Tokens> {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether requests need a token.
    pub(super) fn wants_token(&self) -> bool {
        self.tokens_file.is_some()
    }

    /// Checks the `Host` header, and the `Origin` of whatever a browser could misuse: WebSockets
    /// and requests that change something.
    pub(super) fn check_origin(&self, method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
        let forbidden = |what: &str| Problem::new(StatusCode::FORBIDDEN, what);
        let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        if !self.serves(name_of(host)) {
            return Err(forbidden("this host name is not served here; --host-name allows one"));
        }
        let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) || headers.contains_key(UPGRADE);
        let mut origins = headers.get_all(ORIGIN).iter();
        let Some(origin) = origins.next().filter(|_| changes) else { return Ok(()) };
        let origin = origin.to_str().unwrap_or_default();
        let own =
            ["http://", "https://"].iter().any(|scheme| origin.strip_prefix(scheme) == Some(host) && !host.is_empty());
        if origins.next().is_none() && (own || self.origins.iter().any(|allowed| allowed == origin)) {
            return Ok(());
        }
        Err(forbidden("pages of this origin may not use the server; --allow-origin allows one"))
    }

    /// Whether requests may call the server by `name`. A page of another site can have its own name
    /// resolve to this server, and its requests still bear that name. It is never an address.
    fn serves(&self, name: &str) -> bool {
        let Some(hosts) = &self.hosts else { return true };
        let own = |host: &str| host.eq_ignore_ascii_case(name);
        own("localhost") || is_address(name) || hosts.iter().any(|host| own(host))
    }

    /// The origin of a request, if its answer may be read by that page.
    pub(super) fn readable_by(&self, headers: &HeaderMap) -> Option<String> {
        let origin = headers.get(ORIGIN)?.to_str().ok()?;
        self.origins.iter().find(|allowed| *allowed == origin).cloned()
    }

    /// Who makes the request. Fails where a token is needed and none is valid.
    pub(super) fn who(&self, uri: &Uri, headers: &HeaderMap, address: IpAddr) -> Result<Who, Problem> {
        if !self.wants_token() {
            return Ok(Who::Address(address));
        }
        let tokens = self.tokens();
        for given in given_tokens(uri, headers) {
            let digest = Digest::of(&given);
            // All are compared, so the time says nothing about which one was close.
            let mut found = None;
            for token in &tokens.lines {
                if token.digest == digest {
                    found = Some(&token.digest);
                }
            }
            if let Some(digest) = found {
                return Ok(Who::Token(digest.clone()));
            }
        }
        Err(Problem::new(StatusCode::UNAUTHORIZED, "a valid token is needed"))
    }

    /// The line of a token that is still in the file.
    pub(super) fn line(&self, digest: &Digest) -> Option<Line> {
        let tokens = self.tokens();
        let at = tokens.lines.iter().position(|token| token.digest == *digest)?;
        Some(Line { at, reading: tokens.readings })
    }

    /// Who has the token of a line, if the file was not read again since.
    pub(super) fn of_line(&self, line: Line) -> Option<Who> {
        let tokens = self.tokens();
        let token = tokens.lines.get(line.at).filter(|_| line.reading == tokens.readings)?;
        Some(Who::Token(token.digest.clone()))
    }

    /// The address of a request's client: of the socket, or, behind a proxy that is known, the last
    /// one that the proxy names.
    pub(super) fn client(&self, socket: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.proxies.contains(&socket) {
            return socket;
        }
        let named = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
        let last = named.and_then(|value| value.rsplit(',').next()?.trim().parse().ok());
        last.unwrap_or(socket)
    }

    /// A place for a socket of `address`. The sockets of a known proxy are those of many clients.
    pub(super) fn socket(&self, address: IpAddr) -> Option<Place> {
        let most = if self.proxies.contains(&address) { usize::MAX } else { self.sockets };
        self.place(Count::Sockets(address), most)
    }

    /// A place for a live session.
    pub(super) fn session(&self, who: &Who) -> Option<Place> {
        let most = match who {
            Who::Token(digest) => {
                let tokens = self.tokens();
                // A token that was taken away opens nothing more.
                tokens.lines.iter().find(|token| token.digest == *digest).map_or(0, |token| token.sessions)
            }
            Who::Address(address) if address.is_loopback() => usize::MAX,
            Who::Address(_) => SESSIONS_PER_ADDRESS,
        };
        self.place(Count::Sessions(who.clone()), most)
    }

    fn place(&self, of: Count, most: usize) -> Option<Place> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(of.clone()).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place { counts: self.counts.clone(), of })
    }
}

/// The name in a `Host` header, without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

/// Whether a name in a `Host` header is an address.
fn is_address(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|name| name.strip_suffix(']')) {
        Some(name) => name.parse::<Ipv6Addr>().is_ok(),
        None => name.parse::<Ipv4Addr>().is_ok(),
    }
}

/// All tokens that a request gives: in its header, its query, or its WebSocket's protocols, as
/// clients of other services do.
pub(super) fn given_tokens(uri: &Uri, headers: &HeaderMap) -> Vec<String> {
    let mut given = Vec::new();
    for value in headers.get_all(AUTHORIZATION).iter().filter_map(|value| value.to_str().ok()) {
        if let Some((scheme, token)) = value.split_once(' ')
            && (scheme.eq_ignore_ascii_case("bearer") || scheme.eq_ignore_ascii_case("token"))
        {
            given.push(token.trim().to_owned());
        }
    }
    given.extend(query_value(uri, "token"));
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok()) {
        let protocols: Vec<&str> = value.split(',').map(str::trim).collect();
        given.extend(protocols.iter().filter_map(|p| p.strip_prefix("openai-insecure-api-key.")).map(str::to_owned));
        // `token, KEY`
        given.extend(protocols.windows(2).filter(|pair| pair[0] == "token").map(|pair| pair[1].to_owned()));
    }
    given
}

/// The value of a query parameter.
pub(super) fn query_value(uri: &Uri, name: &str) -> Option<String> {
    let query = uri.query()?;
    let pairs: Vec<(String, String)> = serde_urlencoded_pairs(query);
    pairs.into_iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

fn serde_urlencoded_pairs(query: &str) -> Vec<(String, String)> {
    axum::extract::Query::<Vec<(String, String)>>::try_from_uri(
        &Uri::builder().path_and_query(format!("/?{query}")).build().unwrap_or_default(),
    )
    .map(|pairs| pairs.0)
    .unwrap_or_default()
}

fn read_tokens(path: &Path) -> Result<Vec<Token>, TokensError> {
    let name = || path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| TokensError::Read { path: name(), source })?;
    let mut tokens = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what| TokensError::Line { path: name(), line: at + 1, what };
        let (token, sessions) = match line.split_once(char::is_whitespace) {
            Some((token, sessions)) => {
                (token, sessions.trim().parse().map_err(|_| wrong("the number of sessions is not a number"))?)
            }
            None => (line, SESSIONS_PER_TOKEN),
        };
        if token.len() < SHORTEST_TOKEN {
            return Err(wrong("a token needs at least 16 characters"));
        }
        tokens.push(Token { digest: Digest::of(token), sessions });
    }
    if tokens.is_empty() {
        return Err(TokensError::Empty { path: name() });
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for (name, value) in pairs {
            let name: axum::http::HeaderName = name.parse().unwrap();
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        map
    }

    fn guard(hosts: &[&str], origins: &[&str]) -> Guard {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        Guard::new(None, Some(own(hosts)), own(origins), Vec::new(), 256).unwrap()
    }

    #[test]
    fn foreign_pages_cannot_open_a_websocket() {
        let guard = guard(&[], &["https://talks.example"]);
        let check = |host: &str, origin: Option<&str>| {
            let mut pairs = vec![("host", host), ("upgrade", "websocket")];
            pairs.extend(origin.map(|origin| ("origin", origin)));
            guard.check_origin(&Method::GET, &headers(&pairs)).is_ok()
        };
        assert!(check("localhost:8000", None), "not a browser");
        assert!(check("127.0.0.1:8000", Some("http://127.0.0.1:8000")));
        assert!(check("[::1]:8000", Some("http://[::1]:8000")));
        assert!(check("localhost:8000", Some("https://talks.example")));
        for origin in [
            "null",
            "",
            "http://localhost",
            "http://localhost:8001",
            "http://localhost:8000.evil.example",
            "http://evil.example",
            "https://talks.example.evil.example",
            "https://TALKS.example",
            "https://talks.example:8443",
        ] {
            assert!(!check("localhost:8000", Some(origin)), "{origin}");
        }
    }

    /// A page that has its own name resolve to the server gives that name as host and as origin.
    #[test]
    fn a_name_of_somebody_else_is_not_served() {
        let check = |guard: &Guard, host: &str| {
            let origin = format!("http://{host}");
            guard.check_origin(&Method::POST, &headers(&[("host", host), ("origin", &origin)])).is_ok()
        };
        let own = guard(&["captions.example"], &[]);
        for host in ["localhost:8000", "192.168.1.5:8000", "192.168.1.5", "[fd00::5]:8000", "Captions.example"] {
            assert!(check(&own, host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8000",
            "localhost.evil.example",
            "127.0.0.1.nip.example:8000",
            "127.1",
            "::1",
            "[127.0.0.1]",
            "[evil.example]",
            "",
        ] {
            assert!(!check(&own, host), "{host}");
        }
        let any = Guard::new(None, None, Vec::new(), Vec::new(), 256).unwrap();
        assert!(check(&any, "some.example"));
    }

    #[test]
    fn reading_needs_no_origin_and_changing_does() {
        let guard = guard(&["a.example"], &[]);
        let foreign = headers(&[("host", "a.example"), ("origin", "http://b.example")]);
        assert!(guard.check_origin(&Method::GET, &foreign).is_ok());
        for method in [Method::POST, Method::DELETE, Method::PUT] {
            assert!(guard.check_origin(&method, &foreign).is_err(), "{method}");
        }
        let twice = headers(&[("host", "a.example"), ("origin", "http://a.example"), ("origin", "http://b.example")]);
        assert!(guard.check_origin(&Method::POST, &twice).is_err());
    }

    #[test]
    fn only_a_known_proxy_is_believed() {
        let proxy: IpAddr = [192, 0, 2, 9].into();
        let guard = Guard::new(None, None, Vec::new(), vec![proxy], 256).unwrap();
        let forwarded = headers(&[("x-forwarded-for", "203.0.113.7, 198.51.100.1")]);
        let client = |socket: [u8; 4], headers: &HeaderMap| guard.client(socket.into(), headers).to_string();
        assert_eq!(client([192, 0, 2, 9], &forwarded), "198.51.100.1", "what the proxy itself saw");
        assert_eq!(client([192, 0, 2, 8], &forwarded), "192.0.2.8");
        assert_eq!(client([192, 0, 2, 9], &headers(&[("x-forwarded-for", "nobody")])), "192.0.2.9");
        assert!((0..300).map(|_| guard.socket(proxy)).collect::<Vec<_>>().iter().all(Option::is_some));
        let other = (0..300).map(|_| guard.socket([192, 0, 2, 8].into())).collect::<Vec<_>>();
        assert_eq!(other.iter().flatten().count(), 256);
    }

    #[test]
    fn tokens_come_by_header_query_or_protocol() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# who\nfirst-token-of-16\nsecond-token-of-16 2\n").unwrap();
        let guard = Guard::new(Some(file.path().to_owned()), None, Vec::new(), Vec::new(), 256).unwrap();
        let address: IpAddr = [192, 0, 2, 1].into();
        let token = |text: &str| Who::Token(Digest::of(text));
        let who = |uri: &str, pairs: &[(&str, &str)]| guard.who(&uri.parse().unwrap(), &headers(pairs), address);
        assert_eq!(who("/", &[("authorization", "Bearer first-token-of-16")]).unwrap(), token("first-token-of-16"));
        assert_eq!(who("/", &[("authorization", "token second-token-of-16")]).unwrap(), token("second-token-of-16"));
        assert_eq!(who("/?a=b&token=second-token-of-16", &[]).unwrap(), token("second-token-of-16"));
        let protocols = "realtime, openai-insecure-api-key.first-token-of-16";
        assert_eq!(who("/", &[("sec-websocket-protocol", protocols)]).unwrap(), token("first-token-of-16"));
        assert_eq!(
            who("/", &[("sec-websocket-protocol", "token, first-token-of-16")]).unwrap(),
            token("first-token-of-16")
        );
        for pairs in
            [&[][..], &[("authorization", "Bearer first-token-of-1")], &[("authorization", "first-token-of-16")]]
        {
            assert!(who("/", pairs).is_err(), "{pairs:?}");
        }
        let second = token("second-token-of-16");
        let two: Vec<Place> = (0..2).map(|_| guard.session(&second).unwrap()).collect();
        assert!(guard.session(&second).is_none(), "its line allows two");
        let line = guard.line(&Digest::of("second-token-of-16")).unwrap();
        assert_eq!(guard.of_line(line), Some(second.clone()));
        std::fs::write(file.path(), "third-token-of-16 1\nsecond-token-of-16 3\n").unwrap();
        guard.reload().unwrap();
        assert_eq!(guard.of_line(line), None, "its lines may be others now");
        assert!(who("/?token=first-token-of-16", &[]).is_err(), "it was taken away");
        assert!(guard.session(&token("first-token-of-16")).is_none(), "it was taken away");
        // The sessions that run still count for their token, whatever its line is now.
        let third = guard.session(&second).expect("its line now allows three");
        assert!(guard.session(&second).is_none());
        assert!(guard.session(&token("third-token-of-16")).is_some());
        drop((two, third));
        assert!(guard.session(&second).is_some());
        std::fs::write(file.path(), "short\n").unwrap();
        assert!(guard.reload().is_err());
        assert!(who("/?token=third-token-of-16", &[]).is_ok(), "after an error the former tokens stay");
    }
}
