//! The standard streams of a process, as descriptors.
//!
//! [`Stdio`] is what a process gets; [`Stdio::piped`] makes it together with the ends the caller
//! keeps, [`Stdio::terminal`] with the master of a new terminal. No bytes are moved here.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::unix::pipe;

/// Descriptors that become 0, 1 and 2 of a process.
#[derive(Debug)]
pub struct Stdio {
    /// Standard input; nothing to read if absent.
    pub stdin: Option<OwnedFd>,
    /// Standard output.
    pub stdout: OwnedFd,
    /// Standard error.
    pub stderr: OwnedFd,
}

/// The caller's ends of [`Stdio::piped`].
#[derive(Debug)]
pub struct Pipes {
    /// Writes to standard input; drop it to end the input.
    pub stdin: pipe::Sender,
    /// Reads standard output.
    pub stdout: pipe::Receiver,
    /// Reads standard error.
    pub stderr: pipe::Receiver,
}

impl Stdio {
    /// Streams that lead nowhere.
    pub fn null() -> io::Result<Self> {
        let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
        Ok(Self { stdin: None, stdout: null.try_clone()?.into(), stderr: null.into() })
    }

    /// Three pipes, with their other ends for asynchronous use; needs a tokio runtime.
    pub fn piped() -> io::Result<(Self, Pipes)> {
        let (stdin, stdin_writer) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stdout_reader, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr_reader, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        for end in [&stdin_writer, &stdout_reader, &stderr_reader] {
            rustix::io::ioctl_fionbio(end, true)?;
        }
        let pipes = Pipes {
            stdin: pipe::Sender::from_owned_fd(stdin_writer)?,
            stdout: pipe::Receiver::from_owned_fd(stdout_reader)?,
            stderr: pipe::Receiver::from_owned_fd(stderr_reader)?,
        };
        Ok((Self { stdin: Some(stdin), stdout, stderr }, pipes))
    }

    /// A new terminal of the given size: the streams are its slave, the returned end its master.
    ///
    /// Use it with [`crate::Process::tty`]. Reading the master fails with `EIO` once every process
    /// on the terminal has ended.
    pub fn terminal(rows: u16, columns: u16) -> io::Result<(Self, OwnedFd)> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = rustix::pty::openpt(flags)?;
        rustix::pty::unlockpt(&master)?;
        let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags)?;
        set_size(slave.as_fd(), rows, columns)?;
        let stdio =
            Self { stdin: Some(slave.try_clone()?), stdout: slave.try_clone()?, stderr: slave };
        Ok((stdio, master))
    }

    /// The three descriptors, with an empty input in place of an absent one.
    pub(crate) fn into_fds(self) -> io::Result<[OwnedFd; 3]> {
        let stdin = match self.stdin {
            Some(stdin) => stdin,
            None => rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, 0.into())?,
        };
        Ok([stdin, self.stdout, self.stderr])
    }
}

/// The master of a [`Stdio::terminal`], for asynchronous use. Clones share it.
#[derive(Clone, Debug)]
pub struct Terminal(Arc<AsyncFd<OwnedFd>>);

impl Terminal {
    /// Takes a master; needs a tokio runtime.
    pub fn new(master: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&master, true)?;
        let watched = crate::sys::watch(master, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self(Arc::new(watched)))
    }
}

impl AsyncRead for Terminal {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            let mut ready = ready!(self.0.poll_read_ready(context))?;
            let unfilled = buffer.initialize_unfilled();
            match ready.try_io(|master| Ok(rustix::io::read(master, &mut *unfilled)?)) {
                Ok(Ok(read)) => buffer.advance(read),
                // Every process on the terminal has ended.
                Ok(Err(error)) if error.raw_os_error() == Some(libc::EIO) => {}
                Ok(Err(error)) => return Poll::Ready(Err(error)),
                Err(_would_block) => continue,
            }
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for Terminal {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut ready = ready!(self.0.poll_write_ready(context))?;
            match ready.try_io(|master| Ok(rustix::io::write(master, data)?)) {
                Ok(written) => return Poll::Ready(written),
                Err(_would_block) => {}
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Gives the terminal behind `fd` its size.
pub(crate) fn set_size(fd: BorrowedFd<'_>, rows: u16, columns: u16) -> io::Result<()> {
    let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(rustix::termios::tcsetwinsize(fd, size)?)
}

/// Rows and columns of the terminal that is this process' standard input.
pub(crate) fn own_size() -> Option<(u16, u16)> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdin()).ok()?;
    Some((size.ws_row, size.ws_col))
}
