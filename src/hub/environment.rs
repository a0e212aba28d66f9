//! Settings for the Hub and the network from the environment, as Python's `huggingface_hub` reads
//! them.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use ureq::Proxy;
use ureq::http::Uri;

use crate::weights::error::{CheckpointError, Remedy, shown};

const ENDPOINT: &str = "https://huggingface.co";
/// A stored token is never longer than this, in bytes.
const MAX_TOKEN: u64 = 64 << 10;

/// Returns the value of a variable if it is set.
type Lookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The settings. An unusable value is not an error here, so that everything that needs no network
/// works regardless.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    pub cache: PathBuf,
    pub endpoint: String,
    pub token: Option<String>,
    pub offline: bool,
    pub proxies: Proxies,
    pub certificates: Certificates,
    /// The first unusable value.
    pub bad_setting: Option<BadSetting>,
}

/// An unusable value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BadSetting {
    /// The variable, or the file.
    pub name: String,
    pub what: String,
    pub remedy: &'static str,
}

impl From<BadSetting> for CheckpointError {
    fn from(bad_setting: BadSetting) -> CheckpointError {
        CheckpointError::Environment {
            name: bad_setting.name,
            what: bad_setting.what,
            remedy: Remedy::from(bad_setting.remedy),
        }
    }
}

/// Which proxy a request goes through.
#[derive(Clone, Debug, Default)]
pub(super) struct Proxies {
    pub http: Option<Proxy>,
    pub https: Option<Proxy>,
    /// Hosts that are contacted directly.
    pub direct: Vec<String>,
}

/// Which certificates are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Certificates {
    /// Variables that name files or folders of certificates. If empty, the system's certificates
    /// are used.
    pub named: Vec<(&'static str, PathBuf)>,
}

impl Environment {
    pub(super) fn read() -> Environment {
        Environment::from_lookup(&|name| std::env::var_os(name))
    }

    pub(super) fn from_lookup(variable: Lookup) -> Environment {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(|value| expanded(value, variable));
        let text = |name: &str| text(variable, name).unwrap_or_default();
        let caches = || path("XDG_CACHE_HOME").unwrap_or_else(|| user_folder(variable).join(".cache"));
        let home = path("HF_HOME").unwrap_or_else(|| caches().join("huggingface"));
        let cache = path("HF_HUB_CACHE").or_else(|| path("HUGGINGFACE_HUB_CACHE"));
        let token_file = path("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));

        let mut bad_setting = None;
        let mut note = |found: BadSetting| {
            bad_setting.get_or_insert(found);
        };
        let endpoint = endpoint(&text("HF_ENDPOINT")).map_err(&mut note).unwrap_or_default();
        let token = token(variable, &token_file).map_err(&mut note).unwrap_or_default();
        let mut proxy = |names: &[&str]| proxy(variable, names).map_err(&mut note).unwrap_or_default();
        let http = proxy(&["http_proxy", "all_proxy"]);
        // A proxy that is set is never bypassed: if there is none for https, the one for http is
        // used.
        let https = proxy(&["https_proxy", "all_proxy", "http_proxy"]);
        let proxies = Proxies { http, https, direct: direct_hosts(variable) };
        Environment {
            cache: cache.unwrap_or_else(|| home.join("hub")),
            endpoint,
            token,
            offline: ["1", "on", "yes", "true"].contains(&text("HF_HUB_OFFLINE").to_lowercase().as_str()),
            proxies,
            certificates: Certificates::from_lookup(variable),
            bad_setting,
        }
    }
}

/// The trimmed text of a variable; `None` if it is not set or not UTF-8.
fn text(variable: Lookup, name: &str) -> Option<String> {
    variable(name).and_then(|value| value.into_string().ok()).map(|value| value.trim().to_owned())
}

fn user_folder(variable: Lookup) -> PathBuf {
    let set = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("HOME").or_else(|| set("USERPROFILE")).or_else(std::env::home_dir).unwrap_or_else(|| PathBuf::from("."))
}

/// Expands `~` and variables in a path, like Python's `expanduser` and `expandvars`: unknown names
/// stay.
fn expanded(value: OsString, variable: Lookup) -> PathBuf {
    // A path that is not UTF-8 stays as it is.
    let Some(text) = value.to_str() else { return PathBuf::from(value) };
    let is_separator = |symbol: char| symbol == '/' || (cfg!(windows) && symbol == '\\');
    let text = match text.strip_prefix('~') {
        Some(rest) => {
            let (user, below) = rest.split_at(rest.find(is_separator).unwrap_or(rest.len()));
            let folder = if user.is_empty() { Some(user_folder(variable)) } else { folder_of(user) };
            folder.and_then(|folder| Some(format!("{}{below}", folder.to_str()?))).unwrap_or_else(|| text.to_owned())
        }
        None => text.to_owned(),
    };
    PathBuf::from(with_variables(&text, variable))
}

/// The home folder of another user of this computer.
fn folder_of(user: &str) -> Option<PathBuf> {
    let users = if cfg!(unix) { std::fs::read_to_string("/etc/passwd").ok()? } else { return None };
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>()).find(|fields| fields[0] == user)?;
    fields.get(5).map(PathBuf::from)
}

