//! Tests of fetching and of the cache, against a local server.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::cache::{CachedModel, Hub, disk_error, entries};
use super::environment::{Certificates, Environment, Proxies};
use super::fetch::{NoProgress, Progress, hexadecimal};
use super::source::ModelSource;
use crate::weights::error::{CheckpointError, Remedy};
use crate::weights::safetensors::{INDEX_FILE, SINGLE_FILE};

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const OID: &str = "89abcdef0123456789abcdef0123456789abcdef";
/// git's object id of the content `{}`.
const EMPTY_OBJECT: &str = "9e26dfeeb6e641a33dae4961196235bdb965b21b";

#[derive(Clone, Debug, Default)]
struct Request {
    path: String,
    range: Option<u64>,
    token: Option<String>,
}

#[derive(Default)]
struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Close the connection after this many bytes of the body.
    cut: Option<usize>,
}

fn reply(status: u16, body: impl Into<Vec<u8>>) -> Reply {
    Reply { status, body: body.into(), ..Reply::default() }
}

/// A local server: its address, and the requests that it has received.
fn serve(answer: impl Fn(&Request) -> Reply + Send + 'static) -> (String, Arc<Mutex<Vec<Request>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let log = Arc::new(Mutex::new(Vec::new()));
    let shared = log.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = Request::default();
            for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                let line = line.unwrap_or_default();
                if line.is_empty() {
                    break;
                } else if request.path.is_empty() {
                    request.path = line.split(' ').nth(1).unwrap_or_default().to_owned();
                } else if let Some((name, value)) = line.split_once(": ") {
                    match name.to_lowercase().as_str() {
                        "range" => {
                            request.range = value.strip_prefix("bytes=").and_then(|v| v.strip_suffix('-')?.parse().ok())
                        }
                        "authorization" => request.token = value.strip_prefix("Bearer ").map(str::to_owned),
                        _ => {}
                    }
                }
            }
            shared.lock().unwrap().push(request.clone());
            let reply = answer(&request);
            let mut head =
                format!("HTTP/1.1 {} x\r\nconnection: close\r\ncontent-length: {}\r\n", reply.status, reply.body.len());
            for (name, value) in &reply.headers {
                head += &format!("{name}: {value}\r\n");
            }
            let body = &reply.body[..reply.cut.unwrap_or(reply.body.len())];
            let _ = stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(b"\r\n"))
                .and_then(|()| stream.write_all(body));
        }
    });
    (url, log)
}

#[derive(Default)]
struct Notes {
    notes: Vec<String>,
    total: u64,
    done: u64,
}

impl Progress for Notes {
    fn start(&mut self, total: u64, done: u64) {
        (self.total, self.done) = (total, done);
    }
    fn file(&mut self, _: &str) {}
    fn advance(&mut self, bytes: u64) {
        self.done += bytes;
    }
    fn discard(&mut self, bytes: u64) {
        self.done -= bytes;
    }
    fn note(&mut self, text: &str) {
        self.notes.push(text.to_owned());
    }
    fn finish(&mut self) {
        assert_eq!(self.done, self.total);
    }
}

fn weights() -> Vec<u8> {
    (0..300_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn listing() -> String {
    let sha = sha256(&weights());
    format!(
        r#"{{"id":"o/m","sha":"{COMMIT}","gated":"auto","siblings":[{{"rfilename":"README.md","size":5,"blobId":"{OID}"}},
        {{"rfilename":"config.json","size":2,"blobId":"{EMPTY_OBJECT}"}},{{"rfilename":"original/model.safetensors","size":9,"blobId":"{OID}"}},
        {{"rfilename":"model.safetensors","size":300000,"blobId":"{OID}","lfs":{{"sha256":"{sha}","size":300000,"pointerSize":134}}}}]}}"#
    )
}

/// A range of the weights, as a CDN responds.
fn ranged(request: &Request, body: &[u8], cut: Option<usize>) -> Reply {
    match request.range {
        Some(from) => {
            let range = format!("bytes {from}-{}/{}", body.len() - 1, body.len());
            Reply { status: 206, headers: vec![("content-range", range)], body: body[from as usize..].to_vec(), cut }
        }
        None => Reply { cut, ..reply(200, body) },
    }
}

