//! A wire of the test's own between the library and a private server. It reads PostgreSQL's messages, and cuts,
//! silences or answers in the server's place where the test says.
//!
//! The client reaches it over loopback TCP, the server is reached by its socket.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::Server;

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the library.
    ToServer = 0,
    /// From the server.
    ToClient = 1,
}

/// What becomes of one message. Messages and statements are counted from 0, since [`Wire::arm`], over all connections;
/// of the rows of one answer only the first two are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// In the place of a message both ends see the end of the connection; its first half may still arrive.
    Cut {
        /// Its way.
        direction: Direction,
        /// Its number.
        message: usize,
        /// Whether half of it arrives.
        half: bool,
    },
    /// From this message on the network drops every packet, so that not even the kernel hears of the other end.
    Silence {
        /// Its way.
        direction: Direction,
        /// Its number.
        message: usize,
    },
    /// In the place of a statement the server raises an error. COMMIT becomes ROLLBACK first, as that of a server does
    /// which refuses it; it is carried out if the error is [`AMBIGUOUS`]. ROLLBACK itself is let through.
    Refuse {
        /// Its number.
        statement: usize,
        /// The SQLSTATE.
        code: &'static str,
        /// The primary message.
        message: &'static str,
    },
}

/// `statement_completion_unknown`: what a distributed server says of a COMMIT that it has lost sight of.
pub const AMBIGUOUS: &str = "40003";

/// How long something that must happen may take on a busy machine.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, Default)]
struct State {
    fault: Option<Fault>,
    messages: [usize; 2],
    statements: usize,
    /// What the fault befell.
    befell: Option<String>,
    /// Whether new connections are turned away.
    is_down: bool,
    /// Whether they are from the moment of the next cut on.
    goes_down: bool,
    /// Connections that were cut, and that the server has not ended yet.
    cut: usize,
    /// Closed, they would be heard of.
    silenced: Vec<TcpStream>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until(&self, what: &str, holds: impl Fn(&State) -> bool) {
        let mut state = self.lock();
        let started = Instant::now();
        while !holds(&state) {
            assert!(started.elapsed() < LIMIT, "{what}: it did not come about: {state:?}");
            state = self.changed.wait_timeout(state, LIMIT).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Listens until the process ends.
#[derive(Debug)]
pub struct Wire {
    port: u16,
    shared: Arc<Shared>,
}

impl Wire {
    /// A wire to this server.
    pub fn to(server: &Server) -> Self {
        let socket = server.folder().join(".s.PGSQL.5432");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port can be had");
        let port = listener.local_addr().expect("it listens").port();
        let shared = Arc::new(Shared::default());
        let theirs = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if !theirs.lock().is_down {
                    // The server may be starting again: then the client hears that there is nobody.
                    let _ = Link::start(&client, &socket, &theirs);
                }
            }
        });
        Self { port, shared }
    }

    /// The URL of something on that server, by way of the wire.
    pub fn url(&self, url: &str) -> String {
        by_port(url, self.port)
    }

    /// Counts from 0 again, and lets this befall the message.
    pub fn arm(&self, fault: Fault) {
        let mut state = self.shared.lock();
        state.fault = Some(fault);
        state.messages = [0, 0];
        state.statements = 0;
        state.befell = None;
    }

    /// As [`arm`](Self::arm), and after the fault nobody can connect until [`disarm`](Self::disarm).
    pub fn arm_for_good(&self, fault: Fault) {
        self.arm(fault);
        self.shared.lock().goes_down = true;
    }

    /// Lets everything pass, and says which message the fault befell.
    pub fn disarm(&self) -> Option<String> {
        let mut state = self.shared.lock();
        state.fault = None;
        state.is_down = false;
        state.goes_down = false;
        state.befell.take()
    }

    /// How many messages went to the server and to the client, and how many statements, since [`arm`](Self::arm).
    pub fn counted(&self) -> ([usize; 2], usize) {
        let state = self.shared.lock();
        (state.messages, state.statements)
    }

    /// Returns once the server has ended every connection that was cut, and so whatever was open in it.
    ///
    /// # Panics
    ///
    /// If it does not.
    pub fn settle(&self) {
        self.shared.wait_until("the server has ended what was cut", |state| state.cut == 0);
    }
}

