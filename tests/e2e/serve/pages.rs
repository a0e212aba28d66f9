//! The pages and short links of `alignatt serve`. What they do in a browser is tested in
//! tests/browser/serve.spec.ts.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::server::{Server, closed, folder, pcm};

/// The head of an answer.
fn head(server: &Server, path: &str, header: &str) -> String {
    use std::io::{Read, Write};
    let mut socket = server.socket();
    let request = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n{header}connection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    answer.split_once("\r\n\r\n").unwrap().0.to_owned()
}

fn listed(server: &Server, link: &str) -> Vec<Value> {
    let (status, body) = server.get(&format!("/v1/links/{}", link.strip_prefix("w/").unwrap()));
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<Value>(&body).unwrap()["sessions"].as_array().unwrap().clone()
}

#[test]
fn pages_and_their_files_come_with_types_and_policies() {
    let server = Server::start(&["--to", "de"]);
    for (path, root) in
        [("/", ""), ("/present", ""), ("/watch", ""), ("/w/abc", "../"), ("/overlay", ""), ("/w/abc/overlay", "../../")]
    {
        let (status, page) = server.get(path);
        assert_eq!(status, 200, "{path}");
        assert!(page.contains(&format!("src=\"{root}pages/")) && !page.contains("{root}"), "{page}");
        let head = head(&server, path, "");
        for part in ["content-type: text/html; charset=utf-8", "script-src 'self'", "nosniff", "no-referrer"] {
            assert!(head.contains(part), "{path}: {part} is missing:\n{head}");
        }
        assert!(!head.contains("unsafe-inline"), "{head}");
    }
    let first = head(&server, "/pages/server.js", "");
    assert!(first.contains("content-type: text/javascript"), "{first}");
    let tag = first.lines().find_map(|line| line.strip_prefix("etag: ")).unwrap();
    let again = head(&server, "/pages/server.js", &format!("if-none-match: {tag}\r\n"));
    assert!(again.starts_with("HTTP/1.1 304"), "{again}");
    for path in ["/pages/", "/pages/none.js", "/pages/..%2fpages.rs", "/pages/../pages.rs", "/index.html", "/w/"] {
        assert_eq!(server.get(path).0, 404, "{path}");
    }
    assert!(server.get("/qr.svg?text=http://192.0.2.7/w/abc").1.starts_with("<svg"));
    assert_eq!(server.get(&format!("/qr.svg?text={}", "a".repeat(600))).0, 400);
    let about: Value = serde_json::from_str(&server.get("/v1/about").1).unwrap();
    assert_eq!(about["to"], "de");
    assert!(about["directions"]["en"].as_array().unwrap().contains(&json!("it")), "{about}");
    assert_eq!(about["network_url"], Value::Null, "others cannot reach it");
}

#[test]
fn a_short_link_leads_to_all_of_its_sessions() {
    let (_kept, path) = folder();
    let arguments = ["--to", "de", "--state", path.to_str().unwrap()];
    let mut server = Server::start(&arguments);
    let mut german = server.client(json!({}));
    let hello = german.next_of("session");
    let link = hello["link"].as_str().unwrap();
    let code = link.strip_prefix("w/").unwrap();
    assert_eq!(code.len(), 10);
    let mut italian = server.client(json!({"to": "it", "beside": hello["token"]}));
    let beside = italian.next_of("session");
    assert_eq!(beside["link"], Value::Null, "it has the link of the first");
    let other = server.client(json!({"beside": "rs_00000000000000000000000000000000"})).next_of("session");
    assert_ne!(other["link"].as_str().unwrap(), link, "a session that is not known has no link to share");
    let sessions = listed(&server, link);
    let to: Vec<&str> = sessions.iter().map(|session| session["to"].as_str().unwrap()).collect();
    assert_eq!(to, ["de", "it"]);
    assert!(sessions.iter().all(|session| session["live"] == true));
    let ended = german.play(&pcm("talk-c.flac")[..640_000]);
    let id = sessions[0]["session"].as_str().unwrap();
    let (status, feed) = server.get(&format!("/v1/sessions/{id}/events?token={code}"));
    assert_eq!(status, 200);
    let last = closed(&ended.messages).1.pop().unwrap();
    assert!(feed.contains(&last), "{feed}");
    let wrong = server.request(&format!(
        "DELETE /v1/sessions/{id}?token={code} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
    ));
    assert_eq!(wrong.0, 403, "viewers only read");
    let began = Instant::now();
    assert_eq!(server.get("/v1/links/0000000000").0, 404);
    assert!(began.elapsed() >= Duration::from_secs(1), "codes can be tried fast");
    // The link is still there after a crash, also for a session that nobody has resumed.
    server.kill();
    let server = Server::start(&arguments);
    let sessions = listed(&server, link);
    let live: Vec<bool> = sessions.iter().map(|session| session["live"].as_bool().unwrap()).collect();
    assert_eq!(live, [false, true]);
    assert_eq!(server.get(&format!("/v1/sessions/{id}/events?token={code}")).1, feed);
    assert_eq!(server.get(&format!("/v1/sessions/{id}?token={code}")).0, 200);
}

/// One who comes late gets all text in few events, and a number to go on from.
#[test]
fn late_readers_get_merged_events() {
    let server = Server::start(&["--to", "de"]);
    let ended = server.client(json!({})).play(&pcm("talk-a.flac"));
    let (hello, expected) = (&ended.messages[0], closed(&ended.messages).1);
    let (id, viewer) = (hello["session"].as_str().unwrap(), hello["viewer"].as_str().unwrap());
    let feed = |after: u64| server.get(&format!("/v1/sessions/{id}/events?token={viewer}&after={after}")).1;
    let all = feed(0);
    let events: Vec<Value> = all
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let targets: Vec<&Value> = events.iter().filter(|event| event["type"] == "target").collect();
    let whole: Vec<&str> =
        targets.iter().filter(|e| e["closed"] == true).map(|e| e["committed"].as_str().unwrap()).collect();
    assert_eq!(whole, expected);
    // Each segment comes once or twice, and `delta` is all that an event adds.
    let mut shown = std::collections::BTreeMap::<u64, String>::new();
    for target in &targets {
        let text = shown.entry(target["segment"].as_u64().unwrap()).or_default();
        text.push_str(target["delta"].as_str().unwrap());
        assert_eq!(text.as_str(), target["committed"].as_str().unwrap());
    }
    assert!(targets.len() < expected.len() + 4, "{} events for {} segments", targets.len(), expected.len());
    let ids: Vec<u64> =
        all.lines().filter_map(|line| line.strip_prefix("id: ")).map(|id| id.parse().unwrap()).collect();
    let newest = ended.messages.iter().filter_map(|message| message["n"].as_u64()).max().unwrap();
    assert_eq!(ids.last(), Some(&newest));
    assert_eq!(ids.len() as u64, newest.div_ceil(64));
    assert!(!feed(newest - 1).contains(&expected[0]), "what is known does not come again");
}
