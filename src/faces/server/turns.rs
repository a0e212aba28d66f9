//! Whose step runs next: the one whose deadline is the earliest. All sessions of a device share its
//! thread, and this is how they take turns.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Instant;

use tokio::sync::{Notify, oneshot};

/// When a step should be done. Work without a deadline runs when nothing else waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deadline {
    At(Instant),
    Never,
}

/// The turns of one device.
pub(super) struct Turns {
    /// Steps that may still begin.
    free: Cell<usize>,
    /// Sessions that wait, by deadline and then in the order in which they came.
    waiting: RefCell<BTreeMap<(Deadline, u64), oneshot::Sender<Turn>>>,
    came: Cell<u64>,
    changed: Notify,
}

/// A step that may run. The next one begins when it is dropped.
pub(super) struct Turn(Rc<Turns>);

impl Turns {
    /// `at_once`: the steps that run at a time. On a GPU, one session's host work fills another's
    /// wait for the device.
    pub(super) fn new(at_once: usize) -> Rc<Turns> {
        Rc::new(Turns {
            free: Cell::new(at_once.max(1)),
            waiting: RefCell::default(),
            came: Cell::new(0),
            changed: Notify::new(),
        })
    }

    /// Waits for a turn.
    pub(super) async fn wait(self: &Rc<Turns>, deadline: Deadline) -> Turn {
        let (sender, receiver) = oneshot::channel();
        self.came.set(self.came.get() + 1);
        self.waiting.borrow_mut().insert((deadline, self.came.get()), sender);
        self.changed.notify_one();
        match receiver.await {
            Ok(turn) => turn,
            // The sender is dropped only with the turns themselves, which `self` holds.
            Err(_) => std::future::pending().await,
        }
    }

    /// Gives turns, for as long as the device's thread lives.
    pub(super) async fn give(self: Rc<Turns>) {
        loop {
            self.changed.notified().await;
            // Every session that has become ready meanwhile gets to stand in line first.
            tokio::task::yield_now().await;
            while self.free.get() > 0 {
                let Some((_, sender)) = self.waiting.borrow_mut().pop_first() else { break };
                self.free.set(self.free.get() - 1);
                // The turn of a session that has gone away is dropped here, and is free again.
                let _ = sender.send(Turn(self.clone()));
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.free.set(self.0.free.get() + 1);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_earliest_deadline_goes_first_and_work_without_one_last() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let local = tokio::task::LocalSet::new();
        let order = Rc::new(RefCell::new(Vec::new()));
        local.block_on(&runtime, async {
            let turns = Turns::new(1);
            tokio::task::spawn_local(turns.clone().give());
            let now = Instant::now();
            let first = turns.wait(Deadline::Never).await;
            let mut tasks = Vec::new();
            for (name, deadline) in [
                ("batch", Deadline::Never),
                ("late", Deadline::At(now + Duration::from_secs(9))),
                ("soon", Deadline::At(now)),
                ("late too", Deadline::At(now + Duration::from_secs(9))),
            ] {
                let (turns, order) = (turns.clone(), order.clone());
                tasks.push(tokio::task::spawn_local(async move {
                    let _turn = turns.wait(deadline).await;
                    order.borrow_mut().push(name);
                }));
            }
            // A session that goes away while it waits blocks nobody.
            let gone = tokio::task::spawn_local({
                let turns = turns.clone();
                async move { drop(turns.wait(Deadline::At(now)).await) }
            });
            tokio::task::yield_now().await;
            gone.abort();
            drop(first);
            for task in tasks {
                task.await.unwrap();
            }
        });
        assert_eq!(*order.borrow(), ["soon", "late", "late too", "batch"]);
    }
}
