//! A frontend with a fault: `faulty FAULT` speaks the gateway protocol, or does not.
//!
//! Besides the faults of [`language`], a program can be wrong in ways that a library cannot.

mod language;

use std::process::ExitCode;
use std::time::Duration;

use language::{FAULTS, Fault, Faulty};

fn main() -> ExitCode {
    let fault = std::env::args().nth(1).unwrap_or_default();
    match fault.as_str() {
        "shouts" => {
            shout("hello, this is my frontend\n");
            std::thread::sleep(Duration::from_secs(60));
            ExitCode::SUCCESS
        }
        "exits" => {
            complain("no luck today");
            ExitCode::from(3)
        }
        "sleeps" => {
            std::thread::sleep(Duration::from_secs(60));
            ExitCode::SUCCESS
        }
        name => {
            let known = FAULTS.iter().find(|(_, known, _)| *known == name);
            let fault = known.map_or(Fault::None, |(fault, _, _)| *fault);
            kiln_frontend::serve::main(Faulty(fault))
        }
    }
}

#[expect(clippy::print_stdout, reason = "that is the fault")]
fn shout(words: &str) {
    use std::io::Write as _;
    print!("{words}");
    std::io::stdout().flush().ok();
}

#[expect(clippy::print_stderr, reason = "a program's last words")]
fn complain(words: &str) {
    eprintln!("{words}");
}
