//! A web server for the downloads of builds: what it has been given to serve, and nothing else.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::sha256;

/// Every connection is for one request.
const CLOSE: &str = "Connection: close\r\n";

/// What is at one path.
#[derive(Clone, Debug)]
enum Page {
    Content(Vec<u8>),
    /// Half of the content, then silence.
    Hang(Vec<u8>),
    /// An answer that is no answer, such as `403 Forbidden`.
    Refusal(String),
}

#[derive(Debug, Default)]
struct State {
    pages: BTreeMap<String, Page>,
    otherwise: Option<Page>,
    media_types: BTreeMap<String, String>,
    served: Vec<String>,
}

/// A server on a free port. Its thread waits for connections until the test program ends.
#[derive(Clone, Debug)]
pub struct WebServer {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Default for WebServer {
    fn default() -> Self {
        Self::start()
    }
}

impl WebServer {
    /// Starts a server that has nothing to serve yet.
    ///
    /// # Panics
    ///
    /// If there is no free port.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = listener.local_addr().expect("a listener has an address").port();
        let server = Self { port, state: Arc::default() };
        let state = Arc::clone(&server.state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&state);
                // A client that hangs up is part of many tests.
                thread::spawn(move || answer(stream, &state).ok());
            }
        });
        server
    }

    /// Serves content at a path such as `/tool`, and gives its address.
    pub fn serve(&self, path: &str, content: impl Into<Vec<u8>>) -> String {
        self.put(path, Page::Content(content.into()))
    }

    /// Serves content of a media type.
    pub fn serve_as(&self, media: &str, path: &str, content: impl Into<Vec<u8>>) -> String {
        self.state().media_types.insert(path.to_owned(), media.to_owned());
        self.serve(path, content)
    }

    /// Sends half of the content and then keeps the client waiting.
    pub fn hang(&self, path: &str, content: impl Into<Vec<u8>>) -> String {
        self.put(path, Page::Hang(content.into()))
    }

    /// Answers whatever else is asked with a status such as `403 Forbidden`.
    pub fn refuse(&self, status: &str) {
        self.state().otherwise = Some(Page::Refusal(status.to_owned()));
    }

    /// Host and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn put(&self, path: &str, page: Page) -> String {
        self.state().pages.insert(path.to_owned(), page);
        self.url(path)
    }

    /// The address of a path, whether it is served or not.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// The paths whose content was sent so far, or would have been if there were any.
    pub fn served(&self) -> Vec<String> {
        self.state().served.clone()
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let (mut header, mut known) = (String::new(), String::new());
    while reader.read_line(&mut header)? > 2 {
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("if-none-match")
        {
            value.trim().clone_into(&mut known);
        }
        header.clear();
    }
    let mut words = request.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (page, media) = {
        let state = state.lock().unwrap_or_else(PoisonError::into_inner);
        // Who asks with a query gets the file all the same, as from any plain server.
        let plain = path.split('?').next().unwrap_or(path);
        let page = state.pages.get(path).or(state.pages.get(plain));
        let page = page.or(state.otherwise.as_ref()).cloned();
        (page, state.media_types.get(path).cloned().unwrap_or_default())
    };
    let mut stream = reader.into_inner();
    let (status, content) = match &page {
        Some(Page::Content(content) | Page::Hang(content)) => ("200 OK", content.as_slice()),
        Some(Page::Refusal(status)) => (status.as_str(), [].as_slice()),
        None => ("404 Not Found", [].as_slice()),
    };
    let tag = format!("\"{}\"", &sha256(content)[..16]);
    if known == tag {
        return write!(stream, "HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n{CLOSE}\r\n");
    }
    if method == "GET" {
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        state.served.push(path.to_owned());
    }
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\n{CLOSE}", content.len())?;
    if status == "200 OK" {
        write!(stream, "ETag: {tag}\r\n")?;
    }
    if !media.is_empty() {
        write!(stream, "Content-Type: {media}\r\n")?;
    }
    stream.write_all(b"\r\n")?;
    match page {
        _ if method != "GET" => Ok(()),
        Some(Page::Hang(content)) => {
            stream.write_all(&content[..content.len() / 2])?;
            stream.flush()?;
            thread::sleep(Duration::from_secs(600));
            Ok(())
        }
        Some(Page::Content(content)) => stream.write_all(&content),
        _ => Ok(()),
    }
}