/// A Hub that redirects large files to `cdn`.
fn hub_server(cdn: String) -> (String, Arc<Mutex<Vec<Request>>>) {
    serve(move |request| match request.path.as_str() {
        "/api/models/o/m/revision/main?blobs=true" => reply(200, listing()),
        "/o/m/resolve/0123456789abcdef0123456789abcdef01234567/config.json" => {
            Reply { headers: vec![("location", "/elsewhere/config.json".into())], ..reply(307, "") }
        }
        "/elsewhere/config.json" => reply(200, "{}"),
        path if path.ends_with("/model.safetensors") => {
            Reply { headers: vec![("location", format!("{cdn}/blob?signature=1"))], ..reply(302, "") }
        }
        _ => reply(404, "{}"),
    })
}

fn hub(endpoint: &str, cache: &Path) -> Hub {
    Hub {
        endpoint: endpoint.to_owned(),
        token: None,
        cache: cache.to_owned(),
        offline: false,
        proxies: Proxies::default(),
        certificates: Certificates::default(),
        bad_setting: None,
        attempts: 3,
        backoff: Duration::from_millis(1),
        patience: Duration::from_secs(60),
    }
}

fn kind(error: &CheckpointError) -> &'static str {
    match error {
        CheckpointError::Gated { .. } => "gated",
        CheckpointError::NotFound { .. } => "not found",
        CheckpointError::Network { .. } => "network",
        _ => "another",
    }
}

#[test]
fn redirects_cuts_and_the_cache() {
    let cuts = Mutex::new(VecDeque::from([Some(100_000), Some(50_000), None]));
    let (cdn, cdn_log) = serve(move |request| ranged(request, &weights(), cuts.lock().unwrap().pop_front().flatten()));
    let (url, log) = hub_server(cdn);
    let cache = tempfile::tempdir().unwrap();
    let hub = Hub { token: Some("secret".into()), ..hub(&url, cache.path()) };
    assert_eq!(hub.location("o/m", "main").unwrap(), None);
    let mut notes = Notes::default();
    let folder = hub.fetch("o/m", "main", &mut notes).unwrap();

    assert_eq!(folder, cache.path().join("models--o--m/snapshots").join(COMMIT));
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights());
    assert_eq!(fs::read(folder.join("config.json")).unwrap(), b"{}");
    assert_eq!(entries(&folder).len(), 2, "nothing but what is needed");
    assert_eq!(fs::read_to_string(cache.path().join("models--o--m/refs/main")).unwrap(), COMMIT);
    assert!(cache.path().join("models--o--m/blobs").join(sha256(&weights())).is_file());
    #[cfg(unix)]
    assert_eq!(fs::read_link(folder.join("config.json")).unwrap(), Path::new("../../blobs").join(EMPTY_OBJECT));
    let ranges: Vec<Option<u64>> = cdn_log.lock().unwrap().iter().map(|request| request.range).collect();
    assert_eq!(ranges, [None, Some(100_000), Some(150_000)]);
    assert!(cdn_log.lock().unwrap().iter().all(|request| request.token.is_none()), "the token stays with the Hub");
    assert!(log.lock().unwrap().iter().all(|request| request.token.as_deref() == Some("secret")));
    assert_eq!(notes.total, 300_002);
    assert!(
        notes.notes[0].contains("byte 100000 of 300000") && notes.notes[0].ends_with("; trying again"),
        "{:?}",
        notes.notes
    );

    // Fetching again makes one request, for the listing.
    let before = log.lock().unwrap().len();
    assert_eq!(hub.fetch("o/m", "main", &mut NoProgress).unwrap(), folder);
    assert_eq!((log.lock().unwrap().len() - before, cdn_log.lock().unwrap().len()), (1, 3));
    assert_eq!(hub.location("o/m", "main").unwrap(), Some(folder.clone()));
    assert_eq!(hub.location("o/m", COMMIT).unwrap(), Some(folder.clone()));
    // If HF_HUB_OFFLINE is set, or the Hub cannot be reached, the copy in the cache is used.
    let offline = Hub { offline: true, ..hub.clone() };
    assert_eq!(offline.fetch("o/m", "main", &mut NoProgress).unwrap(), folder);
    let message = offline.fetch("o/other", "main", &mut NoProgress).unwrap_err().to_string();
    assert!(message.contains("HF_HUB_OFFLINE is set"), "{message}");
    let away = Hub { endpoint: "http://127.0.0.1:9".into(), ..hub.clone() };
    let mut notes = Notes::default();
    assert_eq!(away.fetch("o/m", "main", &mut notes).unwrap(), folder);
    assert!(notes.notes.last().unwrap().contains("the copy in the cache is used"));
    let message = away.fetch("o/other", "main", &mut NoProgress).unwrap_err().to_string();
    assert!(
        message.starts_with("o/other: http://127.0.0.1:9 cannot be reached")
            && message.ends_with("or give a folder that has the files"),
        "{message}"
    );

    let listed = hub.list();
    assert_eq!(
        listed,
        [CachedModel { repo: "o/m".into(), revisions: vec!["main".into()], bytes: 300_002, gguf: Vec::new() }]
    );
    assert_eq!(hub.remove("o/m").unwrap(), 300_002);
    assert!(hub.list().is_empty() && !folder.exists());
    assert_eq!(hub.remove("o/m").unwrap_err().remedy(), &Remedy::ListModels);
    assert!(hub.remove("../x").is_err() && hub.fetch("o/m", "../x", &mut NoProgress).is_err());
}

