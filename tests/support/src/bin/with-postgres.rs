//! Runs a command with `DATABASE_URL` set to a private PostgreSQL server, which is gone afterwards.
//!
//! `with-postgres [--data FOLDER] COMMAND [ARGUMENT…]`. If `DATABASE_URL` is set already, it is left as it is.
//! `with-postgres --find` prints the folder of the server programs, or fails; for the scripts.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

use refresh_tokens_support::binaries;
use refresh_tokens_support::server::{Durability, Server};

fn main() -> ExitCode {
    let mut arguments: Vec<_> = std::env::args_os().skip(1).collect();
    if arguments == ["--find"] {
        return find();
    }
    let data = (arguments.first().is_some_and(|first| first == "--data") && arguments.len() > 2).then(|| {
        arguments.remove(0);
        arguments.remove(0)
    });
    let Some((program, arguments)) = arguments.split_first() else {
        return fail("usage: with-postgres [--data FOLDER] COMMAND [ARGUMENT…]");
    };
    run(program, arguments, data)
}

fn run(program: &OsString, arguments: &[OsString], data: Option<OsString>) -> ExitCode {
    let mut command = Command::new(program);
    command.args(arguments);
    let server = if std::env::var_os("DATABASE_URL").is_some() {
        None
    } else {
        let started = match data {
            Some(folder) => Server::at(Path::new(&folder)),
            None => Server::temporary(Durability::None),
        };
        match started {
            Ok(server) => Some(server),
            Err(error) => return fail(&error.to_string()),
        }
    };
    if let Some(server) = &server {
        command.env("DATABASE_URL", server.url());
    }
    match command.status() {
        Ok(status) => ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => fail(&format!("{}: {error}", program.to_string_lossy())),
    }
}

#[expect(clippy::print_stdout, reason = "a command speaks to its user")]
fn find() -> ExitCode {
    match binaries::find() {
        Some(folder) => {
            println!("{}", folder.display());
            ExitCode::SUCCESS
        }
        None => fail(&binaries::not_found()),
    }
}

#[expect(clippy::print_stderr, reason = "a command speaks to its user")]
fn fail(message: &str) -> ExitCode {
    eprintln!("{message}");
    ExitCode::FAILURE
}
