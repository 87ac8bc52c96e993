//! Runs a program to which the kernel refuses a system call: `denied CALL ERRNO PROGRAM ARGS…`.
//!
//! `CALL` is one of `denied list`, `ERRNO` one of `EPERM`, `EACCES` and `ENOSYS`.

use std::os::unix::process::CommandExt;
use std::process::Command;

use panpipe_tests::sys::seccomp::{deny, optional_calls};
use rustix::io::Errno;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["list"] => optional_calls().for_each(|call| println!("{call}")),
        [call, errno, program, ref args @ ..] => {
            let errno = match errno {
                "EPERM" => Errno::PERM,
                "EACCES" => Errno::ACCESS,
                "ENOSYS" => Errno::NOSYS,
                other => panic!("{other} is no refusal"),
            };
            let mut command = Command::new(program);
            deny(command.args(args), call, errno.raw_os_error());
            panic!("{program} cannot be run: {}", command.exec());
        }
        _ => panic!("denied list, or denied CALL ERRNO PROGRAM ARGS…"),
    }
}
