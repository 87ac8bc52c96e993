//! A plugin's process and its own children: a job object.
//!
//! The job is closed with this process, however it ends, and kills what is in it. A
//! process that the plugin starts before it is put into the job is not in it.

use std::io;
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle};
use std::ptr;

use tokio::process::Child;
use windows_sys::Win32::Foundation::{HANDLE, WAIT_TIMEOUT};
use windows_sys::Win32::System::JobObjects::{
    AssignProcessToJobObject, CreateJobObjectW, JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE,
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION, JobObjectExtendedLimitInformation, SetInformationJobObject,
    TerminateJobObject,
};
use windows_sys::Win32::System::Threading::WaitForSingleObject;

/// The job that a plugin's process is in. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Family {
    job: OwnedHandle,
    leader: OwnedHandle,
}

impl Family {
    /// The family of a child that has just been started.
    pub(crate) fn of(child: &Child) -> io::Result<Family> {
        let process = child.raw_handle().ok_or_else(|| io::Error::other("the child has ended already"))?;
        // SAFETY: the handle is the child's own, which lives as long as the borrow.
        let leader =
            unsafe { std::os::windows::io::BorrowedHandle::borrow_raw(process) }.try_clone_to_owned()?;
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
                AssignProcessToJobObject(job.as_raw_handle() as HANDLE, leader.as_raw_handle() as HANDLE)
            } == 0
        {
            return Err(io::Error::last_os_error());
        }
        Ok(Family { job, leader })
    }

    /// Ready when the leader has ended. Cancel safe.
    pub(crate) async fn ended(&self) -> io::Result<()> {
        let mut pause = std::time::Duration::from_millis(1);
        // tokio waits for a child by the handle that it alone has.
        // SAFETY: the handle is open; the call does not wait.
        while unsafe { WaitForSingleObject(self.leader.as_raw_handle() as HANDLE, 0) } == WAIT_TIMEOUT {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(std::time::Duration::from_millis(50));
        }
        Ok(())
    }

    /// Windows has no such request that every program understands.
    pub(crate) fn terminate(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Kills all of the job.
    pub(crate) fn kill(&self) {
        // SAFETY: the handle is open.
        unsafe {
            TerminateJobObject(self.job.as_raw_handle() as HANDLE, 1);
        }
    }

    /// The last that is done before the leader is let go.
    pub(crate) fn kill_what_is_left(&mut self) {
        self.kill();
    }
}

impl Drop for Family {
    fn drop(&mut self) {
        self.kill();
    }
}