/// The same URL with a port of this machine in the place of the server's socket.
pub(crate) fn by_port(url: &str, port: u16) -> String {
    let (before, rest) = url.split_once("host=").expect("a private server has a socket");
    let (_, after) = rest.split_once("&port=5432").expect("a private server has a port");
    format!("{before}host=127.0.0.1&port={port}{after}")
}

/// One connection of a client, and that to the server.
struct Link {
    client: TcpStream,
    server: UnixStream,
    shared: Arc<Shared>,
    end: Arc<End>,
}

/// What both directions of a connection know of its end.
#[derive(Debug, Default)]
struct End {
    is_cut: AtomicBool,
    /// Not even the end may reach the client.
    is_silent: AtomicBool,
}

/// What to do with a message.
enum Verdict {
    Pass,
    Cut { half: bool },
    Silence,
    Swallow,
    Instead(Vec<u8>),
}

impl Link {
    fn start(client: &TcpStream, socket: &Path, shared: &Arc<Shared>) -> io::Result<()> {
        client.set_nodelay(true)?;
        let server = UnixStream::connect(socket)?;
        let end = Arc::new(End::default());
        let link = || {
            let (client, server) = (client.try_clone()?, server.try_clone()?);
            io::Result::Ok(Self { client, server, shared: Arc::clone(shared), end: Arc::clone(&end) })
        };
        let (up, down) = (link()?, link()?);
        thread::spawn(move || up.carry_to_server());
        thread::spawn(move || down.carry_to_client());
        Ok(())
    }

    fn carry_to_server(mut self) {
        let mut statements = Statements::default();
        let mut has_begun = false;
        while let Ok(message) = read_message(&mut self.client, has_begun) {
            has_begun = true;
            if self.end.is_cut.load(Ordering::SeqCst) {
                continue; // until the client has noticed
            }
            let (begins, ends) = statements.place(&message);
            let verdict = self.judge(Direction::ToServer, &message, begins);
            let verdict = statements.swallowing(verdict, ends);
            let Ok(()) = self.carry_out(verdict, &message, Direction::ToServer) else { break };
        }
        let _ = self.server.shutdown(Shutdown::Write);
    }

    fn carry_to_client(mut self) {
        let mut rows = 0;
        while let Ok(message) = read_message(&mut self.server, true) {
            rows = if message[0] == b'D' { rows + 1 } else { 0 };
            if self.end.is_cut.load(Ordering::SeqCst) {
                continue; // until the server has ended what it was doing
            }
            let verdict = if rows > 2 { Verdict::Pass } else { self.judge(Direction::ToClient, &message, false) };
            let _ = self.carry_out(verdict, &message, Direction::ToClient);
        }
        if !self.end.is_silent.load(Ordering::SeqCst) {
            let _ = self.client.shutdown(Shutdown::Write);
        }
        if self.end.is_cut.load(Ordering::SeqCst) {
            self.shared.lock().cut -= 1;
            self.shared.changed.notify_all();
        }
    }

    fn judge(&self, direction: Direction, message: &[u8], begins: bool) -> Verdict {
        let mut state = self.shared.lock();
        let number = state.messages[direction as usize];
        state.messages[direction as usize] += 1;
        let statement = state.statements;
        state.statements += usize::from(begins);
        let is_this = |of: Direction, at: usize| of == direction && at == number;
        let verdict = match state.fault {
            Some(Fault::Cut { direction, message, half }) if is_this(direction, message) => Verdict::Cut { half },
            Some(Fault::Silence { direction, message }) if is_this(direction, message) => Verdict::Silence,
            Some(Fault::Refuse { statement: at, code, message: why }) if begins && at == statement => {
                match instead_of(message, code, why) {
                    Some(raise) => Verdict::Instead(raise),
                    None => return Verdict::Pass,
                }
            }
            _ => return Verdict::Pass,
        };
        state.fault = None;
        state.is_down |= state.goes_down;
        state.befell = Some(describe(direction, number, message));
        state.cut += usize::from(matches!(verdict, Verdict::Cut { .. } | Verdict::Silence));
        verdict
    }

