//! A terminal, as a program sees it that is started in one.

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// What a program did to a terminal of 100 columns and 30 lines.
#[derive(Clone, Debug)]
pub struct Terminal {
    /// Its end.
    pub status: ExitStatus,
    /// All it wrote, with the sequences that drive the terminal.
    pub screen: String,
}

impl Terminal {
    /// Runs a program with its output in a terminal.
    ///
    /// # Panics
    ///
    /// If there are no terminals, or the program takes longer than `limit`.
    #[track_caller]
    pub fn run(mut command: Command, limit: Duration) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("there are terminals");
        grantpt(&ours).expect("the terminal is ours");
        unlockpt(&ours).expect("the terminal is ours");
        let size = Winsize { ws_row: 30, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&ours, size).expect("the terminal has a size");
        let name = ptsname(&ours, Vec::new()).expect("the terminal has a name");
        let theirs = open(&name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty());
        let theirs = theirs.expect("the terminal can be opened");
        let output = theirs.try_clone().expect("descriptors can be doubled");
        command.env("TERM", "xterm-256color").stdin(Stdio::null());
        command.stdout(output).stderr(theirs);
        let mut child = command.spawn().expect("the program can be started");
        // Its copies of the terminal's end would keep the terminal open.
        drop(command);
        let (done, screen) = mpsc::channel();
        let mut reader = File::from(ours);
        thread::spawn(move || {
            let (mut screen, mut buffer) = (Vec::new(), [0; 4096]);
            // A terminal whose other end is closed gives an error.
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                screen.extend_from_slice(&buffer[..length]);
            }
            done.send(screen).ok();
        });
        let Ok(screen) = screen.recv_timeout(limit) else {
            child.kill().ok();
            panic!("the program takes longer than {limit:?}");
        };
        let status = child.wait().expect("a child can be waited for");
        Self { status, screen: String::from_utf8_lossy(&screen).into_owned() }
    }
}
