//! One connection by way of the wire: what passes, and what a fault does to both of its ends.

use std::io::{self, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::message::{Statements, read_message};
use super::{Direction, Shared, Verdict};

/// One connection of a client, and that to the server.
pub(super) struct Link {
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

impl Link {
    pub(super) fn start(client: &TcpStream, socket: &Path, shared: &Arc<Shared>) -> io::Result<()> {
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
            let verdict = self.shared.judge(Direction::ToServer, &message, begins);
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
            let verdict =
                if rows > 2 { Verdict::Pass } else { self.shared.judge(Direction::ToClient, &message, false) };
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

    fn carry_out(&mut self, verdict: Verdict, message: &[u8], direction: Direction) -> io::Result<()> {
        let to: &mut dyn Write = match direction {
            Direction::ToServer => &mut self.server,
            Direction::ToClient => &mut self.client,
        };
        match verdict {
            Verdict::Pass => to.write_all(message),
            Verdict::Hold => {
                self.shared.wait_until("what is held is let go", |state| !state.is_holding);
                to.write_all(message)
            }
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

/// The kernel drops every packet that comes for this socket, unseen and without an answer, as a dead network would.
#[cfg(target_os = "linux")]
fn drop_packets(socket: &TcpStream) -> io::Result<()> {
    // BPF_RET | BPF_K: keep nothing of the packet.
    socket2::SockRef::from(socket).attach_filter(&[socket2::SockFilter::new(0x06, 0, 0, 0)])
}

/// Undoes [`drop_packets`], so that the kernel hears that there is nobody any more.
pub(super) fn hear_packets(socket: &TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = socket2::SockRef::from(socket).detach_filter();
    #[cfg(not(target_os = "linux"))]
    let _ = socket;
}

#[cfg(not(target_os = "linux"))]
fn drop_packets(_: &TcpStream) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "only Linux can drop one connection's packets unprivileged"))
}
