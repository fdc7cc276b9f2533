//! A thin epoll: sockets by number, readiness in batches.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData};
use rustix::io::Errno;

pub(crate) use rustix::event::epoll::EventFlags as Ready;

/// What one wait takes at most.
const BATCH: usize = 256;

/// A set of sockets to wait for, level-triggered.
pub(crate) struct Poll {
    epoll: OwnedFd,
    events: Vec<Event>,
}

impl Poll {
    pub(crate) fn new() -> Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self {
            epoll,
            events: Vec::with_capacity(BATCH),
        })
    }

    pub(crate) fn add(&self, fd: impl AsFd, token: usize, ready: Ready) -> Result<()> {
        Ok(epoll::add(
            &self.epoll,
            fd,
            EventData::new_u64(token as u64),
            ready,
        )?)
    }

    pub(crate) fn change(&self, fd: impl AsFd, token: usize, ready: Ready) -> Result<()> {
        Ok(epoll::modify(
            &self.epoll,
            fd,
            EventData::new_u64(token as u64),
            ready,
        )?)
    }

    /// Waits at most `limit` and puts what is ready into `ready`, which is emptied first.
    pub(crate) fn wait(&mut self, limit: Option<Duration>, ready: &mut Vec<(usize, Ready)>) -> Result<()> {
        let limit = limit.map(Timespec::try_from).transpose()?;
        self.events.clear();
        ready.clear();
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), limit.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for event in &self.events {
            let (data, flags) = (event.data, event.flags);
            ready.push((usize::try_from(data.u64())?, flags));
        }
        Ok(())
    }
}