    fn carry_out(&mut self, verdict: Verdict, message: &[u8], direction: Direction) -> io::Result<()> {
        let to: &mut dyn Write = match direction {
            Direction::ToServer => &mut self.server,
            Direction::ToClient => &mut self.client,
        };
        match verdict {
            Verdict::Pass => to.write_all(message),
            Verdict::Swallow => Ok(()),
            Verdict::Instead(raise) => to.write_all(&raise),
            Verdict::Cut { half } => {
                let part = if half { message.len() / 2 } else { 0 };
                let sent = to.write_all(&message[..part]);
                self.end.is_cut.store(true, Ordering::SeqCst);
                // Not closed, which would take back what is on its way.
                let _ = self.client.shutdown(Shutdown::Write);
                let _ = self.server.shutdown(Shutdown::Write);
                sent
            }
            Verdict::Silence => {
                drop_packets(&self.client)?;
                self.shared.lock().silenced.push(self.client.try_clone()?);
                self.end.is_silent.store(true, Ordering::SeqCst);
                self.end.is_cut.store(true, Ordering::SeqCst);
                let _ = self.server.shutdown(Shutdown::Write);
                Ok(())
            }
        }
    }
}

/// Which messages make up a statement: a simple query, or all from Parse or Bind to Sync.
#[derive(Default)]
struct Statements {
    is_inside: bool,
    instead: Option<Vec<u8>>,
}

impl Statements {
    /// Whether a statement begins, and whether one ends, with this message.
    fn place(&mut self, message: &[u8]) -> (bool, bool) {
        let kind = message[0];
        let begins = kind == b'Q' || !self.is_inside && matches!(kind, b'P' | b'B');
        let ends = matches!(kind, b'Q' | b'S');
        self.is_inside = (self.is_inside || begins) && !ends;
        (begins, ends)
    }

    /// Keeps back all messages of a statement, and sends another one in the place of the last.
    fn swallowing(&mut self, verdict: Verdict, ends: bool) -> Verdict {
        match verdict {
            Verdict::Instead(raise) => self.instead = Some(raise),
            verdict if self.instead.is_none() => return verdict,
            _ => {}
        }
        match self.instead.take_if(|_| ends) {
            Some(raise) => Verdict::Instead(raise),
            None => Verdict::Swallow,
        }
    }
}

/// Type, length and body; the first message of a client has no type.
pub(crate) fn read_message(from: &mut impl Read, has_type: bool) -> io::Result<Vec<u8>> {
    let mut head = vec![0; if has_type { 5 } else { 4 }];
    from.read_exact(&mut head)?;
    let length = head.last_chunk().map_or(0, |length| u32::from_be_bytes(*length) as usize);
    let start = head.len();
    head.resize(start + length.saturating_sub(4), 0);
    from.read_exact(&mut head[start..])?;
    Ok(head)
}

/// A simple query that raises the error where this statement would have been; none in the place of ROLLBACK.
fn instead_of(message: &[u8], code: &str, why: &str) -> Option<Vec<u8>> {
    let raise = format!("DO $$ BEGIN RAISE EXCEPTION USING MESSAGE = '{why}', ERRCODE = '{code}'; END $$");
    let query = match (message[0], &message[5..]) {
        (b'Q', text) if text.starts_with(b"ROLLBACK") => return None,
        (b'Q', text) if text.starts_with(b"COMMIT") && code == AMBIGUOUS => format!("COMMIT; {raise}"),
        (b'Q', text) if text.starts_with(b"COMMIT") => format!("ROLLBACK; {raise}"),
        _ => raise,
    };
    let length = u32::try_from(query.len() + 5).ok()?;
    Some([b"Q".as_slice(), &length.to_be_bytes(), query.as_bytes(), b"\0"].concat())
}

fn describe(direction: Direction, number: usize, message: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(&message[5..]).chars().filter(|c| !c.is_control()).take(60).collect();
    format!("{direction:?} {number}: {} {text}", char::from(message[0]))
}

/// The kernel drops every packet that comes for this socket, unseen and without an answer, as a dead network would.
#[cfg(target_os = "linux")]
fn drop_packets(socket: &TcpStream) -> io::Result<()> {
    // BPF_RET | BPF_K: keep nothing of the packet.
    socket2::SockRef::from(socket).attach_filter(&[socket2::SockFilter::new(0x06, 0, 0, 0)])
}

#[cfg(not(target_os = "linux"))]
fn drop_packets(_: &TcpStream) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux can drop one connection's packets unprivileged"))
}