/// Replaces `$NAME` and `${NAME}` for variables that are set.
fn with_variables(text: &str, variable: Lookup) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after_sign = &rest[at + 1..];
        let braced = after_sign.strip_prefix('{').and_then(|inside| inside.split_once('}'));
        let plain_len = after_sign.find(|symbol: char| !symbol.is_ascii_alphanumeric() && symbol != '_');
        let (name, after) = braced.unwrap_or_else(|| after_sign.split_at(plain_len.unwrap_or(after_sign.len())));
        let value = if name.is_empty() { None } else { variable(name).and_then(|value| value.into_string().ok()) };
        match value {
            Some(value) => {
                out.push_str(&value);
                rest = after;
            }
            None => {
                out.push('$');
                rest = after_sign;
            }
        }
    }
    out + rest
}

/// The Hub's URL, without slashes at its end. Errors: it is not a usable URL.
fn endpoint(value: &str) -> Result<String, BadSetting> {
    if value.is_empty() {
        return Ok(ENDPOINT.to_owned());
    }
    let bad_setting = |what: String| BadSetting {
        name: "HF_ENDPOINT".to_owned(),
        what,
        remedy: "write an address such as https://huggingface.co",
    };
    if !["https://", "http://"].iter().any(|scheme| value.to_ascii_lowercase().starts_with(scheme)) {
        return Err(bad_setting(format!("{} does not start with https:// or http://", shown(value))));
    }
    match value.parse::<Uri>() {
        Err(error) => Err(bad_setting(format!("{} is not an address ({error})", shown(value)))),
        Ok(uri) if uri.host().is_none_or(str::is_empty) => Err(bad_setting(format!("{} has no host", shown(value)))),
        Ok(uri) if uri.query().is_some() => Err(bad_setting(format!("{} has a query", shown(value)))),
        Ok(_) => Ok(value.trim_end_matches('/').to_owned()),
    }
}

/// The value of `HF_TOKEN`, or the token that `hf auth login` stored.
fn token(variable: Lookup, file: &Path) -> Result<Option<String>, BadSetting> {
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Some(value) = variable(name)
            && let Some(token) = checked_token(name, &value.to_string_lossy())?
        {
            return Ok(Some(token));
        }
    }
    let Ok(open) = std::fs::File::open(file) else { return Ok(None) };
    let mut bytes = Vec::new();
    match open.take(MAX_TOKEN).read_to_end(&mut bytes) {
        Ok(_) => checked_token(&file.display().to_string(), &String::from_utf8_lossy(&bytes)),
        Err(_) => Ok(None),
    }
}

