//! A network that is slow: every chunk is handed on a while after it came, in both directions, as `tc netem delay`
//! does on a loopback device.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{env, fs, process, thread};

/// Listens in a folder of its own until the process ends.
pub(crate) struct Proxy {
    folder: PathBuf,
}

impl Proxy {
    /// Before a server's socket.
    pub(crate) fn start(server: PathBuf, delay: Duration) -> Self {
        let folder = env::temp_dir().join(format!("refresh-tokens-delay-{}", process::id()));
        fs::create_dir_all(&folder).expect("the temporary folder can be written");
        let listener = UnixListener::bind(folder.join(".s.PGSQL.5432")).expect("a socket can be made");
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = UnixStream::connect(&server).expect("the server listens");
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let clones = (from.try_clone(), to.try_clone());
                    let (Ok(from), Ok(to)) = clones else { panic!("a socket cannot be cloned") };
                    thread::spawn(move || hand_on(from, to, delay));
                }
            }
        });
        Self { folder }
    }

    /// The server's URL, by way of the proxy.
    pub(crate) fn url(&self, url: &str) -> String {
        let (before, rest) = url.split_once("host=").expect("a private server has a socket");
        let after = rest.split_once('&').map_or("", |(_, after)| after);
        format!("{before}host={}&{after}", self.folder.display())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn hand_on(mut from: UnixStream, mut to: UnixStream, delay: Duration) {
    let (sender, chunks) = mpsc::channel::<(Instant, Vec<u8>)>();
    let writer = thread::spawn(move || {
        for (came, chunk) in chunks {
            let due = came + delay;
            #[expect(clippy::disallowed_methods, reason = "this is what the network is slow by")]
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&chunk).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut buffer = vec![0; 1 << 16];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if sender.send((Instant::now(), buffer[..length].to_vec())).is_err() {
            break;
        }
    }
    drop(sender);
    let _ = writer.join();
}
