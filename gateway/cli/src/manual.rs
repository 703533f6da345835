//! The pages of the manual: one for each command, and one for the daemon.
//!
//! Nothing comes in, pages go out by the names of their files. They say what `--help` says.

use std::io;

use clap_mangen::Man;

use crate::args::command;

/// A page.
pub(crate) struct Page {
    /// The name of its file, such as `kiln-build.1`.
    pub name: String,
    /// It, as man reads it.
    pub text: Vec<u8>,
}

/// All pages.
///
/// # Errors
///
/// None in practice: they are written into memory.
pub(crate) fn pages() -> io::Result<Vec<Page>> {
    let mut pages = Vec::new();
    gather(&command(), &mut pages)?;
    let daemon = kiln_daemon::config::command(kiln_daemon::config::Program::Kilnd);
    pages.push(page(&daemon, "8")?);
    Ok(pages)
}

fn gather(command: &clap::Command, pages: &mut Vec<Page>) -> io::Result<()> {
    pages.push(page(command, "1")?);
    let shown = |below: &&clap::Command| !below.is_hide_set() && below.get_name() != "help";
    command.get_subcommands().filter(shown).try_for_each(|below| gather(below, pages))
}

fn page(command: &clap::Command, section: &str) -> io::Result<Page> {
    let man = Man::new(command.clone())
        .section(section)
        .source(concat!("Kiln ", env!("CARGO_PKG_VERSION")))
        .manual("Kiln");
    let mut text = Vec::new();
    man.render(&mut text)?;
    Ok(Page { name: man.get_filename(), text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_page_for_every_command_that_is_shown() {
        let pages = pages().unwrap();
        let named = |name: &str| pages.iter().find(|page| page.name == name);
        for name in
            ["kiln.1", "kiln-build.1", "kiln-history-logs.1", "kiln-frontend-pack.1", "kilnd.8"]
        {
            assert!(named(name).is_some(), "{name}");
        }
        assert!(named("kiln-dial-stdio.1").is_none() && named("kiln-help.1").is_none());
        let build = String::from_utf8(named("kiln-build.1").unwrap().text.clone()).unwrap();
        assert!(build.contains(r".TH kiln-build 1"), "{build}");
        assert!(
            build.contains(r"\fB\-\-tag\fR") && build.contains("Where the result goes"),
            "{build}"
        );
        let top = String::from_utf8(named("kiln.1").unwrap().text.clone()).unwrap();
        assert!(top.contains("Exit codes") && top.contains("130"), "{top}");
    }
}
