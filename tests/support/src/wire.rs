//! A wire of the test's own between the library and a private server. It reads PostgreSQL's messages, and cuts,
//! silences, holds or answers in the server's place where the test says.
//!
//! The client reaches it over loopback TCP, the server is reached by its socket.

mod link;
mod message;

use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::server::Server;

use link::Link;
use message::{describe, instead_of};

pub(crate) use message::read_message;

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
    /// The message, and what comes behind it on its way, stays on the wire until [`Wire::release`].
    Hold {
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
    is_holding: bool,
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

    /// What befalls this message, which is counted.
    fn judge(&self, direction: Direction, message: &[u8], begins: bool) -> Verdict {
        let mut state = self.lock();
        let number = state.messages[direction as usize];
        state.messages[direction as usize] += 1;
        let statement = state.statements;
        state.statements += usize::from(begins);
        let is_this = |of: Direction, at: usize| of == direction && at == number;
        let verdict = match state.fault {
            Some(Fault::Cut { direction, message, half }) if is_this(direction, message) => Verdict::Cut { half },
            Some(Fault::Silence { direction, message }) if is_this(direction, message) => Verdict::Silence,
            Some(Fault::Hold { direction, message }) if is_this(direction, message) => Verdict::Hold,
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
        state.is_holding = matches!(verdict, Verdict::Hold);
        self.changed.notify_all();
        verdict
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
        drop(state);
        self.end_silence();
    }

    /// Lets go of the connections that were silenced, whose other ends have given up by now.
    ///
    /// Left as they are, they would swallow the first packet of a new connection that is given the port of an old one.
    pub fn end_silence(&self) {
        let silenced = std::mem::take(&mut self.shared.lock().silenced);
        for socket in silenced {
            link::hear_packets(&socket);
            let _ = socket.shutdown(Shutdown::Both);
        }
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

    /// Lets everything pass, and leaves it to [`disarm`](Self::disarm) to say what the fault befell.
    pub fn stand_down(&self) {
        self.shared.lock().fault = None;
        self.shared.changed.notify_all();
    }

    /// Returns once the fault has befallen a message, which it names, or once it was [stood down](Self::stand_down).
    ///
    /// # Panics
    ///
    /// If neither comes about.
    pub fn wait_for_fault(&self) -> Option<String> {
        self.shared.wait_until("a message befallen, or the end", |state| state.fault.is_none());
        self.shared.lock().befell.clone()
    }

    /// Lets go on what is held.
    pub fn release(&self) {
        self.shared.lock().is_holding = false;
        self.shared.changed.notify_all();
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

/// What to do with a message.
enum Verdict {
    Pass,
    Cut { half: bool },
    Silence,
    Hold,
    Swallow,
    Instead(Vec<u8>),
}

/// The same URL with a port of this machine in the place of the server's socket.
pub(crate) fn by_port(url: &str, port: u16) -> String {
    let (before, rest) = url.split_once("host=").expect("a private server has a socket");
    let (_, after) = rest.split_once("&port=5432").expect("a private server has a port");
    format!("{before}host=127.0.0.1&port={port}{after}")
}
