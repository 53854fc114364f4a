//! A server that knows no isolation but SERIALIZABLE: a wire before one that knows others, which asks it for nothing else.
//!
//! That is what a distributed engine does where READ COMMITTED is switched off: it grants more than it was asked for, in silence.

use std::io::{self, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;

use crate::wire::read_message;

/// Listens until the process ends.
#[derive(Debug)]
pub struct Serializable {
    port: u16,
}

impl Serializable {
    /// Before the server of this URL, which is reached by its socket.
    ///
    /// # Panics
    ///
    /// If the URL names no socket, or no port can be had.
    pub fn before(server_url: &str) -> Self {
        let (_, rest) = server_url.split_once("host=/").expect("a private server has a socket");
        let folder = rest.split('&').next().unwrap_or(rest);
        let socket = PathBuf::from(format!("/{folder}/.s.PGSQL.5432"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
        let port = listener.local_addr().expect("it listens").port();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // Where the server takes nobody, the client hears the end of its connection.
                let _ = carry(client, &socket);
            }
        });
        Self { port }
    }

    /// The URL of something on that server, by way of this.
    pub fn url(&self, url: &str) -> String {
        crate::wire::by_port(url, self.port)
    }
}

fn carry(mut client: TcpStream, socket: &Path) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut server = UnixStream::connect(socket)?;
    let (mut to_client, mut from_server) = (client.try_clone()?, server.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let mut has_begun = false;
        while let Ok(message) = read_message(&mut client, has_begun) {
            has_begun = true;
            let Ok(()) = server.write_all(&raised(message)) else { break };
        }
        let _ = server.shutdown(Shutdown::Write);
    });
    Ok(())
}

/// A simple query that begins a transaction, with more than it asks for.
fn raised(mut message: Vec<u8>) -> Vec<u8> {
    const ASKED: &[u8] = b"ISOLATION LEVEL READ COMMITTED";
    const GIVEN: &[u8] = b"ISOLATION LEVEL SERIALIZABLE  "; // as long, so that the length stays
    let at = message.windows(ASKED.len()).position(|bytes| bytes == ASKED);
    if let Some(at) = at.filter(|_| message.starts_with(b"Q") && message[5..].starts_with(b"BEGIN")) {
        message[at..at + GIVEN.len()].copy_from_slice(GIVEN);
    }
    message
}