#[test]
fn a_fetch_continues_where_another_stopped() {
    let (cdn, cdn_log) = serve(|request| ranged(request, &weights(), None));
    let (url, _) = hub_server(cdn);
    let cache = tempfile::tempdir().unwrap();
    let blobs = cache.path().join("models--o--m/blobs");
    fs::create_dir_all(&blobs).unwrap();
    let partial = blobs.join(format!("{}.incomplete", sha256(&weights())));
    fs::write(&partial, &weights()[..200_000]).unwrap();
    let folder = hub(&url, cache.path()).fetch("o/m", "main", &mut Notes::default()).unwrap();
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights());
    assert_eq!(cdn_log.lock().unwrap()[0].range, Some(200_000));
    assert!(!partial.exists());
}

#[test]
fn a_server_without_ranges_starts_again() {
    let (cdn, cdn_log) =
        serve(|request| Reply { cut: request.range.is_none().then_some(1000), ..reply(200, weights()) });
    let (url, _) = hub_server(cdn);
    let cache = tempfile::tempdir().unwrap();
    let folder = hub(&url, cache.path()).fetch("o/m", "main", &mut Notes::default()).unwrap();
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights());
    assert_eq!(cdn_log.lock().unwrap().len(), 2);
}

#[test]
fn a_wrong_hash_is_fetched_once_more_and_then_refused() {
    let mut broken = weights();
    broken[7] ^= 1;
    let bodies = Mutex::new(VecDeque::from([broken.clone(), weights()]));
    let (cdn, _) = serve(move |request| ranged(request, &bodies.lock().unwrap().pop_front().unwrap(), None));
    let (url, _) = hub_server(cdn);
    let cache = tempfile::tempdir().unwrap();
    let mut notes = Notes::default();
    let folder = hub(&url, cache.path()).fetch("o/m", "main", &mut notes).unwrap();
    assert_eq!(fs::read(folder.join("model.safetensors")).unwrap(), weights());
    assert_eq!(notes.notes, ["model.safetensors has a wrong hash; it is fetched once more"]);

    let (cdn, cdn_log) = serve(move |request| ranged(request, &broken, None));
    let (url, _) = hub_server(cdn);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&url, cache.path());
    let message = hub.fetch("o/m", "main", &mut NoProgress).unwrap_err().to_string();
    assert!(
        message.starts_with("o/m/model.safetensors: has the hash ") && message.contains(&sha256(&weights())),
        "{message}"
    );
    assert_eq!(cdn_log.lock().unwrap().len(), 2);
    assert_eq!(hub.location("o/m", "main").unwrap(), None);
    assert!(hub.list()[0].revisions.is_empty());
}

