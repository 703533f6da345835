//! Programs that this machine cannot run, and what to do about it.

use kiln_engine::OpError;
use kiln_oci::Platform;

/// What the kernel says about a program that is none, or one for another machine.
const FORMAT_ERROR: &str = "exec format error";

/// Says which process could not be run, and why that is if the kernel does not know its program.
pub(crate) fn could_not_run(
    args: &[String],
    wanted: &Platform,
    own: &Platform,
    error: OpError,
) -> OpError {
    let process = format!("process \"{}\" did not complete successfully", args.join(" "));
    let text = error.to_string().to_lowercase();
    if !text.contains(FORMAT_ERROR) {
        return error.context(process);
    }
    let machine = own.format();
    let wanted = wanted.format();
    let why = if wanted == machine {
        format!("its file is neither a program for {machine} nor a script that begins with `#!`")
    } else {
        format!(
            "the step is for {wanted} and this machine runs {machine}: install an emulator for \
             {wanted} (the package qemu-user-static), or build for {machine}; `kiln doctor` lists what this \
             machine runs"
        )
    };
    error.context(format!("{process} ({why})"))
}

#[cfg(test)]
mod tests {
    use kiln_engine::ErrorKind;

    use super::*;

    fn said(wanted: &str, error: &str) -> String {
        let args = ["/bin/sh".to_owned(), "-c".to_owned(), "make".to_owned()];
        let own = "linux/amd64".parse().unwrap();
        let error = OpError::new(ErrorKind::Failed, error);
        could_not_run(&args, &wanted.parse().unwrap(), &own, error).to_string()
    }

    #[test]
    fn a_program_for_another_machine_is_named_with_both() {
        let text = said("linux/arm64", "exec: \"/bin/sh\": Exec format error");
        assert!(
            text.contains("the step is for linux/arm64 and this machine runs linux/amd64"),
            "{text}"
        );
        assert!(text.contains("qemu-user-static") && text.contains("Exec format error"), "{text}");
        assert!(said("linux/amd64", "exec format error").contains("neither a program"));
        let text = said("linux/arm64", "no such file");
        let words = "process \"/bin/sh -c make\" did not complete successfully: no such file";
        assert_eq!(text, words);
    }
}
