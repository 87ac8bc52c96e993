//! A child whose end a runtime waits for. A plugin's own children are in a job object with it.
//!
//! The job is closed with this process, however it ends, and kills what is in it. A
//! process that the plugin starts before it is put into the job is not in it.

use std::io;
use std::os::windows::io::{AsRawHandle, BorrowedHandle, FromRawHandle, OwnedHandle};
use std::process::ExitStatus;
use std::ptr;

use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use windows_sys::Win32::Foundation::{HANDLE, WAIT_TIMEOUT};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation, SetInformationJobObject,
    TerminateJobObject,
};
use windows_sys::Win32::System::Threading::{TerminateProcess, WaitForSingleObject};

/// A child whose end a runtime waits for. Dropping it kills the child, and its job if it has
/// one.
#[derive(Debug)]
pub(crate) struct WatchedChild {
    job: Option<OwnedHandle>,
    process: OwnedHandle,
    child: Child,
    id: u32,
}

impl WatchedChild {
    /// Runs a command.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub(crate) fn start(command: std::process::Command) -> io::Result<WatchedChild> {
        WatchedChild::of(Command::from(command).kill_on_drop(true).spawn()?)
    }

    /// The same of a process that has its own children killed with it.
    pub(super) fn start_group(command: &mut Command) -> io::Result<WatchedChild> {
        let mut child = WatchedChild::of(command.kill_on_drop(true).spawn()?)?;
        child.job = Some(job_of(&child.process)?);
        Ok(child)
    }

    fn of(child: Child) -> io::Result<WatchedChild> {
        let ended = || io::Error::other("the child has ended already");
        let handle = child.raw_handle().ok_or_else(ended)?;
        // SAFETY: the handle is the child's own, which lives as long as the borrow.
        let process = unsafe { BorrowedHandle::borrow_raw(handle) }.try_clone_to_owned()?;
        let id = child.id().ok_or_else(ended)?;
        Ok(WatchedChild { job: None, process, child, id })
    }

    pub(crate) fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn end(&self) -> ChildEnd {
        ChildEnd(self.process.try_clone().ok())
    }

    pub(crate) fn take_stdin(&mut self) -> Option<io::Result<ChildStdin>> {
        self.child.stdin.take().map(Ok)
    }

    pub(crate) fn take_stdout(&mut self) -> Option<io::Result<ChildStdout>> {
        self.child.stdout.take().map(Ok)
    }

    pub(crate) fn take_stderr(&mut self) -> Option<io::Result<ChildStderr>> {
        self.child.stderr.take().map(Ok)
    }

    /// Ready when it has ended. Cancel safe.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        ended(&self.process).await;
        Ok(())
    }

    /// Waits until it has ended, and kills what is left in its job. Cancel safe.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let status = self.child.wait().await?;
        self.kill();
        Ok(status)
    }

    /// Windows has no such request that every program understands.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Kills it, and its job if it has one.
    pub(crate) fn kill(&self) {
        // SAFETY: the handles are open.
        unsafe {
            match &self.job {
                Some(job) => TerminateJobObject(job.as_raw_handle() as HANDLE, 1),
                None => TerminateProcess(self.process.as_raw_handle() as HANDLE, 1),
            };
        }
    }
}

impl Drop for WatchedChild {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The end of a child, for tasks that do not own it.
#[derive(Debug)]
pub(crate) struct ChildEnd(Option<OwnedHandle>);

impl ChildEnd {
    /// Ready when the child has ended. Cancel safe.
    pub(crate) async fn reached(&self) {
        match &self.0 {
            Some(process) => ended(process).await,
            None => std::future::pending().await,
        }
    }
}

/// Waits until a process has ended. tokio waits for a child by the handle that it alone has.
async fn ended(process: &OwnedHandle) {
    let mut pause = std::time::Duration::from_millis(1);
    // SAFETY: the handle is open; the call does not wait.
    while unsafe { WaitForSingleObject(process.as_raw_handle() as HANDLE, 0) } == WAIT_TIMEOUT {
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(std::time::Duration::from_millis(50));
    }
}

/// A new job with this process in it.
fn job_of(process: &OwnedHandle) -> io::Result<OwnedHandle> {
    // SAFETY: no attributes and no name; the result is checked.
    let job = unsafe { CreateJobObjectW(ptr::null(), ptr::null()) };
    if job.is_null() {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the handle has just been made and is nobody else's.
    let job = unsafe { OwnedHandle::from_raw_handle(job) };
    let mut limits = JOBOBJECT_EXTENDED_LIMIT_INFORMATION::default();
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE;
    // SAFETY: the structure is the one that the class names, and its size is told.
    let set = unsafe {
        SetInformationJobObject(
            job.as_raw_handle() as HANDLE,
            JobObjectExtendedLimitInformation,
            ptr::from_ref(&limits).cast(),
            size_of_val(&limits) as u32,
        )
    };
    // SAFETY: both handles are open.
    if set == 0
        || unsafe {
            AssignProcessToJobObject(job.as_raw_handle() as HANDLE, process.as_raw_handle() as HANDLE)
        } == 0
    {
        return Err(io::Error::last_os_error());
    }
    Ok(job)
}
