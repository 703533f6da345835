//! The cache service of GitHub's workflows, as far as builders use it: entries with names, which are
//! reserved, uploaded to signed addresses, finished, and found again by how their names begin.
//!
//! It lets nobody in without its token, and nobody near the storage without a signature.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use serde_json::{Value, json};

/// Proves that an address is one that the service gave.
const SIGNATURE: &str = "sig=c2lnbmF0dXJlLW9mLWFuLWFkZHJlc3M";

/// An entry.
#[derive(Clone, Debug, Default)]
struct Entry {
    key: String,
    version: String,
    /// What was uploaded so far, by the id of the block.
    blocks: BTreeMap<String, Vec<u8>>,
    content: Vec<u8>,
    finished: bool,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<Entry>,
    refusal: Option<u16>,
    asked: Vec<String>,
    strangers: usize,
}

/// A running service. Its thread waits for connections until the test program ends.
#[derive(Clone, Debug)]
pub struct WorkflowCache {
    port: u16,
    token: String,
    state: Arc<Mutex<State>>,
}

impl Default for WorkflowCache {
    fn default() -> Self {
        Self::start()
    }
}

impl WorkflowCache {
    /// Starts a service that has nothing.
    ///
    /// # Panics
    ///
    /// If there is no free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        // Claims: it may read and write what belongs to the branch `refs/heads/main`, for ever.
        let claims = "eyJhYyI6Ilt7XCJTY29wZVwiOlwicmVmcy9oZWFkcy9tYWluXCIsXCJQZXJtaXNzaW9uXCI6M31dIiwi\
                      ZXhwIjo0MTAyNDQ0ODAwLCJuYmYiOjF9";
        let token = format!("eyJhbGciOiJub25lIn0.{claims}.dGhlLXNlY3JldC1vZi10aGUtd29ya2Zsb3c");
        let service = Self { port, token, state: Arc::default() };
        let own = service.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let service = own.clone();
                // A client that hangs up is part of many tests.
                thread::spawn(move || service.serve(stream).ok());
            }
        });
        service
    }

    /// Where it is.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// What lets a workflow in.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The part of the token that nobody else may see.
    pub fn secret(&self) -> &str {
        self.token.rsplit('.').next().unwrap_or_default()
    }

    /// The names of all entries that were finished, in order.
    pub fn keys(&self) -> Vec<String> {
        let state = self.state();
        let finished = state.entries.iter().filter(|entry| entry.finished);
        finished.map(|entry| entry.key.clone()).collect()
    }

    /// The content of the newest entry whose name begins like this.
    pub fn content(&self, key: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let found = state.entries.iter().rfind(|entry| entry.key.starts_with(key));
        found.map(|entry| entry.content.clone())
    }

    /// Changes the content of every entry whose name begins like this.
    pub fn change(&self, key: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut state = self.state();
        let found = state.entries.iter_mut().filter(|entry| entry.key.starts_with(key));
        found.for_each(|entry| change(&mut entry.content));
    }

    /// Answers everything with this status from now on; or, with `None`, as it should again.
    pub fn refuse(&self, status: Option<u16>) {
        self.state().refusal = status;
    }

    /// What was asked so far, as `METHOD /path`.
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    /// How many had no token or no signature.
    pub fn strangers(&self) -> usize {
        self.state().strangers
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, stream: TcpStream) -> io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut first = String::new();
        reader.read_line(&mut first)?;
        let mut headers = BTreeMap::new();
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            if let Some((name, value)) = line.split_once(':') {
                headers.insert(name.to_lowercase(), value.trim().to_owned());
            }
            line.clear();
        }
        let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        self.state().asked.push(format!("{method} {path}"));
        let header = |name: &str| headers.get(name).map_or("", String::as_str);
        let is_service = path.starts_with("/twirp/");
        let is_known = match is_service {
            true => header("authorization") == format!("Bearer {}", self.token),
            false => query.contains(SIGNATURE),
        };
        let refusal = self.state().refusal;
        let (status, content) = match (refusal, is_known) {
            (Some(status), _) => {
                let text = format!("not now, {}", header("authorization"));
                (status, json!({"code": "unavailable", "msg": text}).to_string().into_bytes())
            }
            (None, false) => {
                self.state().strangers += 1;
                (401, Vec::new())
            }
            (None, true) if is_service => {
                let message = serde_json::from_slice(&body).unwrap_or_default();
                let (status, answer) = self.call(path, &message);
                (status, answer.to_string().into_bytes())
            }
            (None, true) => self.storage(method, path, query, &body, header("range")),
        };
        let mut stream = reader.into_inner();
        let length = content.len();
        write!(
            stream,
            "HTTP/1.1 {status} Answer\r\nContent-Length: {length}\r\nRetry-After: 0\r\n\
             Connection: close\r\n\r\n"
        )?;
        match method {
            "HEAD" => Ok(()),
            _ => stream.write_all(&content),
        }
    }

    fn call(&self, path: &str, message: &Value) -> (u16, Value) {
        let text = |name: &str| message[name].as_str().unwrap_or_default().to_owned();
        let (key, version) = (text("key"), text("version"));
        let mut state = self.state();
        let exactly = |entry: &Entry| entry.key == key && entry.version == version;
        match path.rsplit('/').next().unwrap_or_default() {
            "CreateCacheEntry" => {
                if state.entries.iter().any(exactly) {
                    let words = "cache entry with the same key, version, and scope already exists";
                    return (409, json!({"code": "already_exists", "msg": words}));
                }
                let number = state.entries.len();
                state.entries.push(Entry { key, version, ..Entry::default() });
                let url = self.signed(number);
                (200, json!({"ok": true, "signed_upload_url": url}))
            }
            "FinalizeCacheEntryUpload" => {
                match state.entries.iter_mut().find(|entry| exactly(entry)) {
                    Some(entry) if message["size_bytes"] == entry.content.len() => {
                        entry.finished = true;
                        (200, json!({"ok": true, "entry_id": "1"}))
                    }
                    _ => (200, json!({"ok": false, "entry_id": "0"})),
                }
            }
            "GetCacheEntryDownloadURL" => {
                let begins: Vec<&str> = message["restore_keys"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .chain([key.as_str()])
                    .collect();
                let found = state.entries.iter().rposition(|entry| {
                    entry.finished
                        && entry.version == version
                        && begins.iter().any(|begin| entry.key.starts_with(begin))
                });
                match found {
                    Some(number) => {
                        let (url, key) = (self.signed(number), &state.entries[number].key);
                        (200, json!({"ok": true, "signed_download_url": url, "matched_key": key}))
                    }
                    None => (200, json!({"ok": false})),
                }
            }
            _ => (404, json!({"code": "bad_route", "msg": "no such method"})),
        }
    }

    /// The address of an entry's content.
    fn signed(&self, number: usize) -> String {
        format!("{}storage/{number}?se=2100-01-01&{SIGNATURE}", self.url())
    }

    fn storage(
        &self,
        method: &str,
        path: &str,
        query: &str,
        body: &[u8],
        range: &str,
    ) -> (u16, Vec<u8>) {
        let number = path.rsplit('/').next().and_then(|text| text.parse::<usize>().ok());
        let mut state = self.state();
        let Some(entry) = number.and_then(|number| state.entries.get_mut(number)) else {
            return (404, Vec::new());
        };
        let block = query.split('&').find_map(|pair| pair.strip_prefix("blockid="));
        match (method, block) {
            ("GET" | "HEAD", _) => {
                let from = range.trim_start_matches("bytes=").trim_end_matches('-').parse();
                match from {
                    Ok(from) if from >= entry.content.len() => (416, Vec::new()),
                    Ok(from) => (206, entry.content[from..].to_vec()),
                    Err(_) => (200, entry.content.clone()),
                }
            }
            ("PUT", Some(id)) => {
                entry.blocks.insert(id.replace("%3D", "="), body.to_vec());
                (201, Vec::new())
            }
            ("PUT", None) if query.contains("comp=blocklist") => {
                let list = String::from_utf8_lossy(body).into_owned();
                let ids = list.split("<Latest>").skip(1).filter_map(|text| text.split('<').next());
                let blocks: Option<Vec<&Vec<u8>>> = ids.map(|id| entry.blocks.get(id)).collect();
                match blocks {
                    Some(blocks) => {
                        entry.content = blocks.into_iter().flatten().copied().collect();
                        (201, Vec::new())
                    }
                    None => (400, Vec::new()),
                }
            }
            ("PUT", None) => {
                entry.content = body.to_vec();
                (201, Vec::new())
            }
            _ => (405, Vec::new()),
        }
    }
}