/// Checks a token. It goes into a request header, so it must be one line of printable ASCII. It
/// never appears in a message.
fn checked_token(name: &str, value: &str) -> Result<Option<String>, BadSetting> {
    let value = value.trim();
    let what = match value.chars().find(|symbol| !symbol.is_ascii_graphic()) {
        None => return Ok(Some(value.to_owned()).filter(|token| !token.is_empty())),
        Some('\n' | '\r') => "contains a line break".to_owned(),
        Some('\u{feff}') => "contains a byte order mark".to_owned(),
        Some(symbol) if symbol.is_ascii() => format!("contains {symbol:?}"),
        Some(symbol) => format!("contains {symbol:?}, which is not ASCII"),
    };
    let remedy = "a token is one word of letters and digits; copy it again from the settings of your account";
    Err(BadSetting { name: name.to_owned(), what, remedy })
}

/// The proxy that the first variable of `names` that is set gives. A lower-case name takes
/// precedence, and an empty value means no proxy.
fn proxy(variable: Lookup, names: &[&str]) -> Result<Option<Proxy>, BadSetting> {
    for name in names {
        let Some((name, value)) = either_case(variable, name) else { continue };
        if value.is_empty() {
            continue;
        }
        return match Proxy::new(&value) {
            Ok(proxy) => Ok(Some(proxy)),
            // The value may contain a password.
            Err(_) => Err(BadSetting {
                name,
                what: "is not the address of a supported proxy".to_owned(),
                remedy: "write http://HOST:PORT, https://HOST:PORT, socks4://HOST:PORT or socks5://HOST:PORT",
            }),
        };
    }
    Ok(None)
}

fn direct_hosts(variable: Lookup) -> Vec<String> {
    let (_, list) = either_case(variable, "no_proxy").unwrap_or_default();
    list.split(',').map(|host| host.trim().to_ascii_lowercase()).filter(|host| !host.is_empty()).collect()
}

/// The name and value of a variable that is spelled in lower or in upper case. A value that is not
/// UTF-8 is kept in lossy form, so that it is reported as wrong.
fn either_case(variable: Lookup, name: &str) -> Option<(String, String)> {
    [name.to_owned(), name.to_ascii_uppercase()].into_iter().find_map(|name| {
        let value = variable(&name)?;
        Some((name, value.to_string_lossy().trim().to_owned()))
    })
}

impl Proxies {
    /// The proxy for a URL; `None` if its host is contacted directly.
    pub(super) fn for_url(&self, url: &Uri) -> Option<&Proxy> {
        let host = url.host().unwrap_or_default().to_ascii_lowercase();
        let port = url.port_u16();
        let is_direct = self.direct.iter().any(|entry| {
            let (name, only_port) = match entry.rsplit_once(':') {
                Some((name, port)) if !name.contains(':') => (name, port.parse().ok()),
                _ => (entry.as_str(), None),
            };
            let name = name.trim_start_matches('*').trim_start_matches('.');
            let is_below = || host.strip_suffix(name).is_some_and(|before| before.ends_with('.'));
            entry == "*"
                || (!name.is_empty() && (host == name || is_below()) && (only_port.is_none() || only_port == port))
        });
        match url.scheme_str() {
            _ if is_direct => None,
            Some("http") => self.http.as_ref(),
            _ => self.https.as_ref(),
        }
    }
}

impl Certificates {
    /// Reads the variables that OpenSSL, Python's `requests` and curl use.
    fn from_lookup(variable: Lookup) -> Certificates {
        let mut named = Vec::new();
        for name in ["SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"] {
            let Some(value) = variable(name).filter(|value| !value.is_empty()) else { continue };
            match name {
                "SSL_CERT_DIR" => named.extend(std::env::split_paths(&value).map(|folder| (name, folder))),
                _ => named.push((name, PathBuf::from(value))),
            }
        }
        Certificates { named }
    }

