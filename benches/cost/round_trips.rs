//! Between a client and a server's socket: counts how often the server has said that it is ready, which ends a round trip.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, process, thread};

pub(crate) struct RoundTrips {
    folder: PathBuf,
    url: String,
    count: Arc<AtomicUsize>,
}

impl RoundTrips {
    /// For one connection, to the private server of this URL.
    pub(crate) fn start(url: &str) -> Self {
        let (before, rest) = url.split_once("host=").expect("a private server has a socket");
        let (host, after) = rest.split_once('&').unwrap_or((rest, ""));
        let server = PathBuf::from(host).join(".s.PGSQL.5432");
        let folder = env::temp_dir().join(format!("refresh-tokens-count-{}", process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let url = format!("{before}host={}&{after}", folder.display());
        let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).expect("a socket can be made");
        let count = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&count);
        thread::spawn(move || {
            let (client, _) = listener.accept().expect("a client comes");
            let server = UnixStream::connect(&server).expect("the server listens");
            let clones = (client.try_clone(), server.try_clone());
            let (Ok(asks), Ok(answers)) = clones else { panic!("a socket cannot be cloned") };
            thread::spawn(move || hand_on(asks, server));
            hand_on_answers(answers, client, &counted);
        });
        Self { folder, url, count }
    }

    /// The server's URL, by way of this.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::SeqCst)
    }
}

impl Drop for RoundTrips {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn hand_on(mut from: UnixStream, mut to: UnixStream) {
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

/// Message by message: a letter, and the length of what follows, its own four bytes included.
fn hand_on_answers(mut from: UnixStream, mut to: UnixStream, ready: &AtomicUsize) {
    let mut head = [0; 5];
    while from.read_exact(&mut head).is_ok() {
        let [letter, length @ ..] = head;
        let length = usize::try_from(u32::from_be_bytes(length)).expect("a message fits in memory");
        let mut message = head.to_vec();
        message.resize(1 + length, 0);
        if from.read_exact(&mut message[5..]).is_err() {
            return;
        }
        // Before the client can ask.
        if letter == b'Z' {
            ready.fetch_add(1, Ordering::SeqCst);
        }
        if to.write_all(&message).is_err() {
            return;
        }
    }
}