#[test]
fn what_the_hub_refuses() {
    let fail = |status: u16, token: Option<&str>| {
        let (url, log) =
            serve(move |_| Reply { headers: vec![("x-error-message", "because".into())], ..reply(status, "{}") });
        let cache = tempfile::tempdir().unwrap();
        let hub = Hub { token: token.map(str::to_owned), ..hub(&url, cache.path()) };
        let error = hub.fetch("google/gemma-4-E4B-it", "main", &mut NoProgress).unwrap_err();
        (kind(&error), error.to_string().replace(&url, "HUB"), log.lock().unwrap().len())
    };
    let (kind, message, requests) = fail(401, None);
    assert_eq!((kind, requests), ("gated", 1));
    assert_eq!(
        message,
        "google/gemma-4-E4B-it: the Hub answered 401; it is gated, private or misspelt; accept the licence on \
        HUB/google/gemma-4-E4B-it and set HF_TOKEN to a token of your account"
    );
    let (kind, message, _) = fail(403, Some("t"));
    assert!(kind == "gated" && message.contains("your token does not give access"), "{message}");
    let (kind, message, requests) = fail(404, None);
    assert!(
        kind == "not found" && requests == 1 && message.contains("(because)") && message.contains("check the name"),
        "{message}"
    );
    let (kind, message, requests) = fail(503, None);
    assert!(kind == "network" && requests == 3 && message.contains("the server answers 503"), "{message}");
    let (kind, _, requests) = fail(418, None);
    assert_eq!((kind, requests), ("network", 1));
    let (kind, message, _) = fail(302, None);
    assert!(kind == "network" && message.contains("redirects, but not to an address"), "{message}");

    let (url, log) = serve(|request| Reply { headers: vec![("location", request.path.clone())], ..reply(302, "") });
    let cache = tempfile::tempdir().unwrap();
    let message = hub(&url, cache.path()).fetch("o/m", "main", &mut NoProgress).unwrap_err().to_string();
    assert!(message.contains("more than 10 redirects") && log.lock().unwrap().len() == 10, "{message}");
    for (body, expected) in [
        ("<html>", "is not a listing"),
        (r#"{"sha":"../x","siblings":[]}"#, "contains no commit"),
        (&format!(r#"{{"sha":"{COMMIT}","siblings":[]}}"#), "has no config.json"),
        (&format!(r#"{{"sha":"{COMMIT}","siblings":[{{"rfilename":"config.json"}}]}}"#), "has no model.safetensors"),
        (&listing().replace(EMPTY_OBJECT, "../../evil"), "no size or no hash for config.json"),
    ] {
        let body = body.to_owned();
        let (url, _) = serve(move |_| reply(200, body.clone()));
        let message = hub(&url, cache.path()).fetch("o/m", "main", &mut NoProgress).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let without = listing().replace(&format!(r#""lfs":{{"sha256":"{}","#, sha256(&weights())), r#""lfs":{"#);
    let (url, _) = serve(move |_| reply(200, without.clone()));
    let message = hub(&url, cache.path()).fetch("o/m", "main", &mut NoProgress).unwrap_err().to_string();
    assert!(message.contains("no hash for model.safetensors"), "{message}");
    let message = hub("nonsense", cache.path()).fetch("o/m", "main", &mut NoProgress).unwrap_err().to_string();
    assert!(message.starts_with("o/m: "), "{message}");
}

#[test]
fn a_cut_without_progress_gives_up_and_keeps_what_came() {
    let (cdn, log) = serve(|request| ranged(request, &weights(), Some(if request.range.is_none() { 1000 } else { 0 })));
    let (url, _) = hub_server(cdn);
    let cache = tempfile::tempdir().unwrap();
    let message = hub(&url, cache.path()).fetch("o/m", "main", &mut NoProgress).unwrap_err().to_string();
    assert!(
        message.contains("byte 1000 of 300000") && message.contains("run it again to continue where it stopped"),
        "{message}"
    );
    assert_eq!(log.lock().unwrap().len(), 3);
    let partial = cache.path().join("models--o--m/blobs").join(format!("{}.incomplete", sha256(&weights())));
    assert_eq!(fs::metadata(partial).unwrap().len(), 1000);
}

/// A Hub with one repository that has these files at every revision.
fn repository(files: Vec<(String, Vec<u8>)>) -> (String, Arc<Mutex<Vec<Request>>>) {
    let git = |body: &[u8]| {
        hexadecimal(&Sha1::new_with_prefix(format!("blob {}\0", body.len())).chain_update(body).finalize())
    };
    let siblings: Vec<serde_json::Value> = files
        .iter()
        .map(|(name, body)| match name.ends_with(".safetensors") {
            true => serde_json::json!({"rfilename": name, "blobId": OID, "lfs": {"sha256": sha256(body), "size": body.len()}}),
            false => serde_json::json!({"rfilename": name, "size": body.len(), "blobId": git(body)}),
        })
        .collect();
    let listing = serde_json::json!({"sha": COMMIT, "siblings": siblings}).to_string();
    serve(move |request| match request.path.split_once(&format!("/resolve/{COMMIT}/")) {
        None => reply(200, listing.clone()),
        Some((_, file)) => files
            .iter()
            .find(|(name, _)| name.replace(' ', "%20").replace('#', "%23") == file)
            .map_or(reply(404, ""), |(_, body)| reply(200, body.clone())),
    })
}

fn sharded(shards: &[&str]) -> Vec<(String, Vec<u8>)> {
    let map: BTreeMap<String, &str> = shards.iter().enumerate().map(|(at, name)| (at.to_string(), *name)).collect();
    let index = serde_json::json!({ "weight_map": map }).to_string();
    let weights = shards.iter().enumerate().map(|(at, name)| ((*name).to_owned(), vec![at as u8; 10 * at + 5]));
    let small = [
        ("config.json", b"{}".to_vec()),
        (INDEX_FILE, index.into_bytes()),
        ("heads.cs-en.json", b"[]".to_vec()),
        ("consolidated.safetensors", b"other".to_vec()),
        ("README.md", b"#".to_vec()),
    ];
    small.into_iter().map(|(name, body)| (name.to_owned(), body)).chain(weights).collect()
}

#[test]
fn shards_are_those_that_the_index_names() {
    for shards in [
        ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"],
        ["model.safetensors-00001-of-00002.safetensors", "model.safetensors-00002-of-00002.safetensors"],
        ["a.safetensors", "part #1/deep/b c.safetensors"],
    ] {
        let (url, _) = repository(sharded(&shards));
        let cache = tempfile::tempdir().unwrap();
        let hub = hub(&url, cache.path());
        let folder = hub.fetch("o/m", "v1.0", &mut Notes::default()).unwrap();
        assert_eq!(entries(&folder).len(), 5, "config, index, heads and two shards");
        assert_eq!(fs::read(folder.join(shards[1])).unwrap(), [1; 15]);
        assert_eq!(hub.location("o/m", "v1.0").unwrap(), Some(folder.clone()));
        fs::remove_file(folder.join(shards[1])).unwrap();
        assert_eq!(hub.location("o/m", "v1.0").unwrap(), None);
        assert_eq!(hub.fetch("o/m", "v1.0", &mut Notes::default()).unwrap(), folder);
        assert_eq!(hub.location("o/m", "v1.0").unwrap(), Some(folder));
    }
}

#[test]
fn an_index_names_files_of_its_repository_only() {
    for (outside, expected) in [
        ("../x.safetensors", "is not the name of a safetensors file"),
        ("/etc/x.safetensors", "is not the name of a safetensors file"),
        ("a\\x.safetensors", "is not the name of a safetensors file"),
        ("a/../../x.safetensors", "is not the name of a safetensors file"),
        ("x.bin", "is not the name of a safetensors file"),
    ] {
        let (url, _) = repository(sharded(&[outside]));
        let cache = tempfile::tempdir().unwrap();
        let message = hub(&url, cache.path()).fetch("o/m", "main", &mut NoProgress).unwrap_err().to_string();
        assert!(message.contains(expected), "{message}");
    }
    let mut files = sharded(&["x.safetensors"]);
    files.retain(|(name, _)| name != "x.safetensors");
    let (url, _) = repository(files);
    let cache = tempfile::tempdir().unwrap();
    let message = hub(&url, cache.path()).fetch("o/m", "main", &mut NoProgress).unwrap_err().to_string();
    assert!(message.contains("lists x.safetensors, which the repository does not contain"), "{message}");
}

#[test]
fn a_small_file_with_a_wrong_hash_is_refused() {
    let (url, log) = serve(|request| match request.path.ends_with("config.json") {
        true => reply(200, "[]"),
        false => reply(200, listing()),
    });
    let cache = tempfile::tempdir().unwrap();
    let message = hub(&url, cache.path()).fetch("o/m", "main", &mut NoProgress).unwrap_err().to_string();
    assert!(message.starts_with("o/m/config.json: has the hash ") && message.contains(EMPTY_OBJECT), "{message}");
    assert_eq!(log.lock().unwrap().len(), 3);
}

#[test]
fn retries_have_an_end() {
    let (url, log) = serve(|_| Reply { headers: vec![("retry-after", "0".into())], ..reply(429, "") });
    let cache = tempfile::tempdir().unwrap();
    assert_eq!(kind(&hub(&url, cache.path()).fetch("o/m", "main", &mut NoProgress).unwrap_err()), "network");
    assert_eq!(log.lock().unwrap().len(), 3);

    // Every attempt brings one byte.
    let (cdn, log) = serve(|request| ranged(request, &weights(), Some(1)));
    let (url, _) = hub_server(cdn);
    let hub = Hub { patience: Duration::from_millis(100), ..hub(&url, cache.path()) };
    let message = hub.fetch("o/m", "main", &mut NoProgress).unwrap_err().to_string();
    assert!(message.contains("the connection ") && message.contains(" at byte "), "{message}");
    assert!(log.lock().unwrap().len() > 3, "an attempt that brings something does not count");
}

#[test]
fn a_complete_model_is_fetched_without_writing() {
    let (url, log) = repository(sharded(&["a.safetensors"]));
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&url, cache.path());
    let folder = hub.fetch("o/m", "main", &mut NoProgress).unwrap();
    // Locking is impossible from here on.
    let locks = cache.path().join(".locks");
    fs::remove_dir_all(&locks).unwrap();
    fs::write(&locks, "").unwrap();
    let before = log.lock().unwrap().len();
    assert_eq!(hub.fetch("o/m", "main", &mut Notes::default()).unwrap(), folder);
    assert_eq!(log.lock().unwrap().len(), before + 1, "the listing alone");
}

#[test]
fn revisions() {
    let (url, _) = repository(sharded(&["a.safetensors"]));
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&url, cache.path());
    let folder = hub.fetch("o/m", "v1.0", &mut NoProgress).unwrap();
    assert_eq!(hub.list()[0].revisions, ["v1.0"]);
    assert_eq!(hub.location("o/m", "main").unwrap(), None);
    hub.fetch("o/m", "refs/pr/1", &mut NoProgress).unwrap();
    hub.fetch("o/m", "main", &mut NoProgress).unwrap();
    assert_eq!(hub.list()[0].revisions, ["main", "refs/pr/1", "v1.0"]);
    // A newer snapshot without a name changes nothing.
    let other = folder.with_file_name("f".repeat(40));
    fs::create_dir(&other).unwrap();
    for file in ["config.json", SINGLE_FILE] {
        fs::write(other.join(file), "{}").unwrap();
    }
    assert_eq!(hub.location("o/m", "main").unwrap(), Some(folder));
    assert_eq!(hub.location("o/m", &"f".repeat(40)).unwrap(), Some(other));
    assert_eq!(hub.list()[0].revisions, ["main", "refs/pr/1", "v1.0", &"f".repeat(40)]);
}

#[test]
fn an_unusable_setting_is_reported_at_once() {
    let (url, log) = repository(sharded(&["a.safetensors"]));
    let cache = tempfile::tempdir().unwrap();
    for (name, value) in [("HF_TOKEN", "hf_a\nb"), ("https_proxy", "ftp://x"), ("SSL_CERT_FILE", "/none/x.pem")] {
        let environment = Environment::from_lookup(&|variable| match variable {
            "HF_ENDPOINT" => Some(url.clone().into()),
            "HF_HOME" => Some(cache.path().into()),
            _ => (variable == name).then(|| value.into()),
        });
        let message = Hub::new(environment).fetch("o/m", "main", &mut NoProgress).unwrap_err().to_string();
        assert!(message.starts_with(&format!("{name}: ")) && !message.contains("hf_a"), "{message}");
    }
    assert!(log.lock().unwrap().is_empty());
}

/// A SOCKS5 proxy: its address, and how many connections it has forwarded.
fn socks_proxy() -> (String, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let forwarded = Arc::new(Mutex::new(0));
    let shared = forwarded.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut client) = stream else { return };
            let mut greeting = [0; 2];
            client.read_exact(&mut greeting).unwrap();
            client.read_exact(&mut vec![0; usize::from(greeting[1])]).unwrap();
            client.write_all(&[5, 0]).unwrap();
            // Version, command, reserved, IPv4, four bytes of address, port.
            let mut request = [0; 10];
            client.read_exact(&mut request).unwrap();
            let port = u16::from_be_bytes([request[8], request[9]]);
            let mut server = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            client.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).unwrap();
            *shared.lock().unwrap() += 1;
            let (mut from, mut to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || std::io::copy(&mut from, &mut to));
            std::thread::spawn(move || std::io::copy(&mut server, &mut client));
        }
    });
    (format!("socks5://{address}"), forwarded)
}

#[test]
fn no_request_goes_past_a_proxy() {
    let (url, log) = repository(sharded(&["a.safetensors"]));
    let (proxy, forwarded) = socks_proxy();
    let through = |proxy: &str, direct: &[&str]| {
        let proxy = ureq::Proxy::new(proxy).unwrap();
        let direct = direct.iter().map(|host| (*host).to_owned()).collect();
        let cache = tempfile::tempdir().unwrap();
        let proxies = Proxies { http: Some(proxy), https: None, direct };
        let hub = Hub { proxies, ..hub(&url, cache.path()) };
        hub.fetch("o/m", "main", &mut NoProgress).map(drop)
    };
    through(&proxy, &[]).unwrap();
    assert_eq!(*forwarded.lock().unwrap(), log.lock().unwrap().len());
    let before = log.lock().unwrap().len();
    let message = through("socks5://127.0.0.1:9", &[]).unwrap_err().to_string();
    assert!(message.contains("cannot be reached"), "{message}");
    assert_eq!(log.lock().unwrap().len(), before);
    through("socks5://127.0.0.1:9", &["127.0.0.1"]).unwrap();
    assert!(log.lock().unwrap().len() > before);
}

#[test]
fn certificates_are_those_that_are_named() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let pem = |name: &str| crate::weights::testing::own("tls").join(name);
    let chain = vec![CertificateDer::from_pem_file(pem("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(pem("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let connections = Arc::new(Mutex::new(0));
    let shared = connections.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            *shared.lock().unwrap() += 1;
            let mut tls = rustls::ServerConnection::new(config.clone()).unwrap();
            let mut tls = rustls::Stream::new(&mut tls, &mut stream);
            let mut request = [0; 4096];
            // A client that does not trust this certificate disconnects.
            if tls.read(&mut request).is_ok_and(|len| len > 0) {
                let _ = tls.write_all(b"HTTP/1.1 404 x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
        }
    });
    let cache = tempfile::tempdir().unwrap();
    let with = |named: Vec<(&'static str, PathBuf)>| {
        let hub = Hub { certificates: Certificates { named }, ..hub(&url, cache.path()) };
        hub.fetch("o/m", "main", &mut NoProgress).unwrap_err()
    };
    // "not found" is the server's answer, so the client trusted the server.
    assert_eq!(kind(&with(vec![("SSL_CERT_FILE", pem("authority.pem"))])), "not found");
    assert_eq!(kind(&with(vec![("SSL_CERT_DIR", pem(""))])), "not found");
    let before = *connections.lock().unwrap();
    let message = with(Vec::new()).to_string();
    assert!(message.contains("cannot be trusted") && message.contains("SSL_CERT_FILE"), "{message}");
    assert_eq!(*connections.lock().unwrap(), before + 1, "it is not tried again");
}

#[test]
fn two_fetches_at_once_write_each_blob_once() {
    let (cdn, cdn_log) = serve(|request| ranged(request, &weights(), None));
    let (url, _) = hub_server(cdn);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&url, cache.path());
    std::thread::scope(|scope| {
        let fetches: Vec<_> = (0..4).map(|_| scope.spawn(|| hub.fetch("o/m", "main", &mut NoProgress))).collect();
        for fetch in fetches {
            assert_eq!(fs::read(fetch.join().unwrap().unwrap().join("model.safetensors")).unwrap(), weights());
        }
    });
    assert_eq!(cdn_log.lock().unwrap().len(), 1);
}

#[test]
fn the_disk() {
    let full = disk_error(Path::new("/x"), ErrorKind::StorageFull.into()).to_string();
    assert!(full.contains("the disk is full; make room, or set HF_HOME"), "{full}");
    let (url, _) = hub_server(String::new());
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = hub(&url, &file.path().join("cache")).fetch("o/m", "main", &mut NoProgress).unwrap_err();
    assert!(matches!(error, CheckpointError::Io { .. }), "{error}");
}

/// GGUF files of a repository: one, all parts of a split one, and the part that hears.
#[test]
fn gguf_files_by_their_name() {
    let file = |name: &str, len: usize| (name.to_owned(), vec![7; len]);
    let (url, log) = repository(vec![
        file("README.md", 3),
        file("x-Q8_0.gguf", 40),
        file("BF16/x-BF16-00001-of-00002.gguf", 50),
        file("BF16/x-BF16-00002-of-00002.gguf", 60),
        file("mmproj-x-bf16.gguf", 70),
    ]);
    let cache = tempfile::tempdir().unwrap();
    let hub = hub(&url, cache.path());
    let snapshot = cache.path().join("models--o--m/snapshots").join(COMMIT);
    let source = |file: &str| ModelSource::parse(format!("o/m/{file}")).unwrap();
    let resolve = |file: &str, hears: bool| source(file).resolve(&hub, hears, &mut Notes::default());

    assert_eq!(source("x-Q8_0.gguf").location(&hub).unwrap(), None);
    assert_eq!(resolve("x-Q8_0.gguf", false).unwrap(), snapshot.join("x-Q8_0.gguf"));
    assert_eq!(entries(&snapshot).len(), 1, "nothing but what is needed");
    let requests = log.lock().unwrap().len();
    assert_eq!(resolve("x-Q8_0.gguf", false).unwrap(), snapshot.join("x-Q8_0.gguf"));
    assert_eq!(log.lock().unwrap().len(), requests, "nothing is asked for what is there");
    assert!(resolve("x-Q8_0.gguf", true).is_ok());
    assert_eq!(fs::read(snapshot.join("mmproj-x-bf16.gguf")).unwrap(), [7; 70]);

    let second = "BF16/x-BF16-00002-of-00002.gguf";
    assert_eq!(resolve(second, true).unwrap(), snapshot.join(second));
    assert!(snapshot.join("BF16/x-BF16-00001-of-00002.gguf").is_file());
    let offline = Hub { offline: true, ..hub.clone() };
    assert_eq!(offline.fetch_gguf("o/m", "main", second, true, &mut NoProgress).unwrap(), snapshot.join(second));
    assert_eq!(hub.list()[0].gguf, ["BF16/x-BF16-00001-of-00002.gguf", "x-Q8_0.gguf"]);
    fs::remove_file(snapshot.join("BF16/x-BF16-00001-of-00002.gguf")).unwrap();
    assert_eq!(source(second).location(&hub).unwrap(), None);
    assert_eq!(hub.list()[0].gguf, ["x-Q8_0.gguf"]);
    // A checkpoint is something else.
    assert_eq!((hub.location("o/m", "main").unwrap(), &hub.list()[0].revisions[..]), (None, &[][..]));

    let message = resolve("y.gguf", false).unwrap_err().to_string();
    assert_eq!(message, "o/m: has no y.gguf; it has BF16/x-BF16-00001-of-00002.gguf, x-Q8_0.gguf");
    let message = hub.fetch("o/m", "main", &mut NoProgress).unwrap_err().to_string();
    assert!(message.contains("has no config.json, but GGUF files; name one of them, such as o/m/BF16/"), "{message}");
}
