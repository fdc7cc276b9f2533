//! Buffers that a thread lends to whichever tunnel or handshake is polled.

use std::cell::RefCell;

/// Bytes per buffer: where copying is cheapest per gigabyte (docs/performance.md).
pub(crate) const SIZE: usize = 128 * 1024;

/// Buffers that a thread keeps for later. More exist only while more tunnels have an unwritten rest.
const KEPT: usize = 4;

thread_local! {
    static FREE: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer on loan; dropping it gives it back to the thread that drops it.
#[derive(Debug)]
pub(crate) struct Scratch(Box<[u8]>);

impl Scratch {
    pub(crate) fn take() -> Self {
        let free = FREE.try_with(|free| free.borrow_mut().pop()).ok().flatten();
        Self(free.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // While the thread ends there is nobody to lend to; the buffer is simply freed then.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> usize {
        FREE.with(|free| free.borrow().len())
    }

    #[test]
    fn buffers_come_back_and_a_thread_keeps_few() {
        let lent: Vec<Scratch> = (0..KEPT + 3).map(|_| Scratch::take()).collect();
        assert!(lent.iter().all(|scratch| scratch.bytes().len() == SIZE));
        assert_eq!(kept(), 0);
        drop(lent);
        assert_eq!(kept(), KEPT);
        let again = Scratch::take();
        assert_eq!((kept(), again.bytes().len()), (KEPT - 1, SIZE));
    }
}