    /// The certificates in DER; if empty, the program's own list of public authorities is used.
    pub(super) fn load(&self) -> Result<Vec<Vec<u8>>, BadSetting> {
        let Some((name, path)) = self.named.first() else {
            let found = rustls_native_certs::load_native_certs();
            return Ok(found.certs.iter().map(|certificate| certificate.to_vec()).collect());
        };
        let mut certificates = Vec::new();
        let mut errors = Vec::new();
        for (_, path) in &self.named {
            let (file, folder) = if path.is_dir() { (None, Some(&**path)) } else { (Some(&**path), None) };
            let found = rustls_native_certs::load_certs_from_paths(file, folder);
            certificates.extend(found.certs.iter().map(|certificate| certificate.to_vec()));
            errors.extend(found.errors);
        }
        if !certificates.is_empty() {
            return Ok(certificates);
        }
        let why = errors.first().map_or(String::new(), |error| format!(" ({})", shown(&error.to_string())));
        Err(BadSetting {
            name: (*name).to_owned(),
            what: format!("no certificate can be read from {}{why}", path.display()),
            remedy: "set it to a file of certificates in PEM format, or unset it",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Environment {
        Environment::from_lookup(&|name| {
            variables.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(*value))
        })
    }

    #[test]
    fn folders() {
        let cache = |variables: &[(&str, &str)]| {
            let home = [("HOME", "/h"), ("DISK", "/d"), ("X_1", "x")];
            read(&[&home, variables].concat()).cache
        };
        assert_eq!(cache(&[]), Path::new("/h/.cache/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "/c")]), Path::new("/c/huggingface/hub"));
        assert_eq!(cache(&[("XDG_CACHE_HOME", "~/c"), ("HF_HOME", "")]), Path::new("/h/c/huggingface/hub"));
        for (home, expected) in [
            ("~", "/h/hub"),
            ("~/hf", "/h/hf/hub"),
            ("$HOME/hf", "/h/hf/hub"),
            ("${DISK}/$X_1", "/d/x/hub"),
            ("/a/$X_1$X_1", "/a/xx/hub"),
            ("/a/$UNSET/${UNSET}/$", "/a/$UNSET/${UNSET}/$/hub"),
            ("/a/${X_1", "/a/${X_1/hub"),
            ("/a~/b", "/a~/b/hub"),
            ("~nobody-of-this-name/b", "~nobody-of-this-name/b/hub"),
        ] {
            assert_eq!(cache(&[("HF_HOME", home)]), Path::new(expected), "{home}");
            assert_eq!(cache(&[("HF_HUB_CACHE", home)]).join("hub"), Path::new(expected), "{home}");
        }
        #[cfg(unix)]
        assert_eq!(cache(&[("HF_HUB_CACHE", "~root/x")]), folder_of("root").unwrap_or("~root".into()).join("x"));
        assert_eq!(cache(&[("HF_HOME", "/a"), ("HUGGINGFACE_HUB_CACHE", "/b")]), Path::new("/b"));
        assert!(!read(&[]).offline && read(&[("HF_HUB_OFFLINE", "Yes")]).offline);
    }

    #[test]
    fn tokens() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_str().unwrap();
        let given = |token: &str| read(&[("HF_HOME", home), ("HF_TOKEN", token)]);
        assert_eq!(given("").token, None);
        std::fs::write(folder.path().join("token"), "stored\r\n").unwrap();
        assert_eq!(given("  ").token.as_deref(), Some("stored"));
        assert_eq!(given(" given\n").token.as_deref(), Some("given"));
        for (token, what) in [
            ("hf_a\nb", "contains a line break"),
            ("\u{feff}hf_a", "contains a byte order mark"),
            ("hf_ä", "contains 'ä', which is not ASCII"),
            ("hf_a b", "contains ' '"),
            ("hf_\0", "contains '\\0'"),
        ] {
            let bad_setting = given(token).bad_setting.unwrap();
            assert_eq!((bad_setting.name.as_str(), bad_setting.what.as_str()), ("HF_TOKEN", what));
        }
        std::fs::write(folder.path().join("token"), b"hf_\xff").unwrap();
        let bad_setting = given("").bad_setting.unwrap();
        assert!(bad_setting.name.ends_with("token") && bad_setting.what.contains("not ASCII"), "{bad_setting:?}");
    }

    #[test]
    fn addresses() {
        let endpoint = |value: &str| read(&[("HF_HOME", "/none"), ("HF_ENDPOINT", value)]);
        for (value, expected) in [
            ("", ENDPOINT),
            ("https://mirror.example/", "https://mirror.example"),
            (" http://127.0.0.1:80/hf// ", "http://127.0.0.1:80/hf"),
        ] {
            assert_eq!((endpoint(value).endpoint.as_str(), endpoint(value).bad_setting), (expected, None));
        }
        for value in
            ["mirror.example", "localhost:8080", "ftp://x", "https://", "https://a b", "http://x?y=1", "mirror/hf"]
        {
            let bad_setting = endpoint(value).bad_setting.unwrap_or_else(|| panic!("{value} is taken"));
            assert!(bad_setting.name == "HF_ENDPOINT" && bad_setting.what.contains(value), "{bad_setting:?}");
        }
    }

    #[test]
    fn proxies() {
        let of = |variables: &[(&str, &str)], url: &str| {
            let environment = read(&[&[("HF_HOME", "/none")], variables].concat());
            let proxy = environment.proxies.for_url(&url.parse().unwrap()).map(|proxy| proxy.host().to_owned());
            (proxy.unwrap_or_default(), environment.bad_setting.map(|bad_setting| bad_setting.name))
        };
        let (http, https) = ("http://a.example:8080/x", "https://a.example/x");
        let to = |host: &str| (host.to_owned(), None);
        assert_eq!(of(&[], https), to(""));
        assert_eq!(of(&[("HTTPS_PROXY", "socks5://s:1080")], https), to("s"));
        assert_eq!(of(&[("HTTPS_PROXY", "http://s")], http), to(""));
        assert_eq!(of(&[("all_proxy", "socks5h://s"), ("http_proxy", "p:1")], http), to("p"));
        assert_eq!(of(&[("ALL_PROXY", "socks5h://s"), ("http_proxy", "p:1")], https), to("s"));
        assert_eq!(of(&[("HTTP_PROXY", "p:1")], https), to("p"));
        assert_eq!(of(&[("https_proxy", ""), ("HTTPS_PROXY", "p:1")], https), to(""));
        for (list, direct) in [
            ("*", true),
            ("b.example, .a.example", true),
            ("example", true),
            ("*.example", true),
            ("A.EXAMPLE:8080", true),
            ("a.example:81", false),
            ("ample", false),
            (",", false),
        ] {
            let host = if direct { "" } else { "p" };
            assert_eq!(of(&[("http_proxy", "p"), ("NO_PROXY", list)], http), to(host), "{list}");
        }
        for wrong in ["ftp://secret@x", "socks9://x", "http://", "\u{feff}http://x"] {
            let environment = read(&[("HF_HOME", "/none"), ("ALL_PROXY", wrong)]);
            let bad_setting = environment.bad_setting.unwrap_or_else(|| panic!("{wrong} is taken"));
            assert!(
                bad_setting.name == "ALL_PROXY" && !format!("{bad_setting:?}").contains("secret"),
                "{bad_setting:?}"
            );
        }
    }

    #[test]
    fn certificates() {
        assert_eq!(read(&[("SSL_CERT_FILE", "")]).certificates, Certificates::default());
        let folder = tempfile::tempdir().unwrap();
        let empty = folder.path().to_str().unwrap();
        let bad_setting = read(&[("REQUESTS_CA_BUNDLE", empty)]).certificates.load().unwrap_err();
        assert_eq!(bad_setting.name, "REQUESTS_CA_BUNDLE");
        let file = crate::weights::testing::own("tls").join("authority.pem");
        let set = read(&[("SSL_CERT_DIR", empty), ("CURL_CA_BUNDLE", file.to_str().unwrap())]);
        assert_eq!(set.certificates.load().unwrap().len(), 1);
    }
}
